"""Subtractive leads: saws, pulses, near-sines; the pluck and the stab."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.envelopes import Samples, samples_of
from tonewheel.composer.synth.oscillators import Reals, hertz, noise_burst
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import around, drifting, lowpass, slope
from tonewheel.composer.synth.voice import Layers, Voice, stack


class SawLead(Section):
    """Seven saws, the middle one loudest, through a filter that opens with the stroke and closes after it."""

    voices = 7
    detune_cents, drift_cents, centre = 13.0, 0.8, 1.9
    attack_s, decay_s, sustain, release_s = 0.006, 0.5, 0.82, 0.16
    dynamics = 1.1
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.55, 0.7
    sweep, sweep_s = 0.28, 0.16
    spread = 0.42
    vibrato_hz, vibrato_cents, vibrato_delay_s = 5.4, 9.0, 0.35

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        saw = slope(hz, f0)
        return [saw * lowpass(hz, cutoff + 1.5 * f0, 2, 0.35) for cutoff in (500.0, 2600.0, 13_000.0)]


class SquareLead(Section):
    """Two pulses whose widths move slowly against each other: a pulse is a saw less the same saw a little later."""

    monophonic = True
    voices = 2
    drift_cents = 1.2
    steady = 0.0
    attack_s, decay_s, sustain, release_s = 0.005, 0.4, 0.8, 0.12
    dynamics = 1.1
    low_velocity_shade, velocity_shade, brightness_shade = 0.1, 0.5, 0.7
    sweep, sweep_s = 0.2, 0.12
    spread = 0.3
    vibrato_hz, vibrato_cents, vibrato_delay_s = 5.6, 11.0, 0.28

    def phases(self, f0: float, seconds: float, points: int, rng: np.random.Generator) -> tuple[Samples, Reals]:
        wander = drifting(rng, self.voices, points, f0 * seconds, self.drift_cents)
        swing = 0.07 * np.sin(2.0 * around(points) + rng.random((self.voices, 1)) * 2 * np.pi)
        width = np.array([[0.5], [0.42]]) + swing
        later = (wander + 2 * np.pi * width).astype(np.float32)
        return np.concatenate([wander, later]), np.array([1.0, 0.6, -1.0, -0.6])

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        saw = slope(hz, f0)
        return [saw * lowpass(hz, cutoff + 1.5 * f0, 2, 0.25) for cutoff in (500.0, 2400.0, 11_000.0)]


class SoftLead(Section):
    """A near-sine that sings: few harmonics, a slow attack, a wide late vibrato, a breath of air."""

    monophonic = True
    voices = 2
    drift_cents = 1.5
    attack_s, sustain, release_s = 0.045, 1.0, 0.22
    dynamics = 1.2
    low_velocity_shade, velocity_shade, brightness_shade = 0.1, 0.6, 0.5
    spread = 0.3
    vibrato_hz, vibrato_cents, vibrato_delay_s = 5.2, 16.0, 0.3
    top_hz = 12_000.0

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        return [
            slope(hz, f0, power) * lowpass(hz, cutoff + 2.0 * f0) for power, cutoff in ((3.2, 300.0), (1.6, 3000.0))
        ]

    def noise(self, hz: Reals, f0: float) -> Reals:
        return 0.0035 * lowpass(hz, 3.0 * f0, 2) * np.minimum(hz / f0, 1.0)


class Plucked(Voice):
    """Saws whose every harmonic dies at its own pace, the higher the sooner: a filter envelope written down."""

    release_s = 0.14
    dynamics = 1.15
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.65, 0.7
    spread = 0.4
    detunes: tuple[float, ...] = (-7.0, 0.0, 7.0)  # cents
    t60, knee_hz, steep = 1.3, 700.0, 0.9  # of the fundamental; above the knee harmonics die faster
    openings: tuple[float, ...] = (600.0, 9000.0)  # Hz of the filter when struck: dark, bright
    resonance = 0.4
    odd = 1.0  # level of the even harmonics beside the odd ones
    noise_level = 0.05

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        f0 = hertz(pitch)
        h: Reals = np.arange(1, max(int(17_500 / f0), 1) + 1, dtype=np.float64)
        shift = 2.0 ** (np.array(self.detunes) / 1200.0)
        hz = np.multiply.outer(shift, h * f0).ravel()
        t60 = self.t60 * min(1.0, (500.0 / f0) ** 0.25) / (1.0 + (hz / (self.knee_hz + f0)) ** self.steep)
        level = np.where(h % 2 == 1, 1.0, self.odd) / h
        starts = rng.random((2, len(shift), 1))
        starts[1, len(shift) // 2] = starts[0, len(shift) // 2]  # the middle is the same left and right
        phase = (2 * np.pi * starts * h).reshape(2, -1) - np.pi / 2
        length = min(seconds, self.t60 * 1.15)
        middle = np.where(np.array(self.detunes) == 0.0, 1.7, 1.0)[:, None]  # holds the pitch
        shades = []
        for opening in self.openings:
            filtered: Reals = level * lowpass(h * f0, opening + 1.2 * f0, 2, self.resonance)
            shades.append(ring(hz, t60, phasors((filtered * middle).ravel(), phase), length))
        loud = np.sqrt(np.mean(shades[-1][:, : samples_of(0.08)] ** 2)) + 1e-9
        scale = np.float32(0.2 / loud)
        return Layers(stack([shade * scale for shade in shades]), self._clicks(rng))

    def _clicks(self, rng: np.random.Generator) -> Samples:
        n = samples_of(0.004)
        return noise_burst(rng, n, 3, 1500.0, 9000.0) * np.linspace(1.0, 0.0, n, dtype=np.float32) ** 2


class PluckSynth(Plucked):
    """The arpeggio's voice: short, pointed, a little hollow."""

    attack_s = 0.0012
    odd = 0.7


class StabSynth(Plucked):
    """A chord stab: wide saws, a filter that snaps shut."""

    attack_s = 0.0015
    detunes = (-11.0, 0.0, 11.0)
    t60, knee_hz, steep = 1.0, 900.0, 0.75
    openings = (800.0, 8000.0)
    resonance = 0.7
    release_s = 0.09
    spread = 0.45
    noise_level = 0.03


VOICES: dict[str, Voice] = {
    "saw_lead": SawLead(),
    "square_lead": SquareLead(),
    "soft_lead": SoftLead(),
    "pluck_synth": PluckSynth(),
    "stab_synth": StabSynth(),
}
