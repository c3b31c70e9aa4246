"""The native draw: the same tokens as torch's, by the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tonewheel.engine.model import Batch
from tonewheel.engine.request import Sampling
from tonewheel.engine.sampler import Need, Sampler

pytest.importorskip("tonewheel_kernels")

from tonewheel.engine.kernels.native import NativeKernels

SETTINGS = [
    Sampling(top_k=250, guidance_scale=3.0, seed=1),
    Sampling(top_k=50, temperature=0.7, guidance_scale=1.5, seed=2**63 - 1),
    Sampling(top_k=0, top_p=0.9, temperature=1.3, guidance_scale=1.0, seed=3),
    Sampling(top_k=0, top_p=1.0, temperature=5.0, guidance_scale=2.0, seed=4),
    Sampling(top_k=20, top_p=0.3, guidance_scale=1.0, seed=5),
    Sampling(top_k=1, guidance_scale=3.0, seed=6),
    Sampling(do_sample=False, guidance_scale=3.0, seed=7),
    Sampling(top_k=100_000, temperature=0.01, guidance_scale=3.0, seed=8),
    Sampling(top_k=250, top_p=1e-9, guidance_scale=3.0, seed=9),
]


class Case:
    """All settings at once, each in a slot, two rows each."""

    def __init__(self, settings: list[Sampling], codebooks: int, steps: int = 12) -> None:
        self.settings, self.codebooks = settings, codebooks
        count = len(settings)
        self.sampler = Sampler(count, torch.device("cpu"))
        for slot, s in enumerate(settings):
            self.sampler.set(slot, s)
        self.last = torch.zeros(count, codebooks, dtype=torch.int64)
        self.spoilt = torch.zeros(count, 1, dtype=torch.int64)
        self.plan = torch.full((count, codebooks, steps), -1, dtype=torch.int64)
        self.drawing = NativeKernels("float32").drawing(self.sampler, self.last, self.spoilt)

    def batch(self, step: int) -> Batch:
        slots = torch.arange(len(self.settings))
        none = torch.zeros(0, dtype=torch.int64)
        return Batch(slots, none, none, 2 * slots, 2 * slots + 1, torch.full_like(slots, step), none)

    def native(self, logits: torch.Tensor, step: int, banned: torch.Tensor | None = None) -> torch.Tensor:
        return self.drawing.draw(logits, self.batch(step), self.plan, 0, banned)

    def plain(self, logits: torch.Tensor, step: int, banned: torch.Tensor | None = None) -> torch.Tensor:
        batch, sampler = self.batch(step), self.sampler
        guided = sampler.guide(logits[batch.conditional], logits[batch.unconditional], batch.slots)
        if banned is not None:
            guided = guided.masked_fill(banned, -torch.inf)
        codebooks = torch.arange(self.codebooks)
        return sampler.draw(guided, batch.slots, batch.steps, codebooks, Need.of(self.settings))


@pytest.mark.parametrize("vocabulary", [1, 2, 17, 256, 2048, 8197])
def test_all_settings_draw_what_torch_draws(vocabulary: int) -> None:
    case = Case(SETTINGS, 4)
    generator = torch.Generator().manual_seed(vocabulary)
    for step in range(12):
        logits = torch.randn(2 * len(SETTINGS), 4, vocabulary, generator=generator) * (1 + step)
        assert case.native(logits, step).tolist() == case.plain(logits, step).tolist()
    assert not case.spoilt.any()


def test_ties_are_broken_alike() -> None:
    """Half precision is full of equal logits."""
    case = Case(SETTINGS, 4)
    generator = torch.Generator().manual_seed(0)
    for step in range(12):
        logits = torch.randint(-3, 3, (2 * len(SETTINGS), 4, 2048), generator=generator).float()
        assert case.native(logits, step).tolist() == case.plain(logits, step).tolist()


def test_what_is_banned_never_comes_and_what_is_known_always_does() -> None:
    case = Case(SETTINGS, 2)
    generator = torch.Generator().manual_seed(0)
    banned = torch.rand(300, generator=generator) < 0.9
    case.plan[3, 1, 5] = 7
    banned[7] = True
    for step in range(12):
        logits = torch.randn(2 * len(SETTINGS), 2, 300, generator=generator) * 3
        tokens = case.native(logits, step, banned)
        wanted = case.plain(logits, step, banned)
        if step == 5:
            wanted[3, 1] = 7
        assert tokens.tolist() == wanted.tolist() == case.last.tolist()
        assert bool(banned[tokens].any()) == (step == 5)


def test_alone_or_in_company_the_tokens_are_the_same() -> None:
    crowd, logits = (
        Case(SETTINGS, 4),
        torch.randn(2 * len(SETTINGS), 4, 2048, generator=torch.Generator().manual_seed(1)),
    )
    together = crowd.native(logits, 3)
    for slot, setting in enumerate(SETTINGS):
        alone = Case([setting], 4).native(logits[2 * slot : 2 * slot + 2].contiguous(), 3)
        assert alone[0].tolist() == together[slot].tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_slot_with_numbers_that_are_none_is_told_and_its_neighbours_are_not(value: float) -> None:
    case = Case([replace(s, seed=1) for s in SETTINGS], 4)
    logits = torch.randn(2 * len(SETTINGS), 4, 2048, generator=torch.Generator().manual_seed(1))
    logits[4, 2, 100] = value  # of slot 2, which is not guided
    logits[10, 0, :] = -torch.inf  # of slot 5
    case.native(logits, 0)
    assert case.spoilt.flatten().nonzero().flatten().tolist() == [2, 5]


def test_wrong_arrays_are_refused() -> None:
    case = Case(SETTINGS[:2], 4)
    logits = torch.zeros(4, 4, 8)
    with pytest.raises(IndexError):
        case.native(logits, 12)  # past the plan
    with pytest.raises(IndexError):
        case.native(logits[:3], 0)  # a row that is not there
    with pytest.raises(ValueError, match="codebooks"):
        case.native(torch.zeros(4, 5, 8), 0)
    with pytest.raises(ValueError, match="banned"):
        case.native(logits, 0, torch.zeros(7, dtype=torch.bool))
