"""What is read from beats: tempo, drift, meter, numbers in the bar."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tonewheel.audio.rhythm import Rhythm, Times


def _grid(bpm: float, count: int, start: float = 0.5, fps: float | None = 50) -> Times:
    """A steady beat, on a grid of frames as trackers tell it."""
    times = start + np.arange(count) * 60 / bpm
    return times if fps is None else np.round(times * fps) / fps


def _bars(beats: Times, per_bar: int, first: int = 0) -> Rhythm:
    return Rhythm(beats, beats[first::per_bar])


@pytest.mark.parametrize("bpm", [60, 97.3, 128, 174])
def test_the_line_through_the_beats_is_finer_than_their_grid(bpm: float) -> None:
    rhythm = _bars(_grid(bpm, 64), 4)
    assert rhythm.tempo is not None
    assert rhythm.tempo.bpm == pytest.approx(bpm, rel=2e-4)
    assert abs(rhythm.tempo.drift_percent) < 0.5
    assert rhythm.tempo.deviation_ms < 11


def test_the_median_is_what_clients_know() -> None:
    assert Rhythm(_grid(128, 40), np.empty(0)).bpm == 130.4
    assert Rhythm(_grid(174, 40), np.empty(0)).bpm == 176.5


def test_a_missed_beat_and_one_too_many_change_little() -> None:
    beats = np.delete(_grid(120, 64, fps=None), [7, 8, 30])
    beats = np.sort(np.append(beats, [10.12, 20.61]))
    tempo = Rhythm(beats, np.empty(0)).tempo
    assert tempo is not None
    assert tempo.bpm == pytest.approx(120, rel=1e-3)


def test_drift_tells_how_much_faster_it_ends() -> None:
    periods = 60 / np.linspace(100, 110, 160)
    tempo = Rhythm(np.concatenate([[0], np.cumsum(periods)]), np.empty(0)).tempo
    assert tempo is not None
    assert tempo.drift_percent == pytest.approx(9, abs=1)
    assert [bpm for _, bpm in tempo.course] == sorted(bpm for _, bpm in tempo.course)


def test_a_change_of_tempo_shows_in_the_course() -> None:
    first = _grid(90, 33, fps=None)
    beats = np.concatenate([first, first[-1] + np.arange(1, 33) * 60 / 140])
    tempo = Rhythm(beats, np.empty(0)).tempo
    assert tempo is not None
    assert tempo.course[0][1] == pytest.approx(90, rel=0.01)
    assert tempo.course[-1][1] == pytest.approx(140, rel=0.01)


@pytest.mark.parametrize("per_bar", [2, 3, 4, 5, 7])
def test_the_meter_is_counted_between_downbeats(per_bar: int) -> None:
    meter = _bars(_grid(120, 50), per_bar).meter
    assert meter is not None
    assert (meter.beats_per_bar, meter.agreement) == (per_bar, 1.0)


def test_a_bar_that_differs_lowers_the_agreement_only() -> None:
    beats = _grid(120, 42)
    meter = Rhythm(beats, beats[[0, 4, 8, 12, 14, 18, 22]]).meter
    assert meter is not None
    assert (meter.beats_per_bar, meter.agreement) == (4, pytest.approx(5 / 6))


def test_markers_count_in_the_bar_and_the_upbeat_backwards() -> None:
    rhythm = _bars(_grid(120, 11), 4, first=2)
    assert [(m.bar, m.beat) for m in rhythm.markers] == [
        (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4), (3, 1),
    ]  # fmt: skip
    assert [m.time for m in rhythm.markers] == rhythm.beats.tolist()


def test_what_is_not_known_is_not_told() -> None:
    beats = _grid(120, 6)
    assert [(m.bar, m.beat) for m in Rhythm(beats, np.empty(0)).markers] == [(None, None)] * 6
    one = Rhythm(beats, beats[2:3])
    assert one.meter is None
    assert [(m.bar, m.beat) for m in one.markers][:4] == [(0, None), (0, None), (1, 1), (1, 2)]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_beats_are_no_error(count: int) -> None:
    beats = _grid(100, count)
    for downbeats in (np.empty(0), beats[:1], beats):
        told = Rhythm(beats, downbeats).to_dict()
        json.dumps(told, allow_nan=False)
        assert told["num_beats"] == len(told["markers"]) == count
        assert (told["bpm"] is None) == (count < 2)
        assert (told["tempo"] is None) == (count < 3)
