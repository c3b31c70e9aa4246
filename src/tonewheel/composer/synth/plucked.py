"""Plucked strings.

A plucked string is a waveguide whose loop filter damps high partials faster (Karplus and Strong 1983,
Jaffe and Smith 1983). Being linear, it equals a bank of partials, which is how it is rendered here: near
the harmonics (stiffness sharpens the high ones), damped by a law of frequency, weighted by where the string
is plucked, how soft the plectrum is, and the body it is fixed to. Each partial is two, one for each plane
the string swings in: the one across the bridge dies sooner, which gives the natural double decay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.envelopes import Samples, decay, samples_of
from tonewheel.composer.synth.filters import filtered
from tonewheel.composer.synth.oscillators import Reals, hertz, noise_burst
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.voice import TAKES_APART, Event, Layers, Stage, Voice


@dataclass(frozen=True)
class Body:
    """Resonances (hz, quality, gain dB) over a floor; how loud the knock of the pluck on it is."""

    modes: tuple[tuple[float, float, float], ...] = ()
    knock: float = 0.0

    def gain(self, hz: Reals) -> Reals:
        total = np.ones_like(hz, dtype=np.complex128)
        for center, quality, db in self.modes:
            detuning = hz / center - center / hz
            total += (10 ** (db / 20) - 1.0) / (1.0 + 1j * quality * detuning)
        return np.abs(total)


@dataclass(frozen=True)
class StringTone:
    """What makes one plucked instrument different from another."""

    pluck_at: float  # share of the string's length
    soft_hz: float  # the plectrum's low-pass at the darkest ...
    hard_hz: float  # ... and the brightest shade
    t60: float  # of the fundamental at MIDI 52
    t60_octave: float  # factor on it for an octave up
    treble_hz: float  # where a partial's decay is twice as quick
    stiffness: float  # inharmonicity B at MIDI 52
    body: Body
    finger: float = 0.02  # noise of finger or plectrum
    finger_hz: tuple[float, float] = (1500.0, 6000.0)
    highest_hz: float = 11_000.0
    pickup_at: float | None = None  # share of the string's length, for electric ones


class PluckedString(Voice):
    """A string plucked by finger or plectrum, one bank of partials a take."""

    dynamics = 1.4
    spread = 0.4
    keyboard_pan = 0.1

    def __init__(self, tone: StringTone, *, release_s: float = 0.10, velocity_shade: float = 0.75) -> None:
        self.tone = tone
        self.release_s = release_s
        self.velocity_shade = velocity_shade

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz, t60 = self.partials(pitch)
        seconds = min(seconds, float(t60.max()) * 1.1)
        shades = self.excitation(pitch, hz, rng)
        plane = 0.28
        apart = 0.8 + 0.9 * rng.random(len(hz))  # cents
        both_hz = np.concatenate([hz * 2 ** (-0.5 * apart / 1200), hz * 2 ** (apart / 1200)])
        both_t60 = np.concatenate([t60 * 0.62, t60])
        turned = np.tile(phasors(np.array(plane), rng.uniform(-0.9, 0.9, (2, len(hz)))), (2, 1))
        both = np.concatenate([shades * (1 - plane), shades * turned], axis=1)
        takes = ring(both_hz, both_t60, both, seconds).reshape(2, 2, -1)
        self.add_contact(takes, pitch, rng)
        return Layers(takes)

    def partials(self, pitch: int) -> tuple[Reals, Reals]:
        """Frequencies and decay times [K]."""
        tone, base = self.tone, hertz(pitch)
        count = max(int(tone.highest_hz / base), 1)
        k = np.arange(1, count + 1)
        stiff = tone.stiffness * 2 ** ((pitch - 52) / 9.0)
        hz = base * k * np.sqrt((1 + stiff * k**2) / (1 + stiff))
        first = tone.t60 * tone.t60_octave ** ((pitch - 52) / 12.0)
        loss = 1.0 + (hz / tone.treble_hz) ** 1.6
        return hz, first * loss[0] / loss

    def excitation(self, pitch: int, hz: Reals, rng: np.random.Generator) -> npt.NDArray[np.complex64]:
        """Complex amplitudes [shades * variants, K]."""
        tone = self.tone
        k = np.arange(1, len(hz) + 1)
        comb = np.sin(np.pi * k * tone.pluck_at)
        comb = np.sign(comb) * np.maximum(np.abs(comb), 0.08)
        shape = comb / k * tone.body.gain(hz)
        if tone.pickup_at is not None:
            shape = shape * np.sin(np.pi * k * tone.pickup_at) * 1.6
        loose = np.minimum(k / 10.0, 1.0)
        ripple = 10 ** (rng.normal(0.0, 2.5, (2, len(hz))) * loose / 20)
        angles = rng.normal(0.0, 0.9, (2, len(hz))) * loose - np.pi / 2 + TAKES_APART
        cutoffs = [max(plectrum, 1.6 * hz[0]) for plectrum in (tone.soft_hz, tone.hard_hz)]
        soft, hard = (shape / (1.0 + (hz / cutoff) ** 2.2) for cutoff in cutoffs)
        scale = 0.2 * 1.19 ** ((pitch - 52) / 12.0) / np.sqrt(np.sum(hard**2))
        soft = soft * abs(hard[0] / soft[0])  # the same fundamental: shades differ in what is above it
        return np.concatenate([phasors(levels * ripple * scale, angles) for levels in (soft, hard)])

    def add_contact(self, takes: Samples, pitch: int, rng: np.random.Generator) -> None:
        """Finger or plectrum leaving the string, and the body's knock, in place."""
        tone, n = self.tone, takes.shape[2]
        m = min(samples_of(0.03), n)
        scrape = noise_burst(rng, m, 2, *tone.finger_hz) * decay(m, 0.025)
        takes[0, :, :m] += scrape * np.float32(tone.finger * 0.4)
        takes[1, :, :m] += scrape * np.float32(tone.finger)
        if tone.body.knock and tone.body.modes:
            modes = np.array([m[0] for m in tone.body.modes])
            amps = phasors(rng.normal(0, 0.5, (2, len(modes))) + 0.6, np.full(len(modes), -np.pi / 2))
            knock = ring(modes, np.full(len(modes), 0.16), amps, min(0.25, n / SAMPLE_RATE))
            length = min(knock.shape[1], n)
            takes[:, :, :length] += knock[None, :, :length] * np.float32(tone.body.knock)


