"""The tempo tracker, on tracks whose tempo is known."""

from __future__ import annotations

import numpy as np
import pytest
from signals import RATE, Samples, chords, drums

from tonewheel.audio.tempo import MAX_BPM, MIN_BPM, estimate_tempo, fold

LOOP = [[45, 57, 60, 64], [41, 57, 60, 65], [48, 55, 60, 64], [43, 55, 59, 62]]
# rows, swing, beats a bar
PATTERNS: dict[str, tuple[dict[str, str], float, int]] = {
    "four on the floor": ({"kick": "x...x...x...x...", "hat": "..x...x...x...x.", "snare": "....x.......x..."}, 0.5, 4),
    "rock": ({"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}, 0.5, 4),
    "swung sixteenths": ({"kick": "x......x..x.....", "snare": "....x.......x..o", "hat": "xxxxxxxxxxxxxxxx"}, 0.62, 4),
    "swung eighths": ({"kick": "x...x...", "snare": "..x...x.", "hat": "x.xxx.xx"}, 0.66, 4),
    "off-beats": ({"kick": "x.....x...x.....", "snare": "....x..o.o..x...", "hat": "..x...x...x...x."}, 0.5, 4),
    "drum and bass": ({"kick": "x.........x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}, 0.5, 4),
    "half time": ({"kick": "x.....x....x....", "snare": "........x.......", "hat": "xxxxxxxxxxxxxxxx"}, 0.5, 4),
    "waltz": ({"kick": "x.....", "snare": "..x.x.", "hat": "..x.x."}, 0.5, 3),
    "clave": ({"kick": "x..xx..xx..xx..x", "snare": "x..x..x...x..x..", "hat": "xxxxxxxxxxxxxxxx"}, 0.5, 4),
    "three and three and two": ({"kick": "x..x..x."}, 0.5, 4),
}
TEMPI = (60, 72.3, 85, 97.7, 110, 123.4, 140, 160, 174, 180)


def _error(samples: Samples, bpm: float) -> float:
    found = estimate_tempo(samples[:, None], RATE)
    assert found is not None
    assert MIN_BPM <= found.bpm <= MAX_BPM * 1.02
    return abs(fold(found.bpm, bpm) / bpm - 1)


@pytest.mark.parametrize("name", PATTERNS)
def test_drums_are_followed_at_every_tempo(name: str) -> None:
    rows, swing, beats = PATTERNS[name]
    errors = {
        bpm: _error(drums(bpm, 20, rows, swing=swing, beats_per_bar=beats), bpm) for bpm in TEMPI[:: 2 if swing else 1]
    }
    assert max(errors.values()) < 0.003, errors


@pytest.mark.parametrize("beats", [1, 2, 4])
def test_chords_without_drums_are_followed(beats: int) -> None:
    errors = {bpm: _error(chords(bpm, 20, LOOP, beats=beats), bpm) for bpm in TEMPI[1::2]}
    assert max(errors.values()) < 0.01, errors


def test_a_waltz_with_chords_is_not_taken_for_four() -> None:
    rows, swing, beats = PATTERNS["waltz"]
    for bpm in (90, 126, 168):
        track = drums(bpm, 20, rows, swing=swing, beats_per_bar=beats) * 0.5 + chords(bpm, 20, LOOP, beats=3)
        assert _error(track, bpm) < 0.003


def test_other_sample_rates_and_stereo_give_the_same() -> None:
    rows = PATTERNS["rock"][0]
    for rate in (22_050, 48_000):
        mono = drums(104, 15, rows, rate=rate)
        found = estimate_tempo(np.stack([mono, np.zeros_like(mono)], axis=1), rate)
        assert found is not None
        assert abs(fold(found.bpm, 104) / 104 - 1) < 0.003


def test_an_even_pulse_leaves_the_octave_open_and_says_so() -> None:
    found = estimate_tempo(drums(120, 20, {"kick": "xxxx"})[:, None], RATE)
    assert found is not None
    assert min(found.octaves["half"], found.octaves["same"]) > 0.9
    assert found.octaves["double"] < 0.6


def test_drums_are_surer_than_noise() -> None:
    beat = estimate_tempo(drums(120, 20, PATTERNS["rock"][0])[:, None], RATE)
    noise = np.random.default_rng(0).standard_normal((20 * RATE, 1)).astype(np.float32) * 0.1
    hiss = estimate_tempo(noise, RATE)
    assert beat is not None
    assert beat.confidence > 0.3
    assert hiss is None or hiss.confidence < 0.3


def test_what_has_no_tempo_gets_none() -> None:
    assert estimate_tempo(np.zeros((RATE * 10, 1), np.float32), RATE) is None
    assert estimate_tempo(drums(120, 2, PATTERNS["rock"][0])[:, None], RATE) is None
    assert estimate_tempo(np.zeros((0, 2), np.float32), RATE) is None


def test_folding_goes_to_the_nearest_octave() -> None:
    assert fold(60, 118) == 120
    assert fold(240, 118) == 120
    assert fold(100, 118) == 100
