"""Struck bars and bells: a handful of partials each, tuned as the makers tune them.

A free bar rings at 1 : 2.76 : 5.40 : 8.93; makers of marimbas and vibraphones undercut it to 1 : 4 : about 10
(Fletcher and Rossing, The Physics of Musical Instruments, ch. 19). Bells are tuned to a hum, prime, tierce,
quint and nominal; here the tierce is left out, which would quarrel with major chords.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.envelopes import Samples, decay, samples_of
from tonewheel.composer.synth.keys import level_tremolo
from tonewheel.composer.synth.oscillators import hertz, noise_burst
from tonewheel.composer.synth.voice import TAKES_APART, Layers, Stage, Voice
from tonewheel.seeds import noise


@dataclass(frozen=True)
class Bar:
    """Partials as (ratio, level soft, level hard, decay as a share of the fundamental's)."""

    partials: tuple[tuple[float, float, float, float], ...]
    t60: float  # of the fundamental at MIDI 60
    t60_octave: float
    knock: float  # the mallet's noise at its hardest
    knock_hz: tuple[float, float]
    split_hz: float = 0.35  # each partial is two, this far apart: bars are never quite alike along both axes


class Struck(Voice):
    """A bar or bell."""

    dynamics = 1.3
    spread = 0.4
    keyboard_pan = 0.3
    release_db = 40.0
    low_velocity_shade, velocity_shade = 0.05, 0.8

    def __init__(self, bar: Bar, *, release_s: float, tremolo_hz: float = 0.0, tremolo_depth: float = 0.0) -> None:
        self.bar = bar
        self.release_s = release_s
        self.tremolo_hz = tremolo_hz
        self.tremolo_depth = tremolo_depth

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        bar, base = self.bar, hertz(pitch)
        ratio, soft, hard, share = (np.array(column) for column in zip(*bar.partials, strict=True))
        first = bar.t60 * bar.t60_octave ** ((pitch - 60) / 12.0)
        count = len(ratio)
        astray = 1.0 + 0.004 * rng.normal(0, 1, count) * (ratio != 1.0)
        hz = base * ratio * astray
        t60 = first * share
        pair_hz = np.concatenate([hz, hz + bar.split_hz * np.sqrt(ratio) * np.where(ratio == 1.0, 0.0, 1.0)])
        pair_t60 = np.concatenate([t60, t60 * 0.7])
        tilt = 10 ** (rng.normal(0, 2.0, (2, 2 * count)) / 20)
        tilt[:, 0] = tilt[:, count] = 1.0
        angles = rng.normal(0, 0.8, (2, 2 * count)) * np.concatenate([ratio > 1, ratio > 1]) - np.pi / 2 + TAKES_APART
        loud = 0.3 * 1.12 ** ((pitch - 60) / 12.0)  # the short notes of the treble would be lost
        rows = [phasors(np.concatenate([level * 0.7, level * 0.3]) * tilt * loud, angles) for level in (soft, hard)]
        n = min(seconds, first * 1.15)
        takes = ring(pair_hz, pair_t60, np.concatenate(rows), n).reshape(2, 2, -1)
        self._knock(takes, rng)
        return Layers(takes)

    def _knock(self, takes: Samples, rng: np.random.Generator) -> None:
        n = min(samples_of(0.025), takes.shape[2])
        knock = noise_burst(rng, n, 2, *self.bar.knock_hz) * decay(n, 0.03)
        takes[0, :, :n] += knock * np.float32(self.bar.knock * 0.25)
        takes[1, :, :n] += knock * np.float32(self.bar.knock)

    def finish(self, stem: Samples, stage: Stage) -> Samples:
        if not self.tremolo_hz:
            return stem
        start = float(noise(stage.seed, stage.part.id, "motor").random())
        return level_tremolo(stem, self.tremolo_hz, self.tremolo_depth, start)


_VIBRAPHONE = Bar(
    ((1.0, 1.0, 0.9, 1.0), (3.98, 0.04, 0.34, 0.45), (10.05, 0.003, 0.12, 0.15), (17.9, 0.0, 0.04, 0.07)),
    8.0, 0.70, 0.020, (700.0, 3500.0),
)  # fmt: skip
_MARIMBA = Bar(
    ((1.0, 1.0, 0.9, 1.0), (3.93, 0.05, 0.34, 0.35), (9.4, 0.006, 0.14, 0.16), (16.5, 0.0, 0.05, 0.08)),
    1.25, 0.62, 0.045, (350.0, 2200.0),
)  # fmt: skip
_GLOCKENSPIEL = Bar(
    ((1.0, 1.0, 0.85, 1.0), (2.757, 0.08, 0.45, 0.6), (5.404, 0.02, 0.28, 0.35), (8.93, 0.0, 0.10, 0.2)),
    7.0, 0.70, 0.030, (3500.0, 12000.0), 1.1,
)  # fmt: skip
_BELLS = Bar(
    (
        (0.5, 0.10, 0.12, 1.2), (1.0, 1.0, 0.8, 1.0), (2.0, 0.32, 0.55, 0.75), (2.51, 0.06, 0.20, 0.55),
        (3.01, 0.10, 0.26, 0.5), (4.02, 0.05, 0.24, 0.38), (5.43, 0.01, 0.14, 0.28), (6.8, 0.0, 0.09, 0.2),
        (8.21, 0.0, 0.06, 0.15),
    ),
    6.5, 0.78, 0.015, (1500.0, 7000.0), 0.7,
)  # fmt: skip

VOICES: dict[str, Voice] = {
    "vibraphone": Struck(_VIBRAPHONE, release_s=0.9, tremolo_hz=5.2, tremolo_depth=0.28),
    "marimba": Struck(_MARIMBA, release_s=0.8),
    "glockenspiel": Struck(_GLOCKENSPIEL, release_s=1.6),
    "bells": Struck(_BELLS, release_s=2.4),
}
