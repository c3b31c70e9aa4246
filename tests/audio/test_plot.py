"""The picture shows what is there."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from signals import RATE, Samples, stereo, tone

from tonewheel.audio import plot as plotting
from tonewheel.audio.checks import check
from tonewheel.audio.plot import HEIGHT, WIDTH, plot


def _picture(samples: Samples, rate: int = RATE, title: str = "Title", **how: object) -> np.ndarray:
    data = plot(samples, rate, check(samples, rate, thorough=False), title, **how)  # type: ignore[arg-type]
    image = Image.open(io.BytesIO(data))
    assert image.format == "PNG"
    assert image.size == (WIDTH, HEIGHT)
    return np.asarray(image.convert("RGB")).astype(int)


def _inside(picture: np.ndarray, box: plotting._Box, left: float = 0, right: float = 1) -> np.ndarray:
    """The pixels of a panel between two shares of its width."""
    columns = slice(plotting._LEFT + int(left * plotting._INNER), plotting._LEFT + int(right * plotting._INNER))
    return picture[box.top : box.bottom, columns]


def test_a_tone_is_a_bright_line_at_its_frequency() -> None:
    for hertz in (110, 1000, 8000):
        panel = _inside(_picture(stereo(tone(hertz, 3.0))), plotting._SPECTROGRAM, 0.3, 0.7).sum(axis=(1, 2))
        share = np.argmax(panel) / len(panel)
        found = plotting._HIGH_HZ * (plotting._LOW_HZ / plotting._HIGH_HZ) ** share
        assert found == pytest.approx(hertz, rel=0.06)


def test_silence_and_sound_are_where_they_are_in_time() -> None:
    sound = np.concatenate([stereo(tone(440, 2.0)), np.zeros((2 * RATE, 2), np.float32)])
    picture = _picture(sound)
    for box in (plotting._WAVEFORM, plotting._SPECTROGRAM, plotting._LOUDNESS):
        assert _inside(picture, box, 0.15, 0.45).mean() > _inside(picture, box, 0.6, 0.85).mean() + 5


def test_the_same_sound_gives_the_same_picture() -> None:
    samples = stereo(tone(440, 1.0))
    report = check(samples, RATE, thorough=False)
    first = plot(samples, RATE, report, "A")
    assert plot(samples, RATE, report, "A") == first
    assert plot(samples, RATE, report, "B") != first


def test_marks_are_drawn_through_all_panels() -> None:
    samples = stereo(tone(440, 4.0))
    bare, marked = _picture(samples), _picture(samples, marks=[(2.0, "Chorus"), (99.0, "beyond"), (2.05, "too near")])
    changed = np.abs(bare - marked).sum(axis=2) > 30
    columns = np.flatnonzero(changed[plotting._SPECTROGRAM.top : plotting._SPECTROGRAM.bottom].mean(axis=0) > 0.5)
    assert len(columns) >= 1
    assert abs(columns[0] - (plotting._LEFT + plotting._INNER / 2)) < 3


@pytest.mark.parametrize(("samples", "channels"), [(1, 1), (2, 6), (50, 2), (5000, 1)])
def test_shorts_are_drawn_too(samples: int, channels: int) -> None:
    _picture(np.full((samples, channels), 0.3, np.float32))


def test_silence_and_odd_rates_are_drawn_too() -> None:
    _picture(np.zeros((RATE, 2), np.float32))
    _picture(stereo(tone(100, 1.0, rate=1000)), 1000)
    _picture(stereo(tone(100, 1.0, rate=192_000)), 192_000)


@pytest.mark.parametrize("title", ["", "\x1b[31m\n\t", "日本語 שלום \U0001f3b5", "x" * 3000, "a b " * 400])
def test_any_title_fits(title: str) -> None:
    picture = _picture(stereo(tone(440, 0.2)), title=title)
    assert (picture[:90, WIDTH - 20 :] == picture[0, 0]).all()