class Harp(PluckedString):
    """Strings that nobody damps."""

    release_db = 40.0

    def release_samples(self, event: Event) -> int:
        return samples_of(1.1 if event.pitch < 72 else 0.7)


class Pizzicato(PluckedString):
    """A section: each take is several players, a little apart in time and tuning."""

    players = 3

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz, t60 = self.partials(pitch)
        seconds = min(seconds, float(t60.max()) * 1.1)
        out = np.zeros((2, 2, samples_of(seconds)), np.float32)
        for player in range(self.players):
            detune = (0.0, 3.0, -3.0)[player] * (0.7 + 0.6 * rng.random())  # cents
            excited = self.excitation(pitch, hz, rng)
            takes = ring(hz * 2 ** (detune / 1200), t60, excited, seconds).reshape(2, 2, -1)
            takes *= np.float32(0.45 if player else 0.9)
            for v in range(2):
                late = samples_of(0.014 * rng.random()) if player else 0
                out[:, v, late:] += takes[:, v, : out.shape[2] - late]
        self.add_contact(out, pitch, rng)
        return Layers(out)


class OverdrivenGuitar(PluckedString):
    """Each string is driven on its own, so that chords stay clear, then all of them together, then the
    loudspeaker cabinet."""

    drive, amplifier = 9.0, 2.2

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        clean = super().build(pitch, seconds, rng).samples
        gains = np.array([self.drive * 0.45, self.drive], np.float32)[:, None, None]
        np.tanh(clean * gains, out=clean)
        clean *= np.float32(0.3)
        return Layers(clean)

    def finish(self, stem: Samples, stage: Stage) -> Samples:
        for first in range(0, stem.shape[1], 65_536):
            block = stem[:, first : first + 65_536]
            np.tanh(block * np.float32(self.amplifier), out=block)
            block *= np.float32(0.5)
        return filtered(stem, _cabinet)


