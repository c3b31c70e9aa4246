"""The engine keeps to its memory, and a fault leaves nobody waiting."""

from __future__ import annotations

import dataclasses
import time

import pytest
import torch
from test_engine import WAIT_S, Slow, asked, prompt, until
from toy_models import Interleaved

from tonewheel.engine import Batch, Engine, GenerationRequest, Sample, Sampling, Sequence
from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.cross import CrossCache
from tonewheel.engine.model import CacheShape
from tonewheel.engine.runner import Stepped
from tonewheel.errors import RenderFault

CPU = torch.device("cpu")


def test_a_long_one_and_short_ones_together_stay_within_the_limit() -> None:
    """Slots make a rectangle: the longest decides how long every row is."""
    model = Slow()
    model.end = None
    room = KeyValueCache(model.cache_shape, model.dtype, model.device).bytes_for(4, 300)
    with Engine(model, 6, cache_limit=room) as engine:
        engine.submit(asked(2)).result(WAIT_S)
        holding = engine.submit(asked(10))  # those behind it are let in at once, when it has left
        holding.wait(1, WAIT_S)
        sequences = [engine.submit(asked(n)) for n in (300, 5, 5, 5, 5)]
        while not all(s.ended for s in sequences):
            assert engine.counts().cache_bytes <= room
            time.sleep(0.001)
        assert all(s.result().shape == (1, s.request.frames) for s in sequences)


def test_a_cache_that_could_not_grow_can_grow_later(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = KeyValueCache(CacheShape(3, 2, 4), torch.float32, CPU)
    cache.reserve(2, 10)
    for layer in range(3):
        cache.put(layer, 1, 0, torch.full((2, 5, 4), 1.0 + layer), torch.full((2, 5, 4), 7.0 + layer))
    real, left = torch.zeros, [4]

    def scarce(*size: object, **more: object) -> torch.Tensor:
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("no more")
        return real(*size, **more)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "zeros", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        cache.reserve(4, 300)  # three layers of keys and one of values have grown
    monkeypatch.undo()
    cache.reserve(6, 600)
    for layer in range(3):
        keys, values = cache.taken(layer, 1, 0, 5)
        assert keys.eq(1.0 + layer).all() and values.eq(7.0 + layer).all()


class Behind(Interleaved):
    """A device that is always behind, and a step that fails."""

    fails_at = 8

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        if int(batch.steps.max()) == self.fails_at:
            raise RuntimeError("a kernel went wrong")
        super().step(tokens, batch, cache, sample)


class _Never:
    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        return None


def test_a_fault_ends_those_too_whose_last_steps_were_still_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request leaves its slot with the launch of its last step: what is told later must still be told."""
    model = Behind()
    model.end = None
    with Engine(model, 2) as engine:
        step = engine._runner.step

        def behind(running: list[Sequence]) -> Stepped:
            return dataclasses.replace(step(running), done=_Never())  # type: ignore[arg-type]

        monkeypatch.setattr(engine._runner, "step", behind)
        with engine._work:  # both are let in by the same turn
            long, short = engine.submit(asked(20)), engine.submit(asked(7))
        with pytest.raises(RenderFault):
            long.result(WAIT_S)
        with pytest.raises(RenderFault):
            short.result(WAIT_S)


def test_an_engine_that_cannot_even_clean_up_lets_nobody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that was lost fails in everything, in letting go as well."""
    model = Behind()
    engine = Engine(model, 1)

    def lost(slot: int) -> None:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(model, "release", lost)
    with engine._work:  # the second comes before the first has failed
        running, waiting = engine.submit(asked(20)), engine.submit(asked(20))
    for sequence in (running, waiting):
        with pytest.raises(RenderFault):
            sequence.result(WAIT_S)
    engine.close()
    with pytest.raises(RenderFault, match="lost"):
        engine.submit(asked(2))


@pytest.mark.parametrize("block", [False, True], ids=["by-rows", "as-block"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_numbers_that_are_none_end_a_request_with_a_clear_fault(block: bool, value: float) -> None:
    class Sick(Interleaved):
        def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
            def spoilt(
                logits: torch.Tensor, first: int = 0, adjust: object = None, banned: object = None
            ) -> torch.Tensor:
                bad = (batch.slots == 0) & (batch.steps == 5)
                logits = torch.where(bad[batch.owner][:, None, None], value, logits)
                return sample(logits, first, adjust, banned)  # type: ignore[arg-type]

            super().step(tokens, batch, cache, spoilt)

    model = Sick()
    model.end = None
    with Engine(model, 2, block=block) as engine:
        with engine._work:
            bad, good = engine.submit(asked(20)), engine.submit(asked(20, do_sample=True, guidance_scale=1))
        with pytest.raises(RenderFault, match="not finite"):
            bad.result(WAIT_S)
        assert good.result(WAIT_S).shape == (1, 20)
        assert engine.submit(GenerationRequest(prompt(), 3, Sampling())).result(WAIT_S).shape == (1, 3)


def test_what_texts_took_is_given_back() -> None:
    texts = CrossCache(CacheShape(2, 2, 4), 16, torch.float32, CPU)
    one = torch.randn(2, 2, 500, 4)
    texts.put(3, one, one)
    assert texts.bytes == 2 * one.numel() * 4  # one row's, not that of all
    texts.clear(3)
    assert texts.bytes == 0


def test_a_resting_engine_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tonewheel.engine.engine._REST_AFTER_S", 0.05)
    with Engine(Interleaved(), 2) as engine:
        engine.submit(asked(300)).result(WAIT_S)
        until(lambda: engine.counts().cache_bytes == 0)
        assert engine.submit(asked(5)).result(WAIT_S).shape == (1, 5)
