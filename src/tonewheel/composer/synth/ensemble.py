"""The string ensemble: players who each drift and vibrate on their own, one body for all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.envelopes import Samples, samples_of
from tonewheel.composer.synth.oscillators import Reals, noise_burst
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import highpass, lowpass, resonances, slope
from tonewheel.composer.synth.voice import Voice

# Air and wood modes and the bridge hill of the violin family (Fletcher & Rossing, §10), averaged over its sizes.
_BODY = (
    (230.0, 60.0, 0.7), (290.0, 70.0, 0.8), (460.0, 90.0, 1.0), (560.0, 110.0, 0.7), (840.0, 180.0, 0.5),
    (1150.0, 260.0, 0.45), (1700.0, 500.0, 0.5), (2500.0, 1100.0, 1.0), (3300.0, 1200.0, 0.5),
)  # fmt: skip


class StringEnsemble(Section):
    """Nine players a side of the stage. The bowed string's saw, the hair's noise, vibrato that sweeps through the
    body's resonances. Soft strokes are slow and veiled, hard ones bite."""

    loop_s = 2.4
    voices = 9
    drift_cents = 4.0
    tremble_hz, tremble_cents = 5.6, 13.0
    attack_s, release_s = 0.13, 0.3
    attack_follows = 1.2
    dynamics = 1.2
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.55, 0.7
    motion, motion_hz = 0.05, 0.4
    spread = 0.5
    noise_level = 0.5
    top_hz = 15_000.0

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        body = resonances(hz, _BODY, 0.45) * highpass(hz, 0.6 * f0)
        saw = slope(hz, f0)
        return [
            saw * body * lowpass(hz, 650.0 + 1.0 * f0, 2),
            saw * body * lowpass(hz, 2200.0 + 1.0 * f0, 2),
            saw * body * lowpass(hz, 7000.0, 2),
        ]

    def noise(self, hz: Reals, f0: float) -> Reals:
        return 0.0022 * resonances(hz, _BODY, 0.6) * highpass(hz, 900.0, 1) * lowpass(hz, 6500.0, 2)

    def attack_noises(self, f0: float, rng: np.random.Generator) -> Samples:
        n = samples_of(0.11)
        t = np.linspace(0.0, 1.0, n, dtype=np.float32)
        bite = np.minimum(t * 8.0, 1.0) * np.exp(-5.0 * t)
        return np.asarray(noise_burst(rng, n, 4, 1200.0, 5500.0) * bite * np.float32(0.03), np.float32)


VOICES: dict[str, Voice] = {"string_ensemble": StringEnsemble()}
