"""The quick part of `bench/listen.py`: one short song of every style keeps every promise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import listen
from tonewheel.styles.library import styles

STYLES = list(styles())
_heard: dict[str, listen.Heard] = {}


def heard(style: str) -> listen.Heard:
    if style not in _heard:
        number = STYLES.index(style)
        _heard[style] = listen.listen(listen.Case(style, number % len(listen.NARRATIVES), 15, 1))
    return _heard[style]


@pytest.mark.parametrize("style", STYLES)
def test_a_short_song_of_each_style_keeps_every_promise(style: str) -> None:
    assert heard(style).failed == []


@pytest.fixture
def longer() -> Iterator[listen.Heard]:
    yield listen.listen(listen.Case("synth-pop", 1, 60, 2))


def test_a_minute_has_a_chorus_that_lifts(longer: listen.Heard) -> None:
    assert longer.failed == []
    assert longer.lift["density"] > 1.0
    assert longer.lift["loudness"] > 1.0


def test_the_same_seed_is_byte_identical_and_others_are_not() -> None:
    first = heard("house")
    assert listen.listen(first.case).digest == first.digest
    assert listen.listen(replace(first.case, seed=2)).digest != first.digest


def test_narratives_share_neither_melody_nor_words() -> None:
    songs = [listen.listen(listen.Case("folk", number, 15, 1)) for number in range(3)]
    assert len({s.melody for s in songs}) == 3
    assert len({s.words for s in songs}) == 3
    assert listen.over_all(songs, listen.listen) == []


def test_the_promises_can_be_broken() -> None:
    good = heard("house")
    for change, name in (
        ({"lufs": -12.0}, "loudness"),
        ({"true_peak_dbtp": -0.5}, "true peak"),
        ({"silence": 0.2}, "silence"),
        ({"tempo_error": 0.05}, "tempo"),
        ({"in_key": 0.7}, "key"),
        ({"lift": {"loudness": 0.9, "density": 0.8, "brightness": 0.9}}, "chorus lift"),
        ({"duration_error_s": 0.2}, "duration"),
    ):
        assert listen.broken_promises(replace(good, **change)) == [name]
