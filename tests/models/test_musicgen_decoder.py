"""MusicGen on the engine gives what transformers gives: codes, logits; alone or in company."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import musicgen_reference as reference
import pytest
import torch

from tonewheel.engine import Engine, GenerationRequest, Sampling, pattern
from tonewheel.engine.kernels import Linear, PlainKernels
from tonewheel.engine.kernels.offer import Made
from tonewheel.errors import InvalidRequest, ModelBroken, OutOfMemory
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, MusicgenPrompt, positions_table

KINDS = ("mono", "mono-equal-width", "stereo", "melody")
IDS = torch.tensor([5, 9, 11, 20, 1])
OTHER_IDS = torch.tensor([30, 7, 1])


class _Listening(PlainKernels):
    """Hears the logits."""

    def __init__(self, logits: list[torch.Tensor]) -> None:
        super().__init__()
        self.logits = logits

    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> Linear:
        layer = super().linear(name, weight, bias)
        if name != "lm_heads":
            return layer

        def heard(x: torch.Tensor) -> torch.Tensor:
            self.logits.append(layer(x).detach().clone())
            return self.logits[-1]

        return heard


class House:
    """A checkpoint as transformers runs it and as the engine does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.theirs = reference.reference(folder)
        self.logits: list[torch.Tensor] = []
        self.ours = reference.decoder(folder, self.theirs, _Listening(self.logits))

    def prompt(self, ids: torch.Tensor | None = IDS, **more: Any) -> MusicgenPrompt:
        return MusicgenPrompt() if ids is None else reference.prompt(self.theirs, ids, **more)


@pytest.fixture(scope="module")
def house(musicgen_checkpoint: Callable[[str], Path]) -> Callable[[str], House]:
    built: dict[str, House] = {}

    def of(kind: str) -> House:
        if kind not in built:
            built[kind] = House(musicgen_checkpoint(kind))
        return built[kind]

    return of


def run(model: MusicgenDecoder, *requests: GenerationRequest, slots: int = 4, **more: Any) -> list[torch.Tensor]:
    with Engine(model, slots, **more) as engine:
        return [sequence.result(120) for sequence in [engine.submit(r) for r in requests]]


def greedy(prompt: MusicgenPrompt, frames: int = 25, scale: float = 3.0, **more: Any) -> GenerationRequest:
    return GenerationRequest(prompt, frames, Sampling(guidance_scale=scale, do_sample=False), **more)


@pytest.mark.parametrize("block", [False, True], ids=["by-rows", "as-block"])
@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_codes_are_those_of_transformers(house: Any, kind: str, scale: float, block: bool) -> None:
    h = house(kind)
    (ours,) = run(h.ours, greedy(h.prompt(), scale=scale), block=block)
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, scale))
    assert len(ours.unique()) > 10  # a model that says the same thing all the time would prove nothing


@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_logits_are_those_of_transformers(house: Any, kind: str) -> None:
    h = house(kind)
    h.logits.clear()
    (codes,) = run(h.ours, greedy(h.prompt()))
    plan = pattern.laid_out(codes, 0, h.ours.delays, h.ours.pad)
    fed = torch.cat([torch.full_like(plan[:, :1], h.ours.pad), plan[:, :-1]], dim=1)
    with torch.inference_mode():
        theirs = h.theirs(
            input_ids=IDS[None], attention_mask=torch.ones_like(IDS)[None], decoder_input_ids=fed
        ).logits  # [K, steps, V]
    ours = torch.stack([x[0].view(h.ours.codebooks, -1) for x in h.logits], dim=1)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-4
    assert theirs.std() > 0.1


def test_chroma_is_heard(house: Any) -> None:
    h = house("melody")
    chroma = torch.nn.functional.one_hot(torch.arange(20) % 12, 12).float()
    (ours,) = run(h.ours, greedy(h.prompt(melody=chroma)))
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, 3.0, input_features=chroma[None].clone()))
    assert not torch.equal(ours, run(h.ours, greedy(h.prompt()))[0])


@pytest.mark.parametrize("prefill", [7, 64])
@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_continuing_codes_is_what_transformers_does(house: Any, kind: str, prefill: int) -> None:
    h = house(kind)
    start = torch.randint(0, h.ours.shape.vocabulary, (h.ours.codebooks, 18), generator=torch.manual_seed(4))
    (ours,) = run(h.ours, greedy(h.prompt(), frames=15, start=start), prefill=prefill)
    pad = torch.full((h.ours.codebooks, 1), h.ours.pad)
    theirs = reference.generated(h.theirs, IDS, 15, 3.0, decoder_input_ids=torch.cat([pad, start], dim=1))
    assert torch.equal(ours, theirs[:, 18:])


