"""Key and chroma, on chords whose key is known."""

from __future__ import annotations

import numpy as np
import pytest
from signals import RATE, Samples, add, chords, drums, note, stereo, tone

from tonewheel.audio.key import chroma, chroma_in_key, estimate_key
from tonewheel.theory import Key

ROCK = {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}
MAJOR = [[48, 60, 64, 67], [53, 57, 60, 65], [43, 55, 59, 62, 65], [48, 60, 64, 67]]  # I IV V7 I in C
MINOR = [[45, 57, 60, 64], [50, 57, 62, 65], [40, 56, 59, 64], [45, 57, 60, 64]]  # i iv V i in A


def _track(bars: list[list[int]], up: int = 0, **how: float) -> Samples:
    return chords(120, 16, [[p + up for p in bar] for bar in bars], **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("up", range(12))
def test_the_key_of_a_cadence_is_named(up: int) -> None:
    major = estimate_key(_track(MAJOR, up)[:, None], RATE)
    minor = estimate_key(_track(MINOR, up)[:, None], RATE)
    assert major is not None
    assert minor is not None
    assert major.key == str(Key(up % 12, "major"))
    assert minor.key == str(Key((9 + up) % 12, "minor"))


@pytest.mark.parametrize("up", [0, 1, 5, 10])
def test_music_in_a_key_stays_inside_with_and_without_drums(up: int) -> None:
    inside = Key(up, "major").scale
    music = _track(MAJOR, up)
    assert chroma_in_key(music[:, None], RATE, inside) > 0.95
    for seed_bpm in (120, 97):
        assert chroma_in_key((music + drums(seed_bpm, 16, ROCK))[:, None], RATE, inside) > 0.93


def test_overtones_do_not_count_as_notes() -> None:
    """The strong fifth partial of an E is a G sharp."""
    lone = stereo(note(52, 6.0, partials=12))
    assert chroma(lone, RATE)[4] > 0.97


@pytest.mark.parametrize(("shift", "most"), [(1, 0.75), (6, 0.75), (-1, 0.75), (5, 0.95)])
def test_a_tune_in_the_wrong_key_is_noticed(shift: int, most: float) -> None:
    tune = [72, 76, 74, 77, 79, 76, 72, 71]
    accompaniment = _track([[48, 60, 64, 67], [45, 57, 60, 64], [41, 57, 60, 65], [43, 55, 59, 62]])

    def inside(up: int) -> float:
        melody = chords(120, 16, [[p + up] for p in tune], beats=1)
        return chroma_in_key((accompaniment + 1.5 * melody)[:, None], RATE, Key(0, "major").scale)

    assert inside(0) > 0.95
    assert inside(shift) < most


@pytest.mark.parametrize("cents", [-40, -20, 30, 45])
def test_a_recording_out_of_tune_is_read_all_the_same(cents: float) -> None:
    out = np.zeros(8 * RATE, np.float32)
    for index, bar in enumerate(MAJOR):
        for pitch in bar:
            add(out, note(pitch + cents / 100, 2.0), 2.0 * index)
    found = estimate_key(out[:, None], RATE)
    assert found is not None
    assert found.key == "C major"


def test_another_sample_rate_gives_the_same() -> None:
    found = estimate_key(_track(MAJOR, rate=32_000)[:, None], 32_000)
    assert found is not None
    assert found.key == "C major"


def test_noise_and_silence_have_no_key() -> None:
    assert estimate_key(np.zeros((RATE * 4, 2), np.float32), RATE) is None
    assert estimate_key(np.zeros((0, 2), np.float32), RATE) is None
    assert chroma_in_key(np.zeros((RATE, 1), np.float32), RATE, (0, 1, 2)) == 0.0
    assert chroma(stereo(tone(440, 0.01)), RATE).sum() in (0.0, pytest.approx(1.0))


def test_drums_alone_weigh_little_beside_a_quiet_chord() -> None:
    quiet = 0.3 * _track([[48, 52, 55]])
    shares = chroma((quiet + drums(120, 16, ROCK))[:, None], RATE)
    assert shares[[0, 4, 7]].sum() > 0.85


def test_pitch_classes_may_be_any_integers() -> None:
    music = _track(MAJOR)[:, None]
    assert chroma_in_key(music, RATE, {12, 14, 16, 17, 19, 21, 23}) == chroma_in_key(
        music, RATE, (0, 2, 4, 5, 7, 9, 11)
    )
    assert chroma_in_key(music, RATE, range(12)) == pytest.approx(1.0)  # type: ignore[arg-type]
