"""Acoustic parts through FluidSynth with the user's own SoundFont (`tonewheel[soundfont]`).

Optional: the built-in synth plays everything. FluidSynth is a native library that the user installs
(`apt install libfluidsynth3`, `brew install fluid-synth`); pyfluidsynth finds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tonewheel.composer.mix.filters import Samples
from tonewheel.composer.score import Part
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.errors import InvalidRequest, MissingExtra
from tonewheel.styles.instruments import INSTRUMENTS

# What samples do better than synthesis; organs, bells, synths and machine drums stay ours.
ACOUSTIC = frozenset({
    "felt_piano", "vibraphone", "marimba", "nylon_guitar", "steel_guitar", "clean_guitar", "muted_guitar",
    "overdriven_guitar", "harp", "banjo", "upright_bass", "electric_bass", "string_ensemble", "pizzicato", "choir",
    "brass_section", "flute", "accordion", "church_organ", "kit_acoustic", "kit_brushes",
})  # fmt: skip
_DRUM_BANK = 128
_BLOCK = 1 << 16  # samples fetched at a time


class SoundFontPlayer:
    """Plays parts with one SoundFont; the font is opened once. Close it, or use it as a context."""

    def __init__(self, path: Path) -> None:
        """Raises MissingExtra without FluidSynth, InvalidRequest when the file is not a SoundFont."""
        fluidsynth = _library()
        # Samples are decoded when first played: opening a big .sf3 whole takes seconds and hundreds of MB.
        options = {"synth.dynamic-sample-loading": 1, "synth.reverb.active": 0, "synth.chorus.active": 0}
        self._synth: Any = fluidsynth.Synth(gain=0.2, samplerate=SAMPLE_RATE, channels=16, **options)
        self._font = self._synth.sfload(str(path))
        if self._font < 0:
            self.close()
            raise InvalidRequest(f"{str(path)!r} is not a SoundFont that FluidSynth can open: give a .sf2 or .sf3 file",
                                 param="soundfont")  # fmt: skip

    def __enter__(self) -> SoundFontPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._synth.delete()

    def plays(self, part: Part) -> bool:
        """Whether this part is acoustic and the font has its program."""
        return part.instrument in ACOUSTIC and self._select(part)

    def _select(self, part: Part) -> bool:
        info = INSTRUMENTS[part.instrument]
        bank = _DRUM_BANK if info.family == "drums" else 0
        # A missing preset is answered by -1, and the sound before it would go on playing: never unchecked.
        return bool(self._synth.program_select(0, self._font, bank, info.gm_program) == 0)

    def render(self, part: Part, tempo: float, samples: int) -> Samples:
        """The stem, float32 [2, samples], raw level."""
        self._synth.system_reset()
        if not self._select(part):
            raise InvalidRequest(f"the SoundFont has no {INSTRUMENTS[part.instrument].title}", param="soundfont")
        stem = np.zeros((2, samples), dtype=np.float32)
        now = 0
        for at, on, pitch, velocity in _events(part, tempo, samples):
            now = self._fetch(stem, now, at)
            if on:
                self._synth.noteon(0, pitch, velocity)
            else:
                self._synth.noteoff(0, pitch)
        self._fetch(stem, now, samples)
        return stem

    def _fetch(self, stem: Samples, start: int, stop: int) -> int:
        while start < stop:
            size = min(_BLOCK, stop - start)
            block = np.asarray(self._synth.get_samples(size), dtype=np.float32).reshape(size, 2) / 32768.0
            stem[:, start : start + size] = block.T
            start += size
        return stop


def _events(part: Part, tempo: float, samples: int) -> list[tuple[int, bool, int, int]]:
    """(sample, on, pitch, velocity) in order; a note ends before the next one at the same sample begins."""
    rate = 60.0 / tempo * SAMPLE_RATE
    events = []
    for n in part.notes:
        start = max(0, round(n.start * rate))
        if start < samples:
            events.append((start, True, n.pitch, n.velocity))
            events.append((min(samples, max(start + 1, round(n.end * rate))), False, n.pitch, 0))
    return sorted(events)


def _library() -> Any:
    try:
        import fluidsynth  # noqa: PLC0415  (an optional extra)
    except ImportError as e:  # also raised when the native library is not found
        raise MissingExtra(
            "a SoundFont needs FluidSynth: pip install 'tonewheel[soundfont]' and the library itself "
            "(apt install libfluidsynth3, brew install fluid-synth)",
            param="soundfont",
        ) from e
    return fluidsynth
