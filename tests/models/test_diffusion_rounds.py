"""Rounds, speeds, waveforms: what the families on diffusers share, without a pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from tonewheel.errors import Cancelled, RenderFault
from tonewheel.models.base import Progress, RunContext
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.rounds import Round, Rounds
from tonewheel.models.diffusion.sound import checked, limited, samples_of, sub_seed
from tonewheel.models.diffusion.speeds import Speeds

LIMIT_S = 60.0
TEN = Recipe(10, 3.0, 5.0, load=10.0, decode_load=5.0)
OTHER = Recipe(10, 4.0, 5.0, load=10.0, decode_load=5.0)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.002)


class Kitchen:
    """A render that writes down what it was given; each step waits for `gate`, where one is set."""

    def __init__(self, most: int = 4) -> None:
        self.calls: list[list[str]] = []
        self.gate: Callable[[int], None] = lambda _step: None
        self.fault: Callable[[list[str]], None] = lambda _rows: None
        self.stopped = 0
        self.rounds: Rounds[str, str] = Rounds(self.render, most=lambda _recipe: most, stopped=self._stop)

    def _stop(self) -> None:
        self.stopped += 1

    def render(self, recipe: Recipe, rows: list[str], round_: Round[str, str]) -> list[str]:
        self.calls.append(list(rows))
        self.fault(rows)
        for step in range(1, recipe.steps + 1):
            self.gate(step)
            round_.step(step, recipe.steps)
        for part in range(4):
            round_.decoding(part / 4)
        return [row.upper() for row in rows]


@contextmanager
def kitchen(most: int = 4) -> Iterator[Kitchen]:
    made = Kitchen(most)
    try:
        yield made
    finally:
        made.gate = lambda _step: None
        made.rounds.close()


class Guest:
    """A request in a thread of its own."""

    def __init__(self, kitchen: Kitchen, recipe: Recipe, *rows: str, context: RunContext | None = None) -> None:
        self.context = context or RunContext()
        self.outs: list[str] | None = None
        self.error: BaseException | None = None
        self._ask = lambda: kitchen.rounds.run(recipe, rows, self.context)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.outs = self._ask()
        except BaseException as error:
            self.error = error

    def done(self) -> Guest:
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        return self


def waiting(kitchen: Kitchen) -> int:
    return len(kitchen.rounds._waiting)


def test_one_request_is_rendered_at_once_and_alone() -> None:
    with kitchen() as k:
        assert k.rounds.run(TEN, ["a", "b"], RunContext()) == ["A", "B"]
        assert k.calls == [["a", "b"]]


def test_requests_that_wait_with_equal_recipes_share_a_round_and_others_do_not() -> None:
    with kitchen() as k:
        held = threading.Event()
        k.gate = lambda _step: held.wait(LIMIT_S) and None
        first = Guest(k, OTHER, "first")
        until(lambda: len(k.calls) == 1)
        guests = [Guest(k, TEN, "a"), Guest(k, TEN, "b"), Guest(k, OTHER, "c")]
        until(lambda: waiting(k) == 3)
        first.context.cancel()
        held.set()
        assert [g.done().outs for g in guests] == [["A"], ["B"], ["C"]]
        assert sorted(map(sorted, k.calls[1:])) == [["a", "b"], ["c"]]


def test_who_comes_during_the_first_step_is_let_in() -> None:
    with kitchen() as k:
        came = threading.Event()
        k.gate = lambda _step: came.wait(LIMIT_S) and None
        first = Guest(k, TEN, "a")
        until(lambda: len(k.calls) == 1)
        second = Guest(k, TEN, "b")
        until(lambda: waiting(k) == 1)
        came.set()
        assert [first.done().outs, second.done().outs] == [["A"], ["B"]]
        assert k.calls == [["a"], ["a", "b"]]
        assert k.rounds.rounds == 1


def test_who_comes_later_waits_for_the_next_round() -> None:
    with kitchen() as k:
        later, came = threading.Event(), threading.Event()

        def gate(step: int) -> None:
            if step == 2 and len(k.calls) == 1:
                later.set()
                came.wait(LIMIT_S)

        k.gate = gate
        first = Guest(k, TEN, "a")
        assert later.wait(LIMIT_S)
        second = Guest(k, TEN, "b")
        until(lambda: waiting(k) == 1)
        came.set()
        assert [first.done().outs, second.done().outs] == [["A"], ["B"]]
        assert k.calls == [["a"], ["b"]]


def test_more_rows_than_fit_are_rendered_in_turn() -> None:
    with kitchen(most=2) as k:
        told: list[Progress] = []
        context = RunContext(on_progress=told.append)
        assert k.rounds.run(TEN, ["a", "b", "c"], context) == ["A", "B", "C"]
        assert k.calls == [["a", "b"], ["c"]]
        fractions = [p.fraction for p in told]
        assert fractions == sorted(fractions)
        assert fractions[0] < 0.1 and 0.85 < fractions[-1] <= 0.9
        assert {p.stage for p in told} == {"denoise", "decode"}
        assert all(p.eta_s is not None and p.eta_s >= 0 for p in told if p.stage == "denoise")


def test_a_cancel_ends_the_round_within_a_step() -> None:
    for last in (1, 5, 10):
        with kitchen() as k:
            context = RunContext()
            steps: list[int] = []

            def gate(step: int, context: RunContext = context, steps: list[int] = steps, last: int = last) -> None:
                steps.append(step)
                if step == last:
                    context.cancel("enough")

            k.gate = gate
            guest = Guest(k, TEN, "a", context=context).done()
            assert isinstance(guest.error, Cancelled)
            assert steps[-1] == last
            assert k.stopped == 1 and not k.rounds.busy
            assert k.rounds.run(TEN, ["b"], RunContext()) == ["B"]


def test_one_who_is_cancelled_does_not_stop_the_others() -> None:
    with kitchen() as k:
        held = threading.Event()
        k.gate = lambda _step: held.wait(LIMIT_S) and None
        plug = Guest(k, OTHER, "plug")
        until(lambda: len(k.calls) == 1)
        gone, stays = Guest(k, TEN, "a", "b"), Guest(k, TEN, "c")
        until(lambda: waiting(k) == 2)

        def gate(step: int) -> None:
            if step == 5 and len(k.calls) == 2:
                gone.context.cancel()

        k.gate = gate
        plug.context.cancel()
        held.set()
        assert isinstance(gone.done().error, Cancelled)
        assert stays.done().outs == ["C"]
        assert k.calls[1:] == [["a", "b", "c"]]


def test_a_fault_of_one_request_is_not_its_neighbours() -> None:
    def fault(rows: list[str]) -> None:
        if "bad" in rows:
            raise ValueError("this one is bad")

    with kitchen() as k:
        held = threading.Event()
        k.gate = lambda _step: held.wait(LIMIT_S) and None
        plug = Guest(k, OTHER, "plug")
        until(lambda: len(k.calls) == 1)
        k.fault = fault
        bad, good = Guest(k, TEN, "bad"), Guest(k, TEN, "good")
        until(lambda: waiting(k) == 2)
        plug.context.cancel()
        held.set()
        assert isinstance(bad.done().error, ValueError)
        assert good.done().outs == ["GOOD"]


def test_where_memory_is_short_a_round_is_halved() -> None:
    import torch

    def fault(rows: list[str]) -> None:
        if len(rows) > 1:
            raise torch.OutOfMemoryError("allocate memory")

    with kitchen() as k:
        k.fault = fault
        assert k.rounds.run(TEN, ["a", "b", "c"], RunContext()) == ["A", "B", "C"]
        assert [len(call) for call in k.calls] == [3, 1, 2, 1, 1]


@pytest.mark.parametrize("what", ["most", "decode_s"])
def test_a_fault_in_between_is_told_and_ends_nothing(what: str) -> None:
    faults = [ValueError("cannot be reckoned")]

    def reckoned(*_: object) -> int:
        if faults:
            raise faults.pop()
        return 4

    k = Kitchen()
    k.rounds.close()
    options: dict[str, Any] = {"most": lambda _recipe: 4} | {what: reckoned}
    rounds: Rounds[str, str] = Rounds(k.render, **options)
    try:
        with pytest.raises(ValueError, match="cannot be reckoned"):
            rounds.run(TEN, ["a"], RunContext())
        assert rounds.run(TEN, ["b"], RunContext()) == ["B"]
    finally:
        rounds.close()


def test_who_still_waits_when_it_is_closed_is_told() -> None:
    k = Kitchen()
    held = threading.Event()
    k.gate = lambda _step: held.wait(LIMIT_S) and None
    guests = [Guest(k, TEN, "a")]
    until(lambda: len(k.calls) == 1)
    guests.append(Guest(k, OTHER, "b"))
    until(lambda: waiting(k) == 1)

    def let_go() -> None:
        until(lambda: k.rounds._closed)
        held.set()

    threading.Thread(target=let_go).start()
    k.rounds.close()
    assert all(isinstance(g.done().error, RuntimeError) for g in guests)
    with pytest.raises(RuntimeError, match="closed"):
        k.rounds.run(TEN, ["c"], RunContext())


# ── speeds ──


@pytest.fixture
def data_dir(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def test_what_was_measured_is_kept_by_model_and_place(data_dir: Any) -> None:
    speeds = Speeds("hum", "cpu/float32")
    assert not speeds.known and speeds.estimate(TEN, 1) is None
    speeds.note("step", load=10, seconds=2.0)
    speeds.note("step", load=30, seconds=4.0)
    speeds.note("decode", load=5, seconds=1.0)
    speeds.keep()
    again = Speeds("hum")
    assert again.place == "cpu/float32"
    assert [again.seconds("step", load=n) for n in (1, 10, 20, 30, 60)] == [2.0, 2.0, 3.0, 4.0, 8.0]
    expected = again.estimate(TEN, 1)
    assert expected is not None and (expected.seconds, expected.device) == (21.0, "cpu")
    two_by_two = again.estimate(TEN, 3, 2)
    assert two_by_two is not None and two_by_two.seconds == pytest.approx(10 * 3.0 + 2.0 + 21.0)
    assert Speeds("other").estimate(TEN, 1) is None
    assert not Speeds("hum", "cuda/float16").known


def test_a_new_measurement_counts_half_and_old_ones_are_let_go(data_dir: Any) -> None:
    speeds = Speeds("hum", "cpu/float32")
    speeds.note("step", load=10, seconds=2.0)
    speeds.note("step", load=10, seconds=4.0)
    assert speeds.seconds("step", load=10) == 3.0
    for load in range(100, 200):
        speeds.note("step", load=load, seconds=1.0)
    assert len(speeds._known["step"]) <= 24
    assert speeds.seconds("step", load=199) == 1.0


def test_a_broken_file_of_speeds_is_as_none(data_dir: Any) -> None:
    (data_dir / "speeds").mkdir()
    (data_dir / "speeds" / "hum.json").write_text("{")
    assert not Speeds("hum", "cpu/float32").known


# ── waveforms ──


def test_the_first_waveform_has_the_seed_of_the_request_and_the_others_their_own() -> None:
    seeds = [sub_seed(7, n) for n in range(4)]
    assert seeds[0] == 7 and len(set(seeds)) == 4
    assert sub_seed(seeds[2], 0) == seeds[2]


def test_waveforms_are_cut_and_never_clipped() -> None:
    import torch

    stereo = samples_of(torch.tensor([[0.5, 1.0, 2.0, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float16))
    assert stereo.shape == (4, 2) and stereo.dtype == np.float32
    cut = checked(stereo, 3 / 4, 4, 2)
    assert len(cut) == 3
    loud, turned_down = limited(cut)
    assert turned_down and loud.max() == 1.0 and loud[0, 0] == pytest.approx(0.25)
    assert limited(cut / 4) == (pytest.approx(cut / 4), False)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full((8, 1), np.nan, np.float32), "not finite"),
        (np.full((8, 1), np.inf, np.float32), "not finite"),
        (np.zeros((8, 1), np.float32), "silent"),
        (np.full((8, 1), 1e-6, np.float32), "silent"),
        (np.ones((7, 1), np.float32), "7 samples"),
        (np.ones((8, 2), np.float32), "2 channels"),
    ],
)
def test_what_is_no_waveform_is_a_fault(samples: Any, said: str) -> None:
    with pytest.raises(RenderFault, match=said):
        checked(samples, 2.0, 4, 1)
