"""The engine serves in order, loses nothing, frees at once, and carries models of every planned shape."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import psutil
import pytest
import torch
from toy_models import Interleaved, Layered, Text

from tonewheel.engine import Batch, Engine, GenerationRequest, Sample, Sampling, Sequence
from tonewheel.engine.cache import KeyValueCache
from tonewheel.errors import Cancelled, InvalidRequest, RenderFault

WAIT_S = 120


def prompt(words: int = 6, none: int = 2) -> Text:
    return Text(torch.arange(3, 3 + words), torch.arange(40, 40 + none))


def asked(frames: int, *, words: int = 6, none: int = 2, **sampling: object) -> GenerationRequest:
    return GenerationRequest(prompt(words, none), frames, Sampling(**{"do_sample": False, **sampling}))  # type: ignore[arg-type]


class Slow(Interleaved):
    """350 frames take seven seconds at least: a test that is held up meanwhile still finds it at work."""

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        time.sleep(0.02)
        super().step(tokens, batch, cache, sample)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


@pytest.mark.parametrize("prefill", [1, 3, 64])
@pytest.mark.parametrize("block", [False, True], ids=["by-rows", "as-block"])
@pytest.mark.parametrize("kind", [Layered, Interleaved])
def test_models_of_other_shapes_run_as_by_hand(kind: type, block: bool, prefill: int) -> None:
    model = kind()
    model.end = None
    wanted = [model.by_hand(prompt(n, m), 20, 2.5) for n, m in ((6, 2), (3, 5), (1, 1))]
    with Engine(model, 3, block=block, prefill=prefill) as engine:
        running = [engine.submit(asked(20, words=n, none=m, guidance_scale=2.5)) for n, m in ((6, 2), (3, 5), (1, 1))]
        for sequence, codes in zip(running, wanted, strict=True):
            assert torch.equal(sequence.result(WAIT_S), codes)
    assert len({tuple(w.flatten().tolist()) for w in wanted}) == 3


def test_an_end_token_ends_the_stream_before_it() -> None:
    model = Layered()
    model.end = None
    first = model.by_hand(prompt(), 12, 3.0)[0].tolist()
    at = next(n for n in range(2, 12) if first[n] not in first[:n])
    model.end = first[at]
    short = model.by_hand(prompt(), 12, 3.0)
    assert short.shape[1] == at
    with Engine(model, 2) as engine:
        sequence = engine.submit(asked(12))
        assert torch.equal(sequence.result(WAIT_S), short)
        assert sequence.ended and sequence.ready == short.shape[1]


def test_frames_can_be_taken_while_more_are_made() -> None:
    with Engine(Interleaved(), 1) as engine:
        sequence = engine.submit(asked(200))
        ready = sequence.wait(10, WAIT_S)
        assert ready >= 10
        early = sequence.codes(0, 10).clone()
        assert torch.equal(sequence.result(WAIT_S)[:, :10], early)
        with pytest.raises(ValueError, match="not ready"):
            sequence.codes(0, 201)


def test_those_who_came_first_are_served_first() -> None:
    with Engine(Interleaved(), 2) as engine:
        sequences = [engine.submit(asked(5)) for _ in range(9)]
        for sequence in sequences:
            sequence.result(WAIT_S)
        admitted = [s.admitted_at for s in sequences]
        assert all(admitted) and admitted == sorted(admitted, key=lambda t: t or 0.0)


def test_a_cancelled_request_frees_its_slot_for_the_next() -> None:
    with Engine(Slow(), 1) as engine:
        long, next_one, never = engine.submit(asked(350)), engine.submit(asked(3)), engine.submit(asked(300))
        long.wait(2, WAIT_S)
        never.cancel()
        long.cancel()
        with pytest.raises(Cancelled):
            long.result(WAIT_S)
        assert next_one.result(WAIT_S).shape == (1, 3)
        with pytest.raises(Cancelled):
            never.result(WAIT_S)
        assert never.admitted_at is None
        assert engine.counts().running == 0


def test_a_cancelled_request_stops_within_one_step() -> None:
    with Engine(Slow(), 1) as engine:
        sequence = engine.submit(asked(350))
        sequence.wait(5, WAIT_S)
        sequence.cancel()
        seen = engine.counts().steps
        until(lambda: sequence.ended)
        assert engine.counts().steps <= seen + 2  # the one under way, and one begun while this test looked


def test_a_fault_of_one_step_ends_what_ran_and_nothing_after_it() -> None:
    class Faulty(Interleaved):
        broken = True

        def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
            if self.broken and int(batch.steps.max()) == 4:
                self.broken = False
                raise RuntimeError("a kernel went wrong")
            super().step(tokens, batch, cache, sample)

    with Engine(Faulty(), 2) as engine:
        first = engine.submit(asked(10))
        with pytest.raises(RenderFault, match="a kernel went wrong"):
            first.result(WAIT_S)
        assert engine.submit(asked(10)).result(WAIT_S).shape == (1, 10)


def test_a_fault_of_one_prompt_ends_that_request_only() -> None:
    class Picky(Interleaved):
        def admit(self, slot: int, request: GenerationRequest) -> None:
            if len(request.prompt.words) == 2:
                raise InvalidRequest("two words are not enough")
            super().admit(slot, request)

    with Engine(Picky(), 2) as engine:
        good, bad, late = engine.submit(asked(30)), engine.submit(asked(30, words=2)), engine.submit(asked(30))
        with pytest.raises(InvalidRequest, match="two words"):
            bad.result(WAIT_S)
        assert good.result(WAIT_S).shape == late.result(WAIT_S).shape == (1, 30)


def test_closing_ends_what_runs_and_what_waits() -> None:
    engine = Engine(Slow(), 1)
    running, waiting = engine.submit(asked(350)), engine.submit(asked(350))
    running.wait(1, WAIT_S)
    engine.close()
    for sequence in (running, waiting):
        with pytest.raises(Cancelled):
            sequence.result(WAIT_S)
    with pytest.raises(Cancelled):
        engine.submit(asked(3))


def test_a_small_cache_makes_requests_wait_and_none_fail() -> None:
    model = Interleaved()
    room = KeyValueCache(model.cache_shape, model.dtype, model.device).bytes_for(4, 200)
    with Engine(model, 6, cache_limit=room) as engine:
        sequences = [engine.submit(asked(40)) for _ in range(8)]
        most = 0
        while not all(s.ended for s in sequences):
            most = max(most, engine.counts().running)
            assert engine.counts().cache_bytes <= room
            time.sleep(0.001)
        assert all(s.result().shape == (1, 40) for s in sequences)
        assert most <= 2


def test_a_hundred_requests_at_random_times_all_end_exact() -> None:
    """Lengths 1:15 as 2 to 30 s are; a tenth is cancelled; nothing is left behind."""
    dice = random.Random(8)
    model = Interleaved()
    alone = {n: model.by_hand(prompt(), n, 3.0) for n in (4, 9)}
    with Engine(model, 8) as engine:
        engine.submit(asked(300)).result(WAIT_S)  # the longest, so that the cache has its size
        before = psutil.Process().memory_info().rss
        sequences: list[tuple[Sequence, int, bool]] = []
        for _ in range(100):
            frames, cancelled = dice.choice([4, 9, 20, 60, 150, 300]), dice.random() < 0.1
            sequences.append((engine.submit(asked(frames)), frames, cancelled))
            if cancelled:
                threading.Timer(dice.uniform(0, 0.05), sequences[-1][0].cancel).start()
            time.sleep(dice.expovariate(300))
        for sequence, frames, cancelled in sequences:
            try:
                codes = sequence.result(WAIT_S)
            except Cancelled:
                assert cancelled
                continue
            assert codes.shape == (1, frames)
            if frames in alone:
                assert torch.equal(codes, alone[frames])
        until(lambda: engine.counts().running == 0)
        assert engine.counts().waiting == 0
        assert psutil.Process().memory_info().rss - before < 100 * 2**20
        admitted = [s.admitted_at for s, _, _ in sequences if s.admitted_at is not None]
        assert admitted == sorted(admitted)
