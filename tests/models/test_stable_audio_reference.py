"""Stable Audio held to diffusers' own pipelines, called by hand on the same tiny checkpoint with the same seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stable_audio_checkpoints import OPEN_HOP, RATE, SA3_HOP
from stable_audio_loaded import (
    Array,
    Loaded,
    ask,
    by_hand,
    file_of,
    generators,
    loaded,
    model_of,
    recording,
    seeds,
    waveforms,
)

from tonewheel.models.diffusion.model import Row
from tonewheel.models.stable_audio.model import StableAudioOpen, _positions_in_full
from tonewheel.models.stable_audio.recipes import OOBLECK_MARGIN
from tonewheel.models.stable_audio.request import StableAudioRequest
from tonewheel.models.stable_audio.windows import decoded

Model = Callable[[str], Loaded]
ByHand = Callable[..., Callable[..., Array]]
CLOSE = 1e-4  # of full scale


@pytest.fixture(scope="module")
def model(stable_audio_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made: dict[str, Loaded] = {}
    torch.set_num_threads(1)

    def of(name: str) -> Loaded:
        if name not in made:
            env = {"TONEWHEEL_PICKLED_MODELS": model_of(name)} if name.endswith("-bin") else {}
            data = tmp_path_factory.mktemp("data")
            made[name] = loaded(stable_audio_checkpoint(name), data, model_of(name), **env)
        return made[name]

    yield of
    for one in made.values():
        one.release()


@pytest.fixture(scope="module")
def theirs(stable_audio_checkpoint: Callable[[str], Path]) -> ByHand:
    made: dict[tuple[str, str], Callable[..., Array]] = {}

    def of(name: str, kind: str = "text") -> Callable[..., Array]:
        if (name, kind) not in made:
            made[name, kind] = by_hand(stable_audio_checkpoint(name), kind)
        return made[name, kind]

    return of


@pytest.mark.parametrize("name", ["open", "open-bin"])
@pytest.mark.parametrize("negative", ["", "hiss and noise"])
@pytest.mark.parametrize("count", [1, 3])
def test_open_is_the_pipeline_of_diffusers(model: Model, theirs: ByHand, name: str, negative: str, count: int) -> None:
    made = ask(model(name), negative_prompt=negative, num_waveforms_per_prompt=count)
    told = {"negative_prompt": negative} if negative else {}
    expected = theirs(name)(
        prompt="warm drums", num_inference_steps=10, guidance_scale=7.0, audio_end_in_s=1.0,
        num_waveforms_per_prompt=count, generator=generators(*seeds(made)), **told,
    )  # fmt: skip
    found = waveforms(made)
    assert len(found) == count and len(set(seeds(made))) == count and seeds(made)[0] == 3
    for ours, his in zip(found, expected, strict=True):
        assert ours.shape == (RATE, 2) and float(np.abs(ours).max()) > 0.01
        assert float(np.abs(ours - his).max()) < CLOSE


@pytest.mark.parametrize("name", ["sa3", "sa3-bin", "sa3-base"])
@pytest.mark.parametrize("negative", ["", "hiss and noise"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_third_is_the_pipeline_of_diffusers(
    model: Model, theirs: ByHand, name: str, negative: str, count: int
) -> None:
    guidance = 3.0 if negative or name == "sa3-base" else None
    made = ask(
        model(name), negative_prompt=negative, num_waveforms_per_prompt=count, guidance_scale=guidance,
        num_inference_steps=None if guidance is None else 10,
    )  # fmt: skip
    # Where nothing is said of steps and guidance, theirs knows from the scheduler what the checkpoint is made for.
    told = {} if guidance is None else {"guidance_scale": guidance, "num_inference_steps": 10}
    expected = theirs(name)(
        prompt="warm drums", duration=1.0, num_waveforms_per_prompt=count, negative_prompt=negative or None,
        generator=generators(*seeds(made)), **told,
    )  # fmt: skip
    for ours, his in zip(waveforms(made), expected, strict=True):
        assert ours.shape == (RATE, 2)
        assert float(np.abs(ours - his).max()) < CLOSE


def test_the_distilled_and_the_base_model_have_steps_and_guidance_of_their_own(model: Model) -> None:
    told = {}
    for name in ("open", "sa3", "sa3-base"):
        recipe = model(name).recipe(StableAudioRequest(prompt="rain"))
        told[name] = recipe.steps, recipe.guidance_scale
    assert told == {"open": (100, 7.0), "sa3": (8, 1.0), "sa3-base": (100, 7.0)}
    asked = StableAudioRequest(prompt="rain", num_inference_steps=100, guidance_scale=7.0)  # as said, though default
    recipe = model("sa3").recipe(asked)
    assert (recipe.steps, recipe.guidance_scale) == (100, 7.0)


@pytest.mark.parametrize(("name", "guidance"), [("open", 7.0), ("open", 1.0), ("sa3-base", 7.0), ("sa3", 1.0)])
@pytest.mark.parametrize("negatives", [("hiss", "a crowd, talking loudly"), ("", "")])
def test_different_prompts_in_one_batch_are_what_they_are_one_by_one(
    model: Model, name: str, guidance: float, negatives: tuple[str, str]
) -> None:
    ours = model(name)
    texts = ("rain", "a very long description of a slow and wide pad, with bells far away")
    rows = [
        Row(StableAudioRequest(prompt=text, negative_prompt=negative, duration=1.5, num_inference_steps=10,
                               guidance_scale=guidance), number)
        for number, (text, negative) in enumerate(zip(texts, negatives, strict=True))
    ]  # fmt: skip
    recipe = ours.recipe(rows[0].request)
    assert recipe == ours.recipe(rows[1].request)

    def rendered(some: list[Row[StableAudioRequest]]) -> list[Array]:
        with torch.no_grad():
            made = ours.call(ours.pipeline, recipe, some, generators(*(row.seed for row in some)))
        return [one.numpy() for one in made]

    together, alone = rendered(rows), [rendered([row])[0] for row in rows]
    for one, other in zip(together, alone, strict=True):
        assert float(np.abs(one - other).max()) < CLOSE
    assert float(np.abs(alone[0] - alone[1]).max()) > 0.01


@pytest.mark.parametrize("name", ["open", "sa3"])
def test_a_variation_is_made_again_alone_from_its_own_seed(model: Model, name: str) -> None:
    all_of_them = ask(model(name), num_waveforms_per_prompt=4)
    for seed, samples in list(zip(seeds(all_of_them), waveforms(all_of_them), strict=True))[1::2]:
        again = ask(model(name), seed=seed)
        assert seeds(again) == [seed]
        assert float(np.abs(waveforms(again)[0] - samples).max()) < CLOSE


@pytest.mark.parametrize(("name", "longest"), [("open", 3.0), ("sa3", 12.3)])
@pytest.mark.parametrize("seconds", [1.0, 1.1, 2.3])  # 2.3 * 44100 is 101429.99999999999
def test_lengths_are_exact_to_the_sample(model: Model, name: str, longest: float, seconds: float) -> None:
    for asked in (seconds, longest):
        made = ask(model(name), duration=asked)
        assert len(waveforms(made)[0]) == round(asked * RATE) == made.fields["num_samples"]
        assert made.fields["duration"] == made.duration_s == round(asked * RATE) / RATE


# ── windows ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "hop"), [("open", OPEN_HOP), ("sa3", SA3_HOP)])
def test_decoding_by_windows_is_decoding_at_once(model: Model, name: str, hop: int) -> None:
    ours = model(name)
    margin = OOBLECK_MARGIN if isinstance(ours, StableAudioOpen) else ours._margin
    latents = torch.randn(1, 8, 83, generator=torch.Generator().manual_seed(1))

    def decode(part: torch.Tensor) -> Any:
        return ours.pipeline.vae.decode(part).sample

    with torch.no_grad():
        whole = decode(latents)[0]
        for samples in (83 * hop, 40 * hop - 7):
            found = decoded(decode, latents, samples, window=20, margin=margin, hop=hop)
            assert found.shape == (2, samples)
            assert float((found - whole[:, :samples]).abs().max()) < 1e-5
        # And the margins are needed: with none of them the seams are heard.
        bare = decoded(decode, latents, 83 * hop, window=20, margin=0, hop=hop)
        assert float((bare - whole).abs().max()) > 1e-3


def test_encoding_by_windows_is_encoding_at_once(model: Model) -> None:
    from diffusers import AutoencoderSAME

    vae = model("sa3").pipeline.vae
    sound = torch.from_numpy(recording(14.0).T)[None]  # 151 latent frames, two windows and a half
    with torch.no_grad():
        whole = AutoencoderSAME.encode(vae, sound).latents
        found = vae.encode(sound).latents
    assert vae.encode is not AutoencoderSAME.encode and found.shape == whole.shape
    assert float((found - whole).abs().max()) < 1e-4


def test_positions_stay_exact_in_half_precision(model: Model) -> None:
    exact = model("sa3").pipeline.transformer.rotary_pos_emb.inv_freq
    half = SimpleNamespace(transformer=copy.deepcopy(model("sa3").pipeline.transformer).half(), vae=torch.nn.Module())
    assert not torch.equal(half.transformer.rotary_pos_emb.inv_freq.float(), exact)
    _positions_in_full(half)
    assert torch.equal(half.transformer.rotary_pos_emb.inv_freq, exact)


# ── recordings ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["sa3", "sa3-base"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_variation_of_a_recording_is_that_of_diffusers(model: Model, theirs: ByHand, name: str, count: int) -> None:
    sound = recording(1.7)
    made = ask(
        model(name), init_audio=file_of(sound), init_noise_level=0.4, duration=None, num_waveforms_per_prompt=count
    )
    expected = theirs(name, "vary")(
        prompt="warm drums", audio=torch.from_numpy(sound.T)[None], duration=len(sound) / RATE, init_noise_level=0.4,
        num_inference_steps=10, num_waveforms_per_prompt=count, generator=generators(*seeds(made)),
    )  # fmt: skip
    assert made.fields["duration"] == 1.7
    for ours, his in zip(waveforms(made), expected, strict=True):
        assert float(np.abs(ours - his).max()) < CLOSE


def test_a_part_made_anew_is_that_of_diffusers(model: Model, theirs: ByHand) -> None:
    sound = recording(2.0)
    made = ask(model("sa3"), inpaint_audio=file_of(sound), inpaint_start=0.5, inpaint_end=1.2, duration=None)
    expected = theirs("sa3", "anew")(
        prompt="warm drums", audio=torch.from_numpy(sound.T)[None], duration=2.0, mask_start_seconds=0.5,
        mask_end_seconds=1.2, num_inference_steps=10, generator=generators(3),
    )  # fmt: skip
    assert float(np.abs(waveforms(made)[0] - expected[0]).max()) < CLOSE
    elsewhere = ask(model("sa3"), inpaint_audio=file_of(sound), inpaint_start=1.0, inpaint_end=1.2, duration=None)
    assert float(np.abs(waveforms(made)[0] - waveforms(elsewhere)[0]).max()) > 0.01


def test_a_recording_is_gone_on_from(model: Model, theirs: ByHand) -> None:
    sound = recording(1.5)
    made = ask(model("sa3"), inpaint_audio=file_of(sound), duration=3.0)
    expected = theirs("sa3", "anew")(
        prompt="warm drums", audio=torch.from_numpy(sound.T)[None], duration=3.0, mask_start_seconds=1.5,
        mask_end_seconds=3.0, num_inference_steps=10, generator=generators(3),
    )  # fmt: skip
    assert len(waveforms(made)[0]) == 3 * RATE
    assert float(np.abs(waveforms(made)[0] - expected[0]).max()) < CLOSE


def test_recordings_of_other_kinds_are_heard_too(model: Model) -> None:
    one = recording(1.5, channels=1)
    mono = ask(model("sa3"), init_audio=file_of(one), init_noise_level=0.2)
    both = ask(model("sa3"), init_audio=file_of(np.repeat(one, 2, axis=1)), init_noise_level=0.2)
    assert np.array_equal(waveforms(mono)[0], waveforms(both)[0])
    slow = ask(model("sa3"), init_audio=file_of(recording(1.5), rate=22_050), duration=None)
    assert slow.fields["duration"] == 3.0
