"""Basses: upright and electric strings, the analogue, the 808, the reese."""

from __future__ import annotations

import math

import numpy as np

from tonewheel.composer.synth.bank import phasors
from tonewheel.composer.synth.envelopes import Samples, decay, rise, samples_of
from tonewheel.composer.synth.oscillators import Reals, hertz, lines, loop_size, noise_burst, sine, swept_turns
from tonewheel.composer.synth.plucked import Body, PluckedString, StringTone
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.voice import Event, Layers, Voice, stack

_CORPUS = Body(((62.0, 5.0, 5.0), (102.0, 6.0, 6.0), (215.0, 5.0, 4.0), (480.0, 3.0, 3.0), (1250.0, 2.0, 4.0)), 0.035)
_SPLIT_COIL = Body(((180.0, 0.8, 3.0), (750.0, 1.0, 3.0), (2100.0, 1.6, 4.0)), 0.0)


class StringBass(PluckedString):
    """One player, one note at a time; the low end stays in the middle."""

    monophonic = True
    spread = 0.2
    keyboard_pan = 0.0
    dynamics = 1.1


class SynthBass(Voice):
    """A saw and a pulse a few cents apart through a resonant low-pass of 24 dB an octave that the
    velocity opens and an envelope closes: the shades are settings of that filter."""

    loop, monophonic = True, True
    attack_s, decay_s, sustain, release_s = 0.003, 0.5, 0.75, 0.07
    dynamics = 1.0
    spread, keyboard_pan = 0.25, 0.0
    cutoffs = (1.3, 5.0, 24.0)  # times the fundamental
    resonance = 1.6

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        size, cycles = loop_size(hz, 1.2)
        k = np.arange(1, int(9000.0 / hz) + 1)
        height: Reals = hz * k.astype(np.float64)
        pulse = np.sin(np.pi * k * 0.42) / k
        rows = []
        for cutoff in self.cutoffs:
            levels = 0.22 / k * lowpass(height, max(cutoff * hz, 90.0), self.resonance)
            flutter = rng.normal(0, 0.35, (2, len(k))) * np.minimum(k / 12.0, 1.0)
            saw = phasors(levels, flutter - np.pi / 2)
            square = phasors(levels * k * pulse * 0.5, flutter - np.pi / 2)
            rows.append(np.concatenate([saw, square], axis=1))
        detuned = cycles * k + np.maximum(np.rint(cycles * k * 0.0035), 1).astype(np.int64) * (k > 1)
        loops = lines(size, np.concatenate([cycles * k, detuned]), np.concatenate(rows))
        return Layers(loops.reshape(len(self.cutoffs), 2, size))

    def shade_path(self, event: Event, n: int) -> Samples:
        """The filter's envelope: opened by the key, closing over a fifth of a second."""
        top = self.shade(event, event.brightness)
        low = 0.42 * top
        path = decay(n, 0.75)
        path *= np.float32(top - low)
        path += np.float32(low)
        return path


class SubBass(Voice):
    """The long kick of the 808 tuned to notes: a sine that falls onto its pitch, driven into a warm clip;
    joined notes slide."""

    monophonic = True
    attack_s, release_s = 0.0015, 0.09
    dynamics = 0.9
    spread, keyboard_pan = 0.1, 0.0
    drives = (0.5, 3.2)

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        n = samples_of(min(seconds, 5.0))
        at = np.arange(n, dtype=np.float32) / np.float32(SAMPLE_RATE)
        bodies = []
        for depth, quick_s, phase in ((14.0, 0.0110, 0.0), (13.6, 0.0115, 0.06)):
            drop = depth * np.exp(at * np.float32(-1 / quick_s)) + 0.4 * np.exp(at * np.float32(-1 / 0.12))
            bodies.append(sine(swept_turns(hz * np.exp2(drop / 12.0, dtype=np.float64), phase)))
        body = np.stack(bodies) * decay(n, 4.2 * (40.0 / (hz + 20.0)) ** 0.3)
        m = min(samples_of(0.006), n)
        click = noise_burst(rng, m, 2, 800.0, 5000.0) * decay(m, 0.006)
        shades = []
        for drive in self.drives:
            takes = np.tanh(body * np.float32(drive))
            takes *= np.float32(0.4 / math.tanh(drive) * (1.0 + 0.12 / drive))
            takes[:, :m] += click * np.float32(0.02 * drive)
            shades.append(takes)
        return Layers(stack(shades))

    def play(self, layers: Layers, event: Event) -> Samples:
        out = super().play(layers, event)
        if event.legato and event.from_pitch is not None:  # slides on: no new hit
            n = min(samples_of(0.03), out.shape[1])
            out[:, :n] *= rise(n)
        return out


