"""The brass section: brightness follows loudness, the attack is scooped into."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.envelopes import Samples, samples_of
from tonewheel.composer.synth.oscillators import Reals
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.section import Section
from tonewheel.composer.synth.spectra import highpass, lowpass, resonances, slope
from tonewheel.composer.synth.voice import Event, Voice
from tonewheel.composer.synth.wind import chiff


class BrassSection(Section):
    """Five players, trombones below and trumpets above. A louder note has a steeper wave front in the bore, so its
    spectrum opens with its level: the shade rises with the attack and falls with the release."""

    loop_s = 2.0
    voices = 5
    drift_cents = 3.0
    tremble_hz, tremble_cents = 5.0, 4.0
    attack_s, decay_s, sustain, release_s = 0.045, 0.35, 0.86, 0.14
    attack_follows = 0.9
    dynamics = 1.35
    low_velocity_shade, velocity_shade, brightness_shade = 0.05, 0.75, 0.5
    spread = 0.42
    noise_level = 0.5
    top_hz = 17_000.0
    scoop_s, scoop_semitones = 0.028, 0.55

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        bell = resonances(hz, ((620.0, 500.0, 0.8), (1250.0, 700.0, 1.0), (2300.0, 1400.0, 0.6)), 0.55)
        bell *= highpass(hz, 380.0, 1)  # below its cutoff a bell radiates little
        return [
            slope(hz, f0, 1.35) * bell * lowpass(hz, 380.0 + 1.2 * f0, 3),
            slope(hz, f0, 1.0) * bell * lowpass(hz, 1300.0 + 1.4 * f0, 3),
            slope(hz, f0, 0.75) * bell * lowpass(hz, 3900.0 + 1.0 * f0, 3),
        ]

    def attack_noises(self, f0: float, rng: np.random.Generator) -> Samples:
        return chiff(rng, 0.05, 700.0, 4000.0, 0.02)

    def bend(self, event: Event, n: int) -> Samples | None:
        """Into the note from below: the lips find the pitch in some thirty milliseconds; then it is straight."""
        if event.legato and event.from_pitch is not None:
            return super().bend(event, n)
        depth = self.scoop_semitones * (0.3 + 0.9 * event.chance[5]) * (0.5 + 0.5 * event.velocity)
        t = np.arange(min(samples_of(8.0 * self.scoop_s), n), dtype=np.float32)
        return np.asarray(np.exp(t * np.float32(-1.0 / (self.scoop_s * SAMPLE_RATE))) * np.float32(-depth))

    def shade_path(self, event: Event, n: int) -> Samples:
        start, end = self.shade(event, event.brightness), self.shade(event, event.brightness_end)
        t = np.arange(n, dtype=np.float32)
        path = np.float32(start) + t * np.float32((end - start) / max(event.held, 1))
        opening = 0.05 - 0.02 * event.velocity
        path *= 1.0 - np.float32(0.85) * np.exp(t * np.float32(-1.0 / (opening * SAMPLE_RATE)))
        path += np.float32(0.12 * event.velocity) * np.exp(-(((t / SAMPLE_RATE - 0.09) / 0.05) ** 2))
        if n > event.held:
            path[event.held :] *= np.exp(t[: n - event.held] * np.float32(-4.0 / (self.release_s * SAMPLE_RATE)))
        return np.clip(path, 0.0, 1.0, out=path)

    def shape(self, out: Samples, event: Event) -> None:
        super().shape(out, event)
        growl = max(event.velocity - 0.72, 0.0) * 0.5
        if growl > 0.0:
            reach = min(samples_of(0.3), out.shape[1])
            t = np.arange(reach, dtype=np.float32) / np.float32(SAMPLE_RATE)
            hz = 26.0 + 8.0 * event.chance[7]
            flutter = np.sin(t * np.float32(2 * math.pi * hz)) * np.exp(t * np.float32(-10.0))
            out[:, :reach] *= 1.0 - np.float32(growl) * (flutter + np.abs(flutter))


VOICES: dict[str, Voice] = {"brass_section": BrassSection()}
