"""Acoustic parts through FluidSynth, where it and a General MIDI SoundFont are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tonewheel.composer.render import render
from tonewheel.composer.score import Note, Part, Score
from tonewheel.composer.soundfont import SoundFontPlayer
from tonewheel.errors import InvalidRequest, MissingExtra
from tonewheel.styles.schema import Master, PartMix, Space

FONTS = [Path(p) for p in ("/usr/share/sounds/sf3/FluidR3Mono_GM.sf3", "/usr/share/sounds/sf2/FluidR3_GM.sf2")]
FONT = next((p for p in FONTS if p.exists()), None)


def installed() -> str | None:
    """Why it cannot run here, or None."""
    try:
        import fluidsynth  # noqa: F401
    except ImportError as e:
        return f"FluidSynth's library is not installed: {e}"
    return None if FONT else f"no SoundFont at {' or '.join(map(str, FONTS))}"


needs_font = pytest.mark.skipif(installed() is not None, reason=installed() or "")


def part(instrument: str) -> Part:
    return Part("p", "chords", instrument, (Note(0.0, 2.0, 60, 100), Note(2.0, 1.0, 67, 60)), PartMix())


def score(instrument: str) -> Score:
    return Score("t", "s", 120, 4, "4/4", "C major", 1, 4.0, (), (), (part(instrument),), (), Space(), Master())


@needs_font
def test_an_acoustic_part_is_played_by_the_font_at_its_times() -> None:
    assert FONT is not None
    with SoundFontPlayer(FONT) as player:
        assert player.plays(part("nylon_guitar"))
        assert not player.plays(part("drawbar_organ"))
        stem = player.render(part("nylon_guitar"), 120, 44100 * 3)
    level = np.abs(stem).max(axis=0)
    assert level[:22050].max() > 10 * level[-2000:].max()
    spectrum = np.abs(np.fft.rfft(stem[0, 4000:36768]))
    assert np.argmax(spectrum) * 44100 / 32768 == pytest.approx(261.6, rel=0.02)


@needs_font
def test_a_mix_with_a_font_is_the_same_every_time_and_not_the_synths() -> None:
    with_font = render(score("harp"), soundfont=FONT)
    assert np.array_equal(with_font, render(score("harp"), soundfont=FONT))
    assert not np.array_equal(with_font, render(score("harp")))
    assert np.array_equal(render(score("drawbar_organ"), soundfont=FONT), render(score("drawbar_organ")))


def test_what_is_no_soundfont_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.sf2").write_bytes(b"RIFF....")
    with pytest.raises((InvalidRequest, MissingExtra)):
        SoundFontPlayer(tmp_path / "bad.sf2")