def test_going_on_from_its_own_codes_gives_the_same_as_not_stopping(house: Any) -> None:
    h = house("mono")
    sampling = Sampling(seed=11, top_k=20)
    (whole,) = run(h.ours, GenerationRequest(h.prompt(), 40, sampling))
    (rest,) = run(h.ours, GenerationRequest(h.prompt(), 22, sampling, start=whole[:, :18]))
    assert torch.equal(whole[:, 18:], rest)


def test_without_a_prompt_it_plays_unconditionally(house: Any) -> None:
    h = house("mono")
    with torch.inference_mode():
        inputs = h.theirs.get_unconditional_inputs(1)
    kept: list[torch.Tensor] = []
    decode = h.theirs.audio_encoder.decode
    h.theirs.audio_encoder.decode = lambda codes, *a, **k: (kept.append(codes), decode(codes, *a, **k))[1]
    try:
        h.theirs.generate(**inputs, do_sample=False, max_new_tokens=28)
    finally:
        h.theirs.audio_encoder.decode = decode
    (ours,) = run(h.ours, greedy(MusicgenPrompt()))
    assert torch.equal(ours, kept[0][0, 0])


def test_a_negative_prompt_takes_the_place_of_no_prompt(house: Any) -> None:
    h = house("mono")
    negative = reference.text_states(h.theirs, OTHER_IDS)
    plain, other = run(h.ours, greedy(h.prompt()), greedy(h.prompt(negative=negative)))
    assert not torch.equal(plain, other)
    as_block = run(h.ours, greedy(h.prompt()), greedy(h.prompt(negative=negative)), block=True)
    assert torch.equal(as_block[0], plain) and torch.equal(as_block[1], other)
    (same,) = run(h.ours, greedy(h.prompt(negative=h.prompt().text)))  # c + s (c - c) = c: as without guidance
    assert torch.equal(same, run(h.ours, greedy(h.prompt(), scale=1.0))[0])


@pytest.mark.parametrize("block", [False, True], ids=["by-rows", "as-block"])
@pytest.mark.parametrize("kind", ["mono", "melody"])
def test_a_late_request_among_eight_draws_what_it_draws_alone(house: Any, kind: str, block: bool) -> None:
    h = house(kind)
    dice = random.Random(5)
    mine = GenerationRequest(h.prompt(OTHER_IDS), 30, Sampling(seed=99, top_k=40, top_p=0.9, temperature=1.2))
    (alone,) = run(h.ours, mine, block=block)
    start = torch.randint(0, 64, (h.ours.codebooks, 9), generator=torch.manual_seed(1))
    neighbours = [
        GenerationRequest(
            h.prompt(dice.choice([IDS, OTHER_IDS, None])),
            dice.randint(5, 60),
            Sampling(
                temperature=dice.uniform(0.2, 2), top_k=dice.choice([0, 3, 64]), top_p=dice.choice([0.5, 1.0]),
                guidance_scale=dice.choice([1.0, 4.0]), do_sample=n % 3 > 0, seed=n,
            ),
            start=start if n % 2 else None,
        )
        for n in range(7)
    ]  # fmt: skip
    with Engine(h.ours, 8, block=block) as engine:
        others = [engine.submit(r) for r in neighbours]
        others[0].wait(3, 60)
        late = engine.submit(mine)
        assert torch.equal(late.result(120), alone)
        for request, other in zip(neighbours, others, strict=True):
            assert other.result(120).shape == (h.ours.codebooks, request.frames)
    for request, other in list(zip(neighbours, others, strict=True))[1:4]:
        assert torch.equal(other.result(), run(h.ours, request, block=block)[0])


def test_the_same_seed_gives_the_same_codes_and_another_does_not(house: Any) -> None:
    h = house("stereo")
    one, again, other = run(h.ours, *(GenerationRequest(h.prompt(), 20, Sampling(seed=s)) for s in (1, 1, 2)))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_positions_are_those_of_the_checkpoint(house: Any) -> None:
    theirs = house("mono").theirs.decoder.model.decoder.embed_positions.weights
    assert torch.allclose(positions_table(*theirs.shape), theirs, atol=1e-6)


def test_what_can_never_run_is_refused_with_figures(house: Any) -> None:
    h = house("mono")
    with Engine(h.ours, 2, cache_limit=1000) as engine, pytest.raises(OutOfMemory, match="MiB for its key/value cache"):
        engine.submit(greedy(h.prompt()))
    with Engine(h.ours, 2) as engine:
        with pytest.raises(InvalidRequest, match="positions"):
            engine.submit(greedy(h.prompt(), frames=h.ours.shape.max_positions))
        with pytest.raises(InvalidRequest, match="codes of shape"):
            engine.submit(greedy(h.prompt(), start=torch.zeros(3, 5, dtype=torch.int64)))


def test_a_config_that_is_not_musicgens_is_named() -> None:
    with pytest.raises(ModelBroken, match="decoder"):
        DecoderShape.of({"model_type": "t5"})
