"""The flute: a jet of air, a few harmonics, vibrato that comes late and moves the loudness too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.envelopes import Samples, samples_of
from tonewheel.composer.synth.oscillators import Reals, noise_burst
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import highpass, lowpass
from tonewheel.composer.synth.voice import Event, Layers, Voice


def chiff(rng: np.random.Generator, seconds: float, low_hz: float, high_hz: float, level: float) -> Samples:
    """Four takes of the breath before the tone, [4, n]."""
    n = samples_of(seconds)
    t = np.linspace(0.0, 1.0, n, dtype=np.float32)
    puff = np.minimum(t * 6.0, 1.0) * np.exp(-4.5 * t) * (1.0 - t)
    return np.asarray(noise_burst(rng, n, 4, low_hz, high_hz) * puff * np.float32(level), np.float32)


class Flute(Section):
    """One player. Soft notes are nearly sines in air; blown harder the second and third harmonics come up."""

    monophonic = True
    voices = 1
    drift_cents = 2.0
    attack_s, release_s = 0.055, 0.13
    dynamics = 1.1
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.6, 0.6
    spread = 0.25
    noise_level = 0.9
    vibrato_hz, vibrato_cents, vibrato_delay_s = 5.0, 13.0, 0.32
    swell = 0.14  # of loudness, with the vibrato
    top_hz = 12_000.0

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        return [lowpass(hz, 4500.0, 2)] * 2

    def harmonics(self) -> Sequence[Sequence[float]]:
        return (1.0, 0.22, 0.07, 0.02, 0.008), (1.0, 0.75, 0.42, 0.16, 0.10, 0.05, 0.03, 0.015, 0.008)

    def noise(self, hz: Reals, f0: float) -> Reals:
        return 0.009 * highpass(hz, 0.8 * f0) * lowpass(hz, 3200.0, 1) * lowpass(hz, 9000.0)

    def attack_noises(self, f0: float, rng: np.random.Generator) -> Samples:
        return chiff(rng, 0.09, 0.9 * f0, min(6.0 * f0, 9000.0), 0.05)

    def play(self, layers: Layers, event: Event) -> Samples:
        out = super().play(layers, event)
        if event.held > samples_of(self.vibrato_delay_s):
            out *= 1.0 + self.vibrato(event, out.shape[1]) * np.float32(self.swell * 100.0 / self.vibrato_cents)
        return out


VOICES: dict[str, Voice] = {"flute": Flute()}
