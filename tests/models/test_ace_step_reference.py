"""ACE-Step held to diffusers' own pipeline, called by hand on the same tiny checkpoint with the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ace_step_checkpoints import HOP
from ace_step_loaded import ask, file_of, loaded, samples_of, sound

from tonewheel.models.ace_step.model import AceStep
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.diffusion.model import Row

Array = np.ndarray[Any, Any]
Model = Callable[[str], AceStep]
ByHand = Callable[..., Array]

WORDS = {"lyrics": "[Verse]\nla la la", "language": "en", "bpm": 96, "key": "A minor", "time_signature": "3/4"}
THEIRS = {
    "lyrics": "[Verse]\nla la la", "vocal_language": "en", "bpm": 96, "keyscale": "A minor", "timesignature": "3",
}  # fmt: skip
BARE = {"lyrics": "[Instrumental]", "vocal_language": "unknown"}
TURBO, BASE = {"num_inference_steps": 8, "shift": 3.0}, {"num_inference_steps": 50, "shift": 1.0, "guidance_scale": 7.0}


@pytest.fixture(scope="module")
def model(ace_step_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made: dict[str, AceStep] = {}
    torch.set_num_threads(1)

    def of(name: str) -> AceStep:
        if name not in made:
            made[name] = loaded(ace_step_checkpoint(name), tmp_path_factory.mktemp("data"), f"ace-step-{name}")
        return made[name]

    yield of
    for one in made.values():
        one.release()


@pytest.fixture(scope="module")
def by_hand(ace_step_checkpoint: Callable[[str], Path]) -> ByHand:
    """`by_hand("turbo", seeds, **arguments)`: what a user of diffusers writes → [songs, n, 2]."""
    from diffusers import AceStepPipeline

    made: dict[str, Any] = {}

    def call(name: str, seeds: list[int], tiling: bool = False, **asked: Any) -> Array:
        if name not in made:
            made[name] = AceStepPipeline.from_pretrained(ace_step_checkpoint(name))
            made[name].set_progress_bar_config(disable=True)
        pipe = made[name]
        pipe.vae.use_tiling = tiling
        asked = {"prompt": "a small band", "audio_duration": 10.0, **asked}
        for text in ("prompt", "lyrics"):
            asked[text] = [asked[text]] * len(seeds)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        torch.manual_seed(0)  # its encoder draws from torch's own generator
        audios = pipe(**asked, generator=generators).audios
        return np.ascontiguousarray(audios.numpy().transpose(0, 2, 1))

    return call


@pytest.mark.parametrize(("name", "manner"), [("turbo", TURBO), ("base", BASE)])
def test_a_song_is_that_of_diffusers_in_the_manner_of_its_checkpoint(
    model: Model, by_hand: ByHand, name: str, manner: dict[str, Any]
) -> None:
    found = samples_of(ask(model(name), **WORDS))
    assert np.array_equal(found, by_hand(name, [3], **THEIRS, **manner))


def test_steps_guidance_and_shift_are_those_asked_for(model: Model, by_hand: ByHand) -> None:
    asked = {"num_inference_steps": 5, "guidance_scale": 2.5, "shift": 2.0}
    found = ask(model("base"), **asked)
    assert np.array_equal(samples_of(found), by_hand("base", [3], **BARE, **asked))
    assert {name: found.fields[name] for name in asked} == asked


@pytest.mark.parametrize(("name", "manner"), [("turbo", TURBO), ("base", {**BASE, "num_inference_steps": 6})])
def test_three_variations_are_three_of_diffusers_and_each_can_be_made_again_alone(
    model: Model, by_hand: ByHand, name: str, manner: dict[str, Any]
) -> None:
    steps = {"num_inference_steps": manner["num_inference_steps"]}
    result = ask(model(name), num_variations=3, **WORDS, **steps)
    seeds = [one["seed"] for one in result.fields["waveforms"]]
    found = samples_of(result)
    assert len(set(seeds)) == 3 and seeds[0] == 3
    np.testing.assert_allclose(found, by_hand(name, seeds, **THEIRS, **manner), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.05
    again = samples_of(ask(model(name), seed=seeds[2], **WORDS, **steps))
    np.testing.assert_allclose(again[0], found[2], atol=1e-5)


@pytest.mark.parametrize("name", ["turbo", "base"])
def test_a_batch_of_different_words_equals_them_one_by_one(model: Model, by_hand: ByHand, name: str) -> None:
    """diffusers' own batch does not: it lets shorter ones attend to their padding, and has one tempo for all."""
    asked = [
        {"prompt": "a", "lyrics": "oh"},
        {"prompt": "a much longer description of it", "lyrics": "[Verse]\n" + "many words " * 9, **{"bpm": 80}},
        {"prompt": "a waltz", "key": "F major", "time_signature": "3/4", "language": "de"},
    ]
    of = model(name)
    requests = [AceStepRequest(duration=10.0, num_inference_steps=4, **one) for one in asked]
    requests = [of.validate(request) for request in requests]
    assert len({of.recipe(request) for request in requests}) == 1
    rows = [Row(request, seed) for seed, request in enumerate(requests)]
    generators = [torch.Generator().manual_seed(row.seed) for row in rows]
    with torch.no_grad():
        together = of.call(of.pipeline, of.recipe(requests[0]), rows, generators).numpy().transpose(0, 2, 1)
    alone = [samples_of(of.run(r.model_copy(update={"seed": n}), _context()))[0] for n, r in enumerate(requests)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-4)

    manner = {"num_inference_steps": 4} | ({"shift": 1.0} if name == "base" else {"shift": 3.0})
    theirs = by_hand(name, [2], prompt="a waltz", lyrics="[Instrumental]", vocal_language="de", keyscale="F major",
                     timesignature="3", **manner)  # fmt: skip
    assert np.array_equal(alone[2], theirs[0])