def _cabinet(hz: Reals) -> Reals:
    """A closed box with 12-inch loudspeakers: a hump at 110 Hz, presence at 2.6 kHz, little above 5."""
    low = 1.0 / np.sqrt(1.0 + (75.0 / np.maximum(hz, 1.0)) ** 6)
    high = 1.0 / np.sqrt(1.0 + (hz / 4800.0) ** 8)
    return low * high * Body(((110.0, 2.0, 4.0), (420.0, 1.2, -4.0), (2600.0, 1.8, 6.0))).gain(np.maximum(hz, 1.0))


_CLASSICAL = Body(((98.0, 14.0, 8.0), (204.0, 16.0, 7.0), (390.0, 9.0, 4.0), (620.0, 6.0, 3.0)), 0.030)
_DREADNOUGHT = Body(((103.0, 14.0, 8.0), (186.0, 15.0, 6.0), (370.0, 8.0, 4.0), (2600.0, 1.4, 5.0)), 0.022)
_PICKUP = Body(((2900.0, 1.8, 6.0),), 0.0)
_HARP_BODY = Body(((180.0, 5.0, 5.0), (330.0, 6.0, 4.0), (540.0, 5.0, 3.0)), 0.012)
_DRUMHEAD = Body(((290.0, 5.0, 7.0), (560.0, 5.0, 9.0), (830.0, 4.0, 8.0), (2300.0, 1.5, 6.0)), 0.05)
_FIDDLES = Body(((110.0, 6.0, 4.0), (275.0, 7.0, 7.0), (460.0, 6.0, 6.0), (900.0, 4.0, 3.0)), 0.035)

VOICES: dict[str, Voice] = {
    "nylon_guitar": PluckedString(StringTone(0.19, 700.0, 6000.0, 5.0, 0.66, 900.0, 4e-5, _CLASSICAL)),
    "steel_guitar": PluckedString(
        StringTone(
            0.14, 1100.0, 11000.0, 6.5, 0.66, 1500.0, 7e-5, _DREADNOUGHT, finger=0.03, finger_hz=(2500.0, 9000.0)
        )
    ),
    "clean_guitar": PluckedString(
        StringTone(
            0.13, 900.0, 8500.0, 7.5, 0.66, 2400.0, 9e-5, _PICKUP, finger=0.012, highest_hz=8000.0, pickup_at=0.16
        )
    ),
    "muted_guitar": PluckedString(
        StringTone(
            0.10, 800.0, 6500.0, 0.55, 0.86, 1300.0, 9e-5, _PICKUP, finger=0.03, highest_hz=7500.0, pickup_at=0.11
        ),
        release_s=0.05,
    ),
    "overdriven_guitar": OverdrivenGuitar(
        StringTone(
            0.12, 1300.0, 6000.0, 10.0, 0.72, 2600.0, 9e-5, _PICKUP, finger=0.01, highest_hz=6000.0, pickup_at=0.13
        ),
        release_s=0.07,
    ),
    "harp": Harp(
        StringTone(0.37, 600.0, 5500.0, 6.0, 0.62, 1500.0, 2e-5, _HARP_BODY, finger=0.006, highest_hz=9000.0)
    ),
    "banjo": PluckedString(
        StringTone(0.08, 1800.0, 11000.0, 1.9, 0.68, 2600.0, 6e-5, _DRUMHEAD, finger=0.04, finger_hz=(3000.0, 9000.0))
    ),
    "pizzicato": Pizzicato(
        StringTone(0.24, 550.0, 4800.0, 1.1, 0.70, 900.0, 5e-5, _FIDDLES, finger=0.012, highest_hz=8000.0)
    ),
}  # fmt: skip
