"""Several players, or several oscillators, on one note: what leads, pads, strings, voices and brass have in common.

The players' harmonics are summed in spectra.py; the voice's filters are curves over that spectrum, and one inverse
FFT a shade gives the sound. Vibrato that moves through a body's resonances, players who beat against each other,
pulse widths that move: all of it comes out as it should, band-limited, for a few milliseconds a pitch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.envelopes import Samples, adsr
from tonewheel.composer.synth.oscillators import Reals, hertz, loop_size
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.spectra import (
    CENT,
    GRID,
    TOP_HZ,
    Spectrum,
    anchored,
    around,
    below_top,
    drawn,
    drifting,
    grid_points,
    laid,
    rms_of,
    scatter,
    shared_lows,
    trembling,
    unison,
    whole_offsets,
)
from tonewheel.composer.synth.voice import Event, Layers, Voice, bent_positions, read

_LEVEL = 0.13  # RMS of the brightest shade


class Section(Voice):
    """A sustaining voice of `voices` players. Subclasses give `shades` and, if need be, `phases` and `noise`."""

    loop = True
    loop_s = 1.7
    voices = 6
    detune_cents = 0.0  # oscillators spread evenly by this much to either side, steady
    drift_cents = 3.0  # slow wandering, RMS, of each player
    tremble_hz, tremble_cents = 0.0, 0.0  # vibrato of each player, their own in rate and phase
    centre = 1.0  # level of the middle oscillator beside the others
    steady = 1.2  # of low partials, the level of what does not beat: players alone would fall silent together
    top_hz = TOP_HZ
    attack_follows = 0.5  # share by which a hard stroke shortens the attack
    sweep, sweep_s = 0.0, 0.2  # how far the shade falls after the attack, and how fast
    motion, motion_hz = 0.0, 0.2  # slow movement of the shade

    def shades(self, hz: Reals, f0: float) -> Sequence[Reals]:
        """The gain of each shade, dark to bright, at the frequencies `hz`: source and filter. Smooth curves: they
        are drawn at a few hundred points."""
        raise NotImplementedError

    def harmonics(self) -> Sequence[Sequence[float]] | None:
        """For voices of few partials: the level of each harmonic in each shade, instead of a source curve."""
        return None

    def noise(self, hz: Reals, f0: float) -> Reals | None:
        """The level of the breath, bow or air beside the tone at each frequency; None for none."""
        return None

    def phases(self, f0: float, seconds: float, points: int, rng: np.random.Generator) -> tuple[Samples, Reals]:
        """(phases [P, points] in radians beside the exact pitch over one loop, gains [P])."""
        wander = drifting(rng, self.voices, points, f0 * seconds, self.drift_cents)
        if self.tremble_cents > 0.0:
            rates = np.rint(self.tremble_hz * seconds * rng.uniform(0.88, 1.12, (self.voices, 1)))
            wander += trembling(rng, rates, points, f0 * seconds, self.tremble_cents)
        steps = np.linspace(-1.0, 1.0, self.voices) if self.voices > 1 else np.zeros(1)
        offsets = whole_offsets(steps * self.detune_cents, f0 * seconds)
        wander += np.multiply.outer(offsets.astype(np.float32), around(points))
        gains = np.ones(self.voices)
        gains[self.voices // 2] *= self.centre
        return wander, gains

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        f0 = hertz(pitch)
        size, cycles = loop_size(f0, self.loop_s)
        hz: Reals = np.arange(size // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / size)
        gains = [drawn(curve * below_top(GRID, self.top_hz), hz) for curve in self.shades(GRID, f0)]
        spectra = self._tones(size, cycles, len(gains), rng)  # [shades, 2, bins]
        spectra *= np.stack(gains)[:, None]
        spectra[:, 1] += shared_lows(hz) * (spectra[:, 0] - spectra[:, 1])
        levels = np.linspace(0.85, 1.0, len(gains)) * _LEVEL
        spectra *= (levels / rms_of(spectra, size)).astype(np.float32)[:, None, None]
        air = self.noise(GRID, f0)
        if air is not None:
            blown = np.linspace(0.5, 1.0, len(gains)).astype(np.float32)
            spectra += scatter(rng, drawn(air, hz), size) * blown[:, None, None]
        return Layers(np.asarray(np.fft.irfft(spectra, size, axis=2), np.float32), self.attack_noises(f0, rng))

    def _tones(self, size: int, cycles: int, shades: int, rng: np.random.Generator) -> Spectrum:
        """Two takes of the players' harmonics before any filter, [shades, 2, bins]."""
        loop_s = size / SAMPLE_RATE
        f0 = cycles / loop_s
        tables = self.harmonics()
        count = max(int(self.top_hz / f0), 1)
        if tables is not None:
            count = min(count, max(len(table) for table in tables))
        widest = self.detune_cents + 2.0 * self.drift_cents + 1.4 * self.tremble_cents
        points = grid_points(count * cycles * widest * CENT + 2.0 * self.tremble_hz * loop_s)
        spectra = np.zeros((shades, 2, size // 2 + 1), np.complex64)
        for take in range(2):
            clusters = anchored(unison(*self.phases(f0, loop_s, points, rng), count), f0, self.steady, rng)
            if tables is None:
                spectra[:, take] = laid(clusters, cycles, size)
                continue
            for shade, table in enumerate(tables):
                levels = np.zeros((count, 1), np.float32)
                levels[: len(table), 0] = table[:count]
                spectra[shade, take] = laid(clusters * levels, cycles, size)
        return spectra

    def attack_noises(self, f0: float, rng: np.random.Generator) -> Samples | None:
        """What sounds only at the start of a note, [k, m], RMS about `_LEVEL` at full level."""
        return None

    def play(self, layers: Layers, event: Event) -> Samples:
        n = event.held + self.release_samples(event)
        out = self._mixed(layers, event, n, self.bend(event, n))
        if self.noise_level and layers.noises is not None:
            self.add_noise(out, layers.noises, event)
        self.shape(out, event)
        return out

    def _mixed(self, layers: Layers, event: Event, n: int, bend: Samples | None) -> Samples:
        """The shades along their path, [2, n]; a `bend` may be shorter than the note, whose rest is then straight."""
        weights = np.array(self.variant_weights(event, layers.samples.shape[1]), np.float32)
        at = int(event.chance[0] * layers.length)
        positions = None
        if bend is not None:
            positions = bent_positions(bend, at, None)
            positions += math.ceil(positions[-1]) - positions[-1]
            at = int(positions[-1]) + 1
        place = self.shade_path(event, n)
        if place is None:
            place = np.full(n, self.shade(event, event.brightness), np.float32)
        place = place * np.float32(layers.samples.shape[0] - 1)
        lowest, highest = float(place.min()), float(place.max())
        out = np.zeros((2, n), np.float32)
        for shade in range(int(lowest), min(math.ceil(highest), layers.samples.shape[0] - 1) + 1):
            take = layers.samples[shade : shade + 1]
            hat = np.maximum(1.0 - np.abs(place - np.float32(shade)), 0.0)
            head = 0
            if positions is not None:
                head = len(positions)
                out[:, :head] += read(take, weights, positions, head) * hat[:head]
            if head < n:
                out[:, head:] += read(take, weights, at % layers.length, n - head) * (
                    hat[head:] if hat.size > 1 else hat
                )
        return out

    def shade_path(self, event: Event, n: int) -> Samples | None:
        if not (self.sweep or self.motion):
            return super().shade_path(event, n)
        start, end = self.shade(event, event.brightness), self.shade(event, event.brightness_end)
        t = np.arange(n, dtype=np.float32)
        path = np.float32(start) + t * np.float32((end - start) / max(event.held, 1))
        if self.sweep:
            fall = np.exp(t * np.float32(-1.0 / (self.sweep_s * SAMPLE_RATE)))
            path += fall * np.float32(self.sweep * (0.4 + 0.6 * event.velocity))
        if self.motion:
            turn = t * np.float32(2 * math.pi * self.motion_hz * (0.8 + 0.4 * event.chance[6]) / SAMPLE_RATE)
            path += np.sin(turn + np.float32(2 * math.pi * event.chance[7])) * np.float32(self.motion)
        return np.clip(path, 0.0, 1.0, out=path)

    def shape(self, out: Samples, event: Event) -> None:
        n = out.shape[1]
        attack = self.attack_s * (1.0 - self.attack_follows * (event.velocity - 0.5)) * (0.85 + 0.3 * event.chance[3])
        if event.legato:
            attack *= 0.5
        attack = min(attack, max(0.5 * event.held / SAMPLE_RATE, 0.004))
        attack = 2.0 ** (round(6.0 * math.log2(attack)) / 6.0)  # few lengths: curves are cached by length
        out *= adsr(n, event.held, attack_s=attack, decay_s=self.decay_s, sustain=self.sustain)