def test_the_pipeline_called_directly_is_as_it_was(model: Model, by_hand: ByHand) -> None:
    asked = {"lyrics": ["la", "la"], "audio_duration": 10.0, "num_inference_steps": 2, "vocal_language": "en"}
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    found = model("turbo").pipeline(["a small band"] * 2, **asked, generator=generators).audios.numpy()
    theirs = by_hand("turbo", [1, 2], lyrics="la", num_inference_steps=2, vocal_language="en")
    np.testing.assert_allclose(found.transpose(0, 2, 1), theirs, atol=1e-5)


def _context() -> Any:
    from tonewheel.models.base import RunContext

    return RunContext()


def test_a_length_that_diffusers_fails_at_is_exact_to_the_sample(model: Model, by_hand: ByHand) -> None:
    with pytest.raises(RuntimeError):  # once it does not, `noise` can go
        by_hand("turbo", [3], **BARE, audio_duration=16.43, num_inference_steps=1)
    assert samples_of(ask(model("turbo"), duration=16.43, num_inference_steps=1)).shape == (1, 788_640, 2)


def test_a_long_song_is_decoded_in_pieces(model: Model, by_hand: ByHand) -> None:
    found = samples_of(ask(model("turbo"), duration=22.25, num_inference_steps=2))
    theirs = by_hand("turbo", [3], tiling=True, **BARE, audio_duration=22.25, num_inference_steps=2, shift=3.0)
    assert found.shape == (1, 1_068_000, 2)
    assert np.array_equal(found, theirs[:, :1_068_000])


# ── with audio ──────────────────────────────────────────────────────────────────────────────────

SOURCE = sound(10.3)
PADDED = torch.from_numpy(np.pad(SOURCE, ((0, -len(SOURCE) % HOP), (0, 0))).T.copy())


