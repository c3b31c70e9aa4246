"""The measure of bench/beats.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import beats

TRUE = np.arange(0, 10, 0.5)


def test_a_beat_counts_within_70_ms_and_once() -> None:
    assert beats.f_measure(TRUE + 0.069, TRUE) == 1
    assert beats.f_measure(TRUE + 0.071, TRUE) == 0
    assert beats.f_measure(np.sort(np.concatenate([TRUE, TRUE + 0.01])), TRUE) == pytest.approx(2 / 3)
    assert beats.f_measure(TRUE[:10], TRUE) == pytest.approx(2 / 3)
    assert beats.f_measure(np.empty(0), TRUE) == 0


def test_beats_on_another_level_are_told_as_such() -> None:
    scores = beats.Scores([], [], [], [])
    piece = beats.Piece("clicks", np.zeros(441_000, np.float32), TRUE, TRUE[::4])
    scores.add(piece, lambda _: (TRUE[::2], TRUE[::4]))
    scores.add(piece, lambda _: (TRUE, TRUE[::4]))
    assert scores.level == ["half", "written"]
    assert scores.beats == [pytest.approx(2 / 3), 1]
    assert scores.best == scores.downbeats == [1, 1]


def test_click_tracks_are_as_long_as_their_beats_and_keep_their_tempo() -> None:
    for piece in beats.clicks(quick=True):
        assert len(piece.samples) / beats.SAMPLE_RATE > piece.beats[-1]
        assert np.isin(piece.downbeats, piece.beats).all()
    first = next(beats.clicks(quick=True))
    assert np.diff(first.beats) == pytest.approx(1.0)
