"""The choir: glottal pulses of several singers through the formants of a vowel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.oscillators import Reals
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import highpass, lowpass, resonances, slope
from tonewheel.composer.synth.voice import Voice

Vowel = tuple[tuple[float, float, float], ...]

# (Hz, bandwidth, level) of five formants, from dark to bright: oo, oh, ah. Men and women, after the tables of
# Peterson & Barney (1952) for speech, levels and the singer's formant as measured in choirs.
_MEN: tuple[Vowel, ...] = (
    ((310, 70, 1.0), (780, 90, 0.25), (2300, 160, 0.03), (2900, 200, 0.02), (3500, 260, 0.01)),
    ((480, 80, 1.0), (860, 100, 0.45), (2400, 160, 0.06), (2850, 200, 0.05), (3400, 260, 0.02)),
    ((690, 100, 1.0), (1120, 120, 0.6), (2450, 170, 0.14), (2850, 200, 0.12), (3450, 280, 0.05)),
)
_WOMEN: tuple[Vowel, ...] = (
    ((380, 80, 1.0), (920, 110, 0.22), (2700, 190, 0.03), (3400, 240, 0.02), (4300, 320, 0.008)),
    ((560, 90, 1.0), (980, 120, 0.4), (2750, 190, 0.05), (3500, 240, 0.04), (4300, 320, 0.02)),
    ((880, 120, 1.0), (1270, 140, 0.6), (2850, 200, 0.12), (3600, 260, 0.10), (4600, 360, 0.04)),
)


class Choir(Section):
    """Eight singers. The vowel goes from oo to ah with velocity and brightness; the pulse's own slope with it."""

    loop_s = 2.4
    voices = 8
    drift_cents = 6.0
    tremble_hz, tremble_cents = 5.3, 20.0
    attack_s, release_s = 0.17, 0.4
    dynamics = 1.1
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.5, 0.9
    motion, motion_hz = 0.07, 0.22
    spread = 0.5
    top_hz = 11_000.0

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        women = float(np.clip((np.log2(f0 / 220.0) + 0.5), 0.0, 1.0))
        curves = []
        for tilt, men, ladies in zip((1.75, 1.5, 1.25), _MEN, _WOMEN, strict=True):
            throat = (1.0 - women) * self._throat(hz, men, f0) + women * self._throat(hz, ladies, f0)
            curves.append(slope(hz, f0, tilt) * throat * highpass(hz, 0.7 * f0) * lowpass(hz, 5200.0, 2))
        return curves

    def _throat(self, hz: Reals, vowel: Vowel, f0: float) -> Reals:
        """A vowel's resonances; above the first formant singers open the mouth until it meets the note."""
        (first, width, level), *rest = vowel
        tuned = ((max(first, f0 * 1.02), max(width, 0.16 * f0), level), *rest)
        return resonances(hz, [(c, max(w, 0.1 * f0), g) for c, w, g in tuned], 0.012)

    def noise(self, hz: Reals, f0: float) -> Reals:
        throat = resonances(hz, [(c, 3.0 * w, g**0.5) for c, w, g in _WOMEN[1]], 0.02)
        return 0.0014 * throat * highpass(hz, 600.0) * lowpass(hz, 7000.0)


VOICES: dict[str, Voice] = {"choir": Choir()}