def test_a_cover_is_that_of_diffusers(model: Model, by_hand: ByHand) -> None:
    fields = {"task": "cover", "src_audio": file_of(SOURCE), "num_inference_steps": 2, "duration": 10.3}
    found = samples_of(ask(model("turbo"), **fields))
    theirs = {"task_type": "cover", "src_audio": PADDED, "audio_duration": 10.3, **TURBO, "num_inference_steps": 2}
    assert found.shape == (1, len(SOURCE), 2)
    assert np.array_equal(found, by_hand("turbo", [3], **BARE, **theirs)[:, : len(SOURCE)])
    half = samples_of(ask(model("turbo"), **fields, cover_strength=0.5))
    assert np.array_equal(half, by_hand("turbo", [3], **BARE, **theirs, audio_cover_strength=0.5)[:, : len(SOURCE)])
    assert np.abs(half - found).max() > 1e-3


def test_two_covers_hear_the_same_file_and_each_can_be_made_again_alone(model: Model) -> None:
    fields = {"task": "cover", "src_audio": file_of(SOURCE), "num_inference_steps": 2, "duration": 10.3}
    result = ask(model("turbo"), num_variations=2, **fields)
    again = ask(model("turbo"), **fields | {"seed": result.fields["waveforms"][1]["seed"]})
    np.testing.assert_allclose(samples_of(again)[0], samples_of(result)[1], atol=1e-5)


def test_a_repaint_is_that_of_diffusers(model: Model, by_hand: ByHand) -> None:
    fields = {"task": "repaint", "src_audio": file_of(SOURCE), "repaint_start": 4.0, "repaint_end": 8.5}
    request = AceStepRequest(prompt="a small band", seed=3, num_inference_steps=2, **fields)  # as long as its file
    found = samples_of(model("turbo").run(model("turbo").validate(request), _context()))
    theirs = by_hand(
        "turbo", [3], **BARE, task_type="repaint", src_audio=PADDED, audio_duration=10.3, repainting_start=4.0,
        repainting_end=8.5, **TURBO | {"num_inference_steps": 2},
    )  # fmt: skip
    assert found.shape == (1, len(SOURCE), 2)
    assert np.array_equal(found, theirs[:, : len(SOURCE)])


def test_a_repaint_that_lasts_longer_than_its_file_goes_on_from_it(model: Model, by_hand: ByHand) -> None:
    longer = torch.nn.functional.pad(torch.from_numpy(SOURCE.T.copy()), (0, 12 * 48_000 - len(SOURCE)))
    fields = {"task": "repaint", "src_audio": file_of(SOURCE), "duration": 12.0, "repaint_start": 10.0}
    found = samples_of(ask(model("turbo"), num_inference_steps=2, **fields))
    theirs = by_hand(
        "turbo", [3], **BARE, task_type="repaint", src_audio=longer, audio_duration=12.0, repainting_start=10.0,
        **TURBO | {"num_inference_steps": 2},
    )  # fmt: skip
    assert np.array_equal(found, theirs)


def test_a_reference_is_heard_as_diffusers_hears_it(model: Model, by_hand: ByHand) -> None:
    heard = sound(3.0, seed=9)
    found = samples_of(ask(model("turbo"), reference_audio=file_of(heard), num_inference_steps=2))
    theirs = by_hand(
        "turbo", [3], **BARE, reference_audio=torch.from_numpy(heard.T.copy()), **TURBO | {"num_inference_steps": 2}
    )
    assert np.array_equal(found, theirs)
    assert np.abs(found - samples_of(ask(model("turbo"), num_inference_steps=2))).max() > 1e-3


@pytest.mark.parametrize("layout", ["turbo-sharded", "turbo-bin"])
def test_every_layout_makes_the_same_song(
    model: Model, ace_step_checkpoint: Callable[[str], Path], tmp_path: Path, layout: str
) -> None:
    other = loaded(ace_step_checkpoint(layout), tmp_path, TONEWHEEL_PICKLED_MODELS="ace-step-turbo")
    try:
        assert np.array_equal(samples_of(ask(other)), samples_of(ask(model("turbo"))))
    finally:
        other.release()