class ReeseBass(Voice):
    """Saws a little apart, beating against each other under a dark low-pass that moves slowly."""

    loop, monophonic = True, True
    attack_s, release_s = 0.008, 0.09
    dynamics = 0.8
    spread, keyboard_pan = 0.5, 0.0
    cutoffs = (190.0, 2200.0)
    cents = (-19.0, -8.0, 7.0, 17.0)

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        size, cycles = loop_size(hz, 2.4)
        k = np.arange(1, int(7000.0 / hz) + 1)
        bins = [cycles * k]
        parts = [np.broadcast_to(1.0 / k * np.where(k == 1, 1.6, 0.55), (2, len(k)))]
        angles = [np.broadcast_to(np.full(len(k), -np.pi / 2), (2, len(k)))]
        for cents in self.cents:
            aside = np.rint(cycles * k * (2 ** (cents / 1200) - 1)).astype(np.int64)
            bins.append(cycles * k + np.where(aside == 0, int(math.copysign(1, cents)), aside))
            parts.append(np.broadcast_to(1.0 / k * np.where(k == 1, 0.1, 0.5), (2, len(k))))
            own = rng.random((2, 1)) * 2 * np.pi * np.minimum(k, 6) / 3.0
            angles.append(own - np.pi / 2)
        every, levels, phases = np.concatenate(bins), np.concatenate(parts, axis=1), np.concatenate(angles, axis=1)
        heights = np.tile(hz * k, len(bins))
        rows = [
            phasors(levels * 0.16 * lowpass(heights, max(cutoff, 1.3 * hz), 1.15), phases) for cutoff in self.cutoffs
        ]
        return Layers(lines(size, every, np.concatenate(rows)).reshape(len(self.cutoffs), 2, size))

    def shade_path(self, event: Event, n: int) -> Samples:
        """The filter wanders: a slow sine of the note's own speed."""
        path = self.shade_ramp(event, n)
        hz = 0.35 + 0.5 * event.chance[3]
        angle = np.arange(n, dtype=np.float32) * np.float32(2 * math.pi * hz / SAMPLE_RATE)
        angle += np.float32(2 * math.pi * event.chance[4])
        path += np.float32(0.13) * np.sin(angle, out=angle)
        return np.clip(path, 0.0, 1.0, out=path)


def lowpass(hz: Reals, cutoff: float, resonance: float) -> Reals:
    """The gain of two second-order low-passes in a row at `cutoff`; `resonance` is the first one's quality."""
    x = (hz / cutoff) ** 2
    first = 1.0 / np.sqrt((1.0 - x) ** 2 + x / resonance**2)
    second = 1.0 / np.sqrt((1.0 - x) ** 2 + x / 0.6**2)
    gain: Reals = first * second
    return gain


VOICES: dict[str, Voice] = {
    "upright_bass": StringBass(
        StringTone(
            0.23, 200.0, 1900.0, 4.8, 0.70, 420.0, 6e-5, _CORPUS, finger=0.014, finger_hz=(500.0, 2500.0),
            highest_hz=4000.0,
        ),
        release_s=0.11,
    ),
    "electric_bass": StringBass(
        StringTone(
            0.22, 300.0, 3600.0, 7.0, 0.70, 1100.0, 9e-5, _SPLIT_COIL, finger=0.008, finger_hz=(900.0, 3500.0),
            highest_hz=5500.0, pickup_at=0.19,
        ),
        release_s=0.08,
    ),
    "synth_bass": SynthBass(),
    "sub_bass": SubBass(),
    "reese_bass": ReeseBass(),
}  # fmt: skip
