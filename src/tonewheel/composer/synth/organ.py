"""Organs and reeds: the tonewheel organ with its rotary speaker, the pipe organ, the accordion."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.bank import phasors
from tonewheel.composer.synth.envelopes import Samples, decay, fall, rise, samples_of
from tonewheel.composer.synth.oscillators import Reals, hertz, lines, loop_size, noise_burst, sine, turns
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.rotary import CROSSOVER_HZ, control_points, rotary, switch
from tonewheel.composer.synth.voice import Event, Layers, Stage, Voice
from tonewheel.seeds import noise

# The gear pairs of the twelve notes from C (driving / driven teeth); the shaft turns 20 times a second.
# Every tone of the organ is a wheel of 2, 4, ... 128 or 192 teeth on one of them: all within a cent.
_GEARS = (
    (85, 104), (71, 82), (67, 73), (105, 108), (103, 100), (84, 77),
    (74, 64), (98, 80), (96, 74), (88, 64), (67, 46), (108, 70),
)  # fmt: skip
_FIRST_WHEEL_PITCH = 24  # wheel 1 is C1
_DRAWBARS = (-12, 7, 0, 12, 19, 24, 28, 31, 36)  # semitones of 16' 5⅓' 8' 4' 2⅔' 2' 1⅗' 1⅓' 1'
_REGISTRATIONS = ("848300000", "888876568")  # mellow and full; a shade between them is a pull on the bars
_STOP_DB = 3.0  # a step of a drawbar


def wheel_hz(wheel: int) -> float:
    """The frequency of tonewheel 1-91."""
    note, octave = (wheel - 1) % 12, (wheel - 1) // 12
    if octave == 7:  # wheels of 192 teeth on the gears a fifth below
        driving, driven = _GEARS[note + 5]
        return 20.0 * 192.0 * driving / driven
    driving, driven = _GEARS[note]
    return 20.0 * float(2 << octave) * driving / driven


def drawbar_wheel(pitch: int, semitones: int) -> int:
    """The wheel a drawbar sounds for a key, folded back by octaves at both ends as the organ is wired."""
    wheel = pitch - _FIRST_WHEEL_PITCH + 1 + semitones
    while wheel < 13:
        wheel += 12
    while wheel > 91:
        wheel -= 12
    return wheel


class DrawbarOrgan(Voice):
    """Nine drawbars on free-running wheels, leakage of their neighbours, key click, percussion; the two
    channels of a note are the drum's and the horn's share, which `finish` sends through the cabinet."""

    loop = True
    attack_s, release_s = 0.004, 0.012
    dynamics = 0.5
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.45, 1.1
    noise_level = 0.05
    percussion_s = 0.45

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        size, cycles = loop_size(wheel_hz(drawbar_wheel(pitch, 0)) / 2, 2.2)
        bin_hz = wheel_hz(drawbar_wheel(pitch, 0)) / 2 / cycles
        wheels = [drawbar_wheel(pitch, s) for s in _DRAWBARS]
        leaking = [w + step for w in wheels for step in (-1, 1) if 13 <= w + step <= 91]
        hz = np.array(
            [wheel_hz(w) for w in wheels] + [2 * wheel_hz(w) for w in wheels] + [wheel_hz(w) for w in leaking]
        )
        bins = np.rint(hz / bin_hz).astype(np.int64)
        angles = rng.random(len(hz)) * 2 * np.pi
        taper = 10 ** (-0.010 * np.maximum(np.array(wheels) - 60, 0) * 1.2)  # the high wheels are weaker
        rows = []
        lower, upper = _crossover(hz)
        for registration in _REGISTRATIONS:
            drawn = np.array([10 ** (_STOP_DB * (int(d) - 8) / 20) if d != "0" else 0.0 for d in registration]) * taper
            leaks = np.full(len(leaking), 0.004 * drawn.sum() ** 0.5)
            levels = np.concatenate([drawn, drawn * 0.012, leaks]) * (0.16 / math.sqrt((drawn**2).sum()))
            rows.append(phasors(np.stack([levels * lower, levels * upper]), angles))
        loops = lines(size, bins, np.concatenate(rows)).reshape(len(_REGISTRATIONS), 2, size)
        return Layers(loops, self._transients(pitch, rng))

    def _transients(self, pitch: int, rng: np.random.Generator) -> Samples:
        """Four key clicks and the percussion (row 4)."""
        n = samples_of(self.percussion_s)
        out = np.zeros((5, n), np.float32)
        click = samples_of(0.012)
        out[:4, :click] = noise_burst(rng, click, 4, 900.0, 4500.0) * decay(click, 0.011)
        out[4] = sine(turns(wheel_hz(drawbar_wheel(pitch, 12)), n)) * decay(n, self.percussion_s)
        return out

    def variant_weights(self, event: Event, variants: int) -> list[list[float]]:
        level = self.level(event)
        return [[level, 0.0], [0.0, level]]

    def play(self, layers: Layers, event: Event) -> Samples:
        n = event.held + self.release_samples(event)
        out = self.mixed(layers, event, int(event.chance[0] * layers.length), n)
        self.shape(out, event)
        self._strike(out, layers.noises, event)
        return out

    def _strike(self, out: Samples, transients: Samples | None, event: Event) -> None:
        assert transients is not None
        n = min(transients.shape[1], event.held)
        shade = self.shade(event, event.brightness)
        level = self.level(event)
        accent = level * 0.11 * max(1.0 - 1.6 * abs(shade - 0.35), 0.0)
        low, high = _crossover(np.array([hertz(event.pitch + 12)]))
        pick = int(event.chance[2] * 4)
        click = min(n, samples_of(0.012))
        out[1, :click] += transients[pick, :click] * np.float32(level * self.noise_level * (0.5 + event.chance[3]))
        if accent > 0:
            struck = transients[4, :n] * np.float32(accent)
            edge = min(n, 256)
            struck[n - edge :] *= fall(edge)
            out[0, :n] += struck * np.float32(low[0])
            out[1, :n] += struck * np.float32(high[0])

    def finish(self, stem: Samples, stage: Stage) -> Samples:
        """The valve amplifier, then the cabinet."""
        for first in range(0, stem.shape[1], 65_536):
            block = stem[:, first : first + 65_536]
            np.tanh(block, out=block)
        at = control_points(stem.shape[1])
        start = float(noise(stage.seed, stage.part.id, "rotary").random())
        return rotary(stem, switch(stage.brightness(at.astype(np.float32))), start)


def _crossover(hz: Reals) -> tuple[Reals, Reals]:
    """Amplitudes to drum and horn; their powers add up to one."""
    ratio = (hz / CROSSOVER_HZ) ** 4
    return 1.0 / np.sqrt(1.0 + ratio), np.sqrt(ratio / (1.0 + ratio))


class PipeOrgan(Voice):
    """Ranks of pipes, each with its own harmonics and a tuning of its own by a hair; the shades are stops:
    flutes, principals, the full organ with mixture and reed. Each pipe speaks with a chiff."""

    loop = True
    attack_s, release_s = 0.045, 0.16
    dynamics = 0.5
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.4, 1.1
    spread, keyboard_pan = 0.45, 0.25
    noise_level = 0.030
    # per shade: (octave as a ratio, level, fall of the harmonics: power, weight of the even ones)
    stops: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
        ((1.0, 1.0, 2.6, 0.3), (2.0, 0.22, 2.6, 0.3)),
        ((1.0, 1.0, 1.6, 0.8), (2.0, 0.5, 1.7, 0.8), (3.0, 0.12, 2.0, 0.8), (4.0, 0.2, 2.0, 0.8)),
        (
            (0.5, 0.6, 1.8, 0.7), (1.0, 1.0, 1.05, 0.95), (2.0, 0.6, 1.5, 0.8), (3.0, 0.28, 1.8, 0.8),
            (4.0, 0.42, 1.8, 0.8), (6.0, 0.2, 2.0, 0.8), (8.0, 0.2, 2.0, 0.8),
        ),
    )  # fmt: skip

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        size, cycles = loop_size(hz / 2, 2.2)
        ranks = sorted({stop[0] for stops in self.stops for stop in stops})
        harmonics = [np.arange(1, min(max(int(9000.0 / (hz * r)), 1), 48) + 1) for r in ranks]
        bins, angles = [], []
        for ratio, k in zip(ranks, harmonics, strict=True):
            phases = rng.random(len(k)) * 2 * np.pi
            for take in range(2):
                cents = rng.uniform(-1.3, 1.3) if ratio != 1.0 else 0.0
                bins.append(np.rint(2 * cycles * ratio * 2 ** (cents / 1200) * k).astype(np.int64))
                angles.append(phases + 0.5 * take * np.minimum(k - 1, 3))
        rows = [self._registration(stops, ranks, harmonics, take) for stops in self.stops for take in range(2)]
        loops = lines(size, np.concatenate(bins), phasors(np.stack(rows), np.concatenate(angles)))
        n = samples_of(0.09)
        chiff = noise_burst(rng, n, 4, min(hz * 2, 5000.0), min(hz * 8, 9000.0)) * (decay(n, 0.09) * rise(n))
        return Layers(loops.reshape(len(self.stops), 2, size), chiff)

    @staticmethod
    def _registration(
        stops: tuple[tuple[float, float, float, float], ...],
        ranks: list[float],
        harmonics: list[npt.NDArray[np.int64]],
        take: int,
    ) -> Reals:
        """The levels of all pipes of all ranks when `stops` are drawn, for one take (the other's are 0)."""
        drawn = {ratio: (level, power, even) for ratio, level, power, even in stops}
        levels = []
        for ratio, k in zip(ranks, harmonics, strict=True):
            level, power, even = drawn.get(ratio, (0.0, 1.0, 1.0))
            pipe = level * np.where(k % 2 == 0, even, 1.0) / k**power
            levels += [pipe * (take == 0), pipe * (take == 1)]
        every = np.concatenate(levels)
        scaled: Reals = every * (0.18 / np.sqrt(np.sum(every**2)))
        return scaled


class Accordion(Voice):
    """Three reeds of the musette: one true, one above, one below; the bellows breathe."""

    loop = True
    attack_s, release_s = 0.03, 0.07
    dynamics = 0.8
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.6, 0.7
    spread, keyboard_pan = 0.4, 0.3
    noise_level = 0.012
    cents = (0.0, 9.0, -7.0)
    reeds = (1.0, 0.55, 0.45)

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        size, cycles = loop_size(hz, 2.8)
        k = np.arange(1, max(min(int(11_000.0 / hz), 60), 2) + 1)
        bins = np.concatenate([np.rint(cycles * k * 2 ** (c / 1200)).astype(np.int64) for c in self.cents])
        angles = rng.random((1, len(bins))) * 2 * np.pi + rng.normal(0, 0.6, (2, len(bins)))
        box = 1.0 + 1.2 * np.exp(-0.5 * (np.log2(hz * k / 900.0) / 0.6) ** 2)
        box += 0.9 * np.exp(-0.5 * (np.log2(hz * k / 2400.0) / 0.4) ** 2)
        rows = []
        for power in (1.5, 0.75):
            one = box / k**power / (1.0 + (hz * k / 6000.0) ** 4)
            levels = np.concatenate([one * weight for weight in self.reeds])
            levels *= 0.18 / np.sqrt(np.sum(levels**2))
            rows.append(phasors(levels, angles))
        n = samples_of(0.05)
        return Layers(
            lines(size, bins, np.concatenate(rows)).reshape(2, 2, size),
            noise_burst(rng, n, 3, 600.0, 5000.0) * (decay(n, 0.05) * rise(n)),
        )

    def shape(self, out: Samples, event: Event) -> None:
        super().shape(out, event)
        if event.held > samples_of(0.4):  # the arm is not a machine
            at = np.arange(out.shape[1], dtype=np.float32)
            at *= np.float32(2 * math.pi * (2.2 + 1.6 * event.chance[6]) / SAMPLE_RATE)
            at += np.float32(6.28 * event.chance[7])
            out *= np.float32(1.0) + np.float32(0.05) * np.sin(at, out=at)


VOICES: dict[str, Voice] = {
    "drawbar_organ": DrawbarOrgan(),
    "church_organ": PipeOrgan(),
    "accordion": Accordion(),
}
