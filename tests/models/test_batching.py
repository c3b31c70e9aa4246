"""Batches: items of many requests computed together, each getting its own, whatever befalls the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tonewheel.errors import Cancelled, OutOfMemory
from tonewheel.models.batching import Batcher

WAIT_S = 60.0


class Desk:
    """Computes squares, notes its batches, and can be held at the first one."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Event()
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.set()
        assert self.go.wait(WAIT_S)
        if any(item < 0 for item in items):
            raise OutOfMemory("a negative number")
        return [item * item for item in items]


def until_waiting(batcher: Batcher[int, int], count: int) -> None:
    until = time.monotonic() + WAIT_S
    while len(batcher._waiting) < count:
        assert time.monotonic() < until
        time.sleep(0.005)


def in_thread(job: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=job)
    thread.start()
    return thread


def ordered(batcher: Batcher[int, int], *orders: list[int]) -> dict[int, object]:
    """Run orders at the same time; their results, or what they raised, by their number."""
    out: dict[int, object] = {}

    def one(number: int) -> None:
        try:
            out[number] = batcher.run(orders[number])
        except Exception as error:
            out[number] = error

    threads = [in_thread(lambda n=number: one(n)) for number in range(len(orders))]
    for thread in threads:
        thread.join(WAIT_S)
    return out


def test_every_item_gets_its_own_result_in_order() -> None:
    batcher = Batcher(Desk(), most=3)
    assert batcher.run(list(range(10))) == [n * n for n in range(10)]
    assert batcher.run([]) == []
    batcher.close()


def test_what_comes_while_it_computes_is_one_batch() -> None:
    desk = Desk(held=True)
    batcher = Batcher(desk, most=8, wait_s=0.0)
    first = in_thread(lambda: batcher.run([1]))
    assert desk.began.wait(WAIT_S)
    others = [in_thread(lambda n=n: batcher.run([n])) for n in range(2, 7)]
    until_waiting(batcher, 5)
    desk.go.set()
    for thread in (first, *others):
        thread.join(WAIT_S)
    assert desk.batches[0] == [1]
    assert sorted(desk.batches[1]) == [2, 3, 4, 5, 6]
    batcher.close()


def test_the_first_waits_for_company() -> None:
    desk = Desk()
    batcher = Batcher(desk, most=2, wait_s=WAIT_S)  # full after the second, long before the wait is over
    assert ordered(batcher, [1], [2]) == {0: [1], 1: [4]}
    assert [sorted(batch) for batch in desk.batches] == [[1, 2]]
    batcher.close()


def test_a_short_order_passes_a_long_one() -> None:
    desk = Desk(held=True)
    batcher = Batcher(desk, most=2, wait_s=0.0)
    long = in_thread(lambda: batcher.run(list(range(100, 120))))
    assert desk.began.wait(WAIT_S)
    short = in_thread(lambda: batcher.run([1]))
    until_waiting(batcher, 2)
    desk.go.set()
    long.join(WAIT_S)
    short.join(WAIT_S)
    assert any(1 in batch for batch in desk.batches[1:3])  # at its turn, not after twenty others
    batcher.close()


def test_a_crew_shares_what_waits_and_each_gets_its_own_in_order() -> None:
    both = threading.Barrier(2)
    late = threading.Event()
    beside: list[bool] = []

    def compute(items: list[int]) -> list[int]:
        both.wait(WAIT_S)  # alone it would wait in vain
        beside.append(batcher.others)
        both.wait(WAIT_S)  # neither is over before the other has looked
        if 0 in items:
            assert late.wait(WAIT_S)  # the later items are done first
        else:
            late.set()
        return [item * item for item in items]

    batcher = Batcher(compute, most=8, crew=2)
    assert batcher.run(list(range(8))) == [n * n for n in range(8)]
    assert (batcher.batches, batcher.items, beside) == (2, 8, [True, True])
    batcher.close()


def test_a_lone_batch_of_a_crew_knows_that_it_is_alone() -> None:
    beside: list[bool] = []

    def compute(items: list[int]) -> list[int]:
        beside.append(batcher.others)
        return items

    batcher = Batcher(compute, most=8, crew=3, wait_s=0.0)
    for n in range(3):
        assert batcher.run([n]) == [n]
        until = time.monotonic() + WAIT_S
        while batcher._idle < 3:
            assert time.monotonic() < until
            time.sleep(0.005)
    assert beside == [False] * 3
    batcher.close()


def test_one_that_fails_fails_alone() -> None:
    desk = Desk()
    batcher = Batcher(desk, most=3, wait_s=WAIT_S)
    out = ordered(batcher, [2], [-1], [3])
    assert (out[0], out[2]) == ([4], [9])
    assert isinstance(out[1], OutOfMemory)
    batcher.close()


def test_one_called_off_leaves_the_others_and_is_not_computed_further() -> None:
    desk = Desk(held=True)
    batcher = Batcher(desk, most=1, wait_s=0.0)
    first = in_thread(lambda: batcher.run([1]))
    assert desk.began.wait(WAIT_S)

    def check() -> None:
        raise Cancelled("gone")

    with pytest.raises(Cancelled):
        batcher.run([7, 8], check=check)
    desk.go.set()
    first.join(WAIT_S)
    assert batcher.run([2]) == [4]
    assert desk.batches == [[1], [2]]
    batcher.close()


def test_it_tells_how_many_are_done() -> None:
    told: list[int] = []
    batcher = Batcher(Desk(), most=4)
    batcher.run(list(range(40)), tell=told.append)
    assert told == sorted(told)
    assert told[-1] == 40
    batcher.close()


def test_after_its_end_it_says_so() -> None:
    batcher = Batcher(Desk(), most=4)
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.run([1])
