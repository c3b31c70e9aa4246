"""MusicGen on the native kernels: transformers' greedy codes in float32; in fewer bits the same bits in any company."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import musicgen_reference as reference
import pytest
import torch

from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import Precision
from tonewheel.engine.kernels.native import NativeKernels
from tonewheel.models.musicgen.decoder import MusicgenDecoder, MusicgenPrompt

native = pytest.importorskip("tonewheel_kernels", reason="the native kernels are not installed (pip install ./kernels)")

KINDS = ("mono", "mono-equal-width", "stereo", "melody")
IDS = torch.tensor([5, 9, 11, 20, 1])
OTHER_IDS = torch.tensor([30, 7, 1])
CHROMA = torch.nn.functional.one_hot(torch.arange(20) % 12, 12).float()


class House:
    """A checkpoint as transformers runs it, and ours on native kernels of every precision."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.theirs = reference.reference(folder)
        self._ours: dict[tuple[str, str, int], MusicgenDecoder] = {}

    def ours(self, precision: Precision = "float32", threads: int = 1) -> MusicgenDecoder:
        key = native.chosen(), precision, threads
        if key not in self._ours:
            kernels = NativeKernels(precision, crew=native.Crew(threads))
            self._ours[key] = reference.decoder(self.folder, self.theirs, kernels)
        return self._ours[key]

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


def run(model: MusicgenDecoder, *requests: GenerationRequest, **more: Any) -> list[torch.Tensor]:
    with Engine(model, 4, **more) as engine:
        return [sequence.result(120) for sequence in [engine.submit(r) for r in requests]]


def greedy(prompt: MusicgenPrompt, frames: int = 25, scale: float = 3.0, **more: Any) -> GenerationRequest:
    return GenerationRequest(prompt, frames, Sampling(guidance_scale=scale, do_sample=False), **more)


# ── float32: what transformers says ──


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instructions", native.available())
def test_greedy_codes_are_those_of_transformers(
    house: Any, monkeypatch: pytest.MonkeyPatch, instructions: str, kind: str
) -> None:
    monkeypatch.setenv("TONEWHEEL_KERNELS_CPU", instructions)
    h = house(kind)
    (ours,) = run(h.ours(), greedy(h.prompt()))
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, 3.0))
    assert len(ours.unique()) > 10


def test_without_guidance_they_are_the_same_too(house: Any) -> None:
    h = house("mono")
    (ours,) = run(h.ours(), greedy(h.prompt(), scale=1.0))
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, 1.0))


def test_chroma_is_heard(house: Any) -> None:
    h = house("melody")
    (ours,) = run(h.ours(), greedy(h.prompt(melody=CHROMA)))
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, 3.0, input_features=CHROMA[None].clone()))


@pytest.mark.parametrize("prefill", [7, 64])
@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_continuing_codes_is_what_transformers_does(house: Any, kind: str, prefill: int) -> None:
    h = house(kind)
    model = h.ours()
    start = torch.randint(0, model.shape.vocabulary, (model.codebooks, 18), generator=torch.manual_seed(4))
    (ours,) = run(model, greedy(h.prompt(), frames=15, start=start), prefill=prefill)
    pad = torch.full((model.codebooks, 1), model.pad)
    theirs = reference.generated(h.theirs, IDS, 15, 3.0, decoder_input_ids=torch.cat([pad, start], dim=1))
    assert torch.equal(ours, theirs[:, 18:])


def test_a_decoder_that_reads_its_cache_as_a_block_takes_the_layers_one_by_one(house: Any) -> None:
    h = house("mono")
    (ours,) = run(h.ours(), greedy(h.prompt()), block=True)
    assert torch.equal(ours, reference.generated(h.theirs, IDS, 25, 3.0))


# ── every precision: the same bits, whatever stands beside it ──


@pytest.mark.parametrize(
    ("kind", "precision"), [("mono", "float32"), ("mono", "int8"), ("mono", "int4"), ("melody", "int8")]
)
def test_a_late_request_in_company_draws_what_it_draws_alone(house: Any, kind: str, precision: Precision) -> None:
    h = house(kind)
    dice = random.Random(5)
    heard = {"melody": CHROMA} if kind == "melody" else {}
    mine = GenerationRequest(
        h.prompt(OTHER_IDS, **heard), 30, Sampling(seed=99, top_k=40, top_p=0.9, temperature=1.2)
    )  # fmt: skip
    (alone,) = run(h.ours(precision), mine)
    model = h.ours(precision, threads=3)
    start = torch.randint(0, 64, (model.codebooks, 9), generator=torch.manual_seed(1))
    neighbours = [
        GenerationRequest(
            h.prompt(dice.choice([IDS, OTHER_IDS, None])), dice.randint(5, 40),
            Sampling(guidance_scale=dice.choice([1.0, 4.0]), do_sample=n % 3 > 0, seed=n),
            start=start if n % 2 else None,
        )
        for n in range(5)
    ]  # fmt: skip
    with Engine(model, 6, prefill=5) as engine:
        others = [engine.submit(r) for r in neighbours]
        others[0].wait(3, 60)
        late = engine.submit(mine)
        assert torch.equal(late.result(120), alone)
        for request, other in zip(neighbours, others, strict=True):
            assert other.result(120).shape == (model.codebooks, request.frames)
    assert torch.equal(others[3].result(), run(h.ours(precision), neighbours[3])[0])
    assert len(alone.unique()) > 10


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_going_on_from_its_own_codes_gives_the_same_as_not_stopping(house: Any, precision: Precision) -> None:
    h = house("mono")
    sampling = Sampling(seed=11, top_k=20)
    (whole,) = run(h.ours(precision), GenerationRequest(h.prompt(), 40, sampling))
    (rest,) = run(h.ours(precision), GenerationRequest(h.prompt(), 22, sampling, start=whole[:, :18]), prefill=5)
    assert torch.equal(whole[:, 18:], rest)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_text_of_an_earlier_request_is_not_seen_by_the_next(house: Any, precision: Precision) -> None:
    h = house("mono")
    model = h.ours(precision)
    fresh = run(model, greedy(h.prompt(None)))[0]
    with Engine(model, 1) as engine:  # one slot: the same rows again
        assert not torch.equal(engine.submit(greedy(h.prompt())).result(120), fresh)
        assert torch.equal(engine.submit(greedy(h.prompt(None))).result(120), fresh)
        assert not torch.equal(engine.submit(greedy(h.prompt())).result(120), fresh)


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.5), ("int4", 0.1)])  # by chance: 1/64
def test_fewer_bits_choose_mostly_the_same(house: Any, precision: Precision, least: float) -> None:
    """Fed with the codes of float32, so that one other choice changes only those of the same moment. A model of width
    32 with random weights is often undecided; what real widths lose is measured in bench/."""
    h = house("mono")
    (exact,) = run(h.ours(), greedy(h.prompt(), frames=60))
    same = []
    for cut in range(4, 60, 4):
        (one,) = run(h.ours(precision), greedy(h.prompt(), frames=1, start=exact[:, :cut]))
        same.append((one[:, 0] == exact[:, cut]).float().mean())
    assert torch.stack(same).mean() >= least
