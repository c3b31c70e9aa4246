"""Pads: warm (analogue saws), glass (a wavetable that moves), dark (low and hollow)."""

from __future__ import annotations

from collections.abc import Sequence

from tonewheel.composer.synth.oscillators import Reals
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import highpass, lowpass, resonances, slope
from tonewheel.composer.synth.voice import Voice


class WarmPad(Section):
    """Five drifting saws under a low filter that breathes."""

    loop_s = 2.4
    voices = 5
    steady = 1.6
    detune_cents, drift_cents = 8.0, 2.5
    top_hz = 14_000.0
    attack_s, release_s = 0.28, 0.9
    dynamics = 1.0
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.35, 0.9
    motion, motion_hz = 0.06, 0.17
    spread = 0.5

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        saw = slope(hz, f0, 1.05)
        return [saw * lowpass(hz, cutoff + 0.8 * f0, 2, 0.15) for cutoff in (240.0, 950.0, 4600.0)]


class GlassPad(Section):
    """A table of three waves, from hollow to crystal, that the note drifts through; each player is a partial cloud."""

    loop_s = 2.4
    voices = 4
    steady = 1.6
    detune_cents, drift_cents = 5.0, 2.2
    attack_s, release_s = 0.35, 1.3
    dynamics = 1.0
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.35, 0.8
    motion, motion_hz = 0.22, 0.13
    spread = 0.5
    waves = (
        {1: 1.0, 2: 0.35, 3: 0.05, 4: 0.10},
        {1: 0.8, 2: 0.45, 3: 0.10, 4: 0.35, 6: 0.18, 8: 0.16, 10: 0.05, 12: 0.06},
        {1: 0.6, 2: 0.35, 3: 0.22, 4: 0.35, 5: 0.12, 6: 0.26, 8: 0.30, 9: 0.10, 12: 0.22, 16: 0.20, 20: 0.08, 24: 0.10},
    )

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        return [lowpass(hz, 9000.0, 2)] * len(self.waves)

    def harmonics(self) -> Sequence[Sequence[float]]:
        return [[wave.get(h, 0.0) for h in range(1, max(wave) + 1)] for wave in self.waves]

    def noise(self, hz: Reals, f0: float) -> Reals:
        return 0.0016 * highpass(hz, 2500.0) * lowpass(hz, 9000.0)


class DarkPad(Section):
    """Six slow saws, an octave of weight below, a throat that opens a little; rumble under it."""

    loop_s = 2.4
    voices = 6
    steady = 1.6
    detune_cents, drift_cents = 10.0, 4.0
    top_hz = 7000.0
    attack_s, release_s = 0.5, 1.4
    dynamics = 1.0
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.35, 0.8
    motion, motion_hz = 0.12, 0.1
    spread = 0.5

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        saw = slope(hz, f0, 1.1)
        throat = resonances(hz, ((420.0, 160.0, 1.2), (980.0, 260.0, 0.8)), 0.6)
        return [
            saw * lowpass(hz, 170.0 + 0.7 * f0, 3),
            saw * throat * lowpass(hz, 520.0 + 0.6 * f0, 3, 0.2),
            saw * throat * lowpass(hz, 1700.0 + 0.4 * f0, 2, 0.3),
        ]

    def noise(self, hz: Reals, f0: float) -> Reals:
        return 0.004 * highpass(hz, 60.0) * lowpass(hz, 500.0, 1)


VOICES: dict[str, Voice] = {"warm_pad": WarmPad(), "glass_pad": GlassPad(), "dark_pad": DarkPad()}
