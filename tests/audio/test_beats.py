"""The onset tracker, on tracks whose beats are known."""

from __future__ import annotations

import numpy as np
import pytest
from signals import RATE, Samples, chords, drums

from tonewheel.audio.beats import track_beats
from tonewheel.audio.rhythm import Times

LOOP = [[45, 57, 60, 64], [41, 57, 60, 65], [48, 55, 60, 64], [43, 55, 59, 62]]
ROCK = {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}
HOUSE = {"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "snare": "....x.......x..."}
WALTZ = {"kick": "x.....", "snare": "..x.x.", "hat": "..x.x."}


def _share(found: Times, true: Times, tolerance_s: float = 0.07) -> float:
    """F-measure: each true beat may be found once."""
    hits = sum(bool(np.any(np.abs(found - t) <= tolerance_s)) for t in true)
    return 2 * hits / max(len(found) + len(true), 1)


def _grid(bpm: float, seconds: float, step: int = 1) -> Times:
    return np.arange(0, seconds * bpm / 60 - 0.5, step) * 60 / bpm


def _clicks(times: Times, seconds: float, rate: int = RATE) -> Samples:
    out = np.zeros(round(seconds * rate), np.float32)
    t = np.arange(round(0.03 * rate)) / rate
    tick = (0.5 * np.sin(2 * np.pi * 1000 * t) * np.exp(-t * 200)).astype(np.float32)
    for time in times:
        at = round(time * rate)
        out[at : at + len(tick)] += tick[: len(out) - at]
    return out


@pytest.mark.parametrize("bpm", [60, 83, 100, 128, 160])
def test_clicks_are_followed_at_every_tempo(bpm: float) -> None:
    times = 0.5 + _grid(bpm, 19)
    found = track_beats(_clicks(times, 20)[:, None], RATE)
    assert _share(found.beats, times) > 0.95
    assert found.tempo is not None
    assert found.tempo.bpm == pytest.approx(bpm, rel=0.005)


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_beats_lie_where_the_clicks_are(rate: int) -> None:
    times = 0.5 + _grid(110, 14)
    found = track_beats(_clicks(times, 15, rate)[:, None], rate)
    errors = [float(found.beats[np.abs(found.beats - t).argmin()] - t) for t in times]
    assert abs(float(np.median(errors))) < 0.015


def test_drums_and_chords_in_four_have_their_downbeats() -> None:
    for bpm, rows in ((104, ROCK), (124, HOUSE)):
        track = drums(bpm, 24, rows) + chords(bpm, 24, LOOP)
        found = track_beats(track[:, None], RATE)
        assert _share(found.beats, _grid(bpm, 24)) > 0.95
        assert _share(found.downbeats, _grid(bpm, 24, 4)) > 0.9
        assert found.meter is not None
        assert found.meter.beats_per_bar == 4


def test_a_waltz_has_bars_of_three() -> None:
    track = drums(132, 24, WALTZ, beats_per_bar=3) + chords(132, 24, LOOP, beats=3)
    found = track_beats(track[:, None], RATE)
    assert _share(found.beats, _grid(132, 24)) > 0.95
    assert found.meter is not None
    assert found.meter.beats_per_bar == 3
    assert _share(found.downbeats, _grid(132, 24, 3)) > 0.9


def test_off_beat_hats_do_not_turn_the_beat_around() -> None:
    found = track_beats(drums(122, 24, HOUSE)[:, None], RATE)
    assert _share(found.beats, _grid(122, 24)) > 0.95


def test_a_change_of_tempo_is_followed() -> None:
    times = 0.5 + np.concatenate([[0.0], np.cumsum([60 / 140] * 40 + [60 / 110] * 40)])
    found = track_beats(_clicks(times, float(times[-1]) + 1)[:, None], RATE)
    assert _share(found.beats, times) > 0.9
    assert found.tempo is not None
    assert found.tempo.course[0][1] == pytest.approx(140, rel=0.02)
    assert found.tempo.course[-1][1] == pytest.approx(110, rel=0.02)


def test_a_drift_is_followed() -> None:
    times = 0.5 + np.concatenate([[0.0], np.cumsum(60 / np.linspace(100, 115, 70))])
    found = track_beats(_clicks(times, float(times[-1]) + 1)[:, None], RATE)
    assert _share(found.beats, times) > 0.9
    assert found.tempo is not None
    assert found.tempo.drift_percent > 5


def test_stereo_and_a_quarter_of_the_level_change_nothing() -> None:
    track = drums(104, 15, ROCK)
    one = track_beats(track[:, None], RATE)
    two = track_beats(0.25 * np.stack([track, track], axis=1), RATE)
    np.testing.assert_allclose(one.beats, two.beats)
    np.testing.assert_allclose(one.downbeats, two.downbeats)


def test_what_has_no_beat_gets_none() -> None:
    for samples in (np.zeros((RATE * 10, 2), np.float32), np.zeros((0, 1), np.float32), np.ones((RATE, 1), np.float32)):
        found = track_beats(samples, RATE)
        assert len(found.beats) == len(found.downbeats) == 0
        assert found.bpm is None
        assert found.tempo is None


def test_noise_and_a_single_hit_are_no_error() -> None:
    noise = np.random.default_rng(0).standard_normal((RATE * 8, 1)).astype(np.float32) * 0.1
    hit = _clicks(np.array([2.0]), 6)[:, None]
    for samples in (noise, hit, np.full((RATE * 5, 1), 0.5, np.float32)):
        found = track_beats(samples, RATE)
        assert np.all(np.diff(found.beats) > 0)
        assert np.isin(found.downbeats, found.beats).all()
        assert np.all((found.beats >= 0) & (found.beats < len(samples) / RATE))
