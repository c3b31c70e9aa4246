"""What an instrument is, and how a note of it comes to be.

An instrument is a `Voice`. It does the expensive work once a pitch: `build` renders *layers*, a small
stack of float32 takes of that pitch, [shades, variants, n]:

    shades    the same sound from dark to bright, in phase with each other, so that a weighted sum is a
              sound in between. Velocity and the part's brightness choose the mix: timbre, not just level.
    variants  takes that share pitch and the phases of the low partials but not the rest (another
              excitation, other phases of the highs, another drift). Every note mixes them in its own
              proportion, the two channels in slightly different ones: no note is ever the same samples
              twice, and a stem has width without a chorus.

Layers are kept in a bounded cache, seeded by instrument and pitch alone, so they do not depend on who asked
first. A note is then `play`: a [2, L] @ [L, n] product, an envelope on its edges, an addition: some
20 microseconds a second of sound.

To add an instrument, subclass Voice, give it the few numbers below and `build`, and name it in its module's
`VOICES` dict and in registry.py:

    class Flute(Voice):
        loop, attack_s, release_s = True, 0.06, 0.12
        def build(self, pitch, seconds, rng):
            size, cycles = loop_size(hertz(pitch))
            ...
            return Layers(stack([dark, bright]))      # each [variants, size]

Decaying voices (`loop = False`) return layers of about `seconds` (fewer samples when the sound has died
before; the end is faded here) that start with the attack. Sustaining ones (`loop = True`) return a seamless
loop (oscillators.py) of any length; each note starts somewhere in it. Layers should peak around 0.1-0.5 at
full brightness, over the whole range alike; the mix sets the loudness of stems. What the whole stem goes
through (rotary speaker, tremolo, saturation) is `finish`. For more than that, override `play`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tonewheel.composer.score import Part
from tonewheel.composer.synth.envelopes import Samples, adsr, fall, release, rise, samples_of
from tonewheel.composer.synth.rate import SAMPLE_RATE

# Radians between the fundamentals of a decaying voice's two takes: enough that no two notes are alike,
# too little for their sum to thin out.
TAKES_APART = np.array([[-0.2], [0.2]])
Positions = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layers:
    """`samples` float32 [shades, variants, n]. `noises` float32 [k, m]: unpitched takes of the attack
    (key click, breath, finger) of which each note picks a mix, added at its start."""

    samples: Samples
    noises: Samples | None = None

    @property
    def length(self) -> int:
        return int(self.samples.shape[2])

    @property
    def bytes(self) -> int:
        return self.samples.nbytes + (0 if self.noises is None else self.noises.nbytes)


@dataclass(frozen=True, slots=True)
class Event:
    """One note as its player sees it. Lengths in samples; velocity, brightness 0-1; `chance` are uniform
    numbers of the note's own, `turn` one that steps evenly from note to note (0-1): neighbours never agree."""

    pitch: int
    velocity: float
    held: int
    brightness: float
    brightness_end: float
    turn: float
    chance: Sequence[float]
    from_pitch: float | None = None  # glides from here
    legato: bool = False  # joined to the note before it
    glide_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a stem is played: what `finish` may want to know."""

    part: Part
    tempo: float
    seed: int

    def brightness(self, sample: Samples) -> Samples:
        """The part's brightness at the given sample positions."""
        quarters = np.asarray(sample, dtype=np.float64) * (self.tempo / 60.0 / SAMPLE_RATE)
        at, values = zip(*self.part.brightness, strict=True)
        brightness: Samples = np.interp(quarters, at, values).astype(np.float32)
        return brightness


class Voice:
    """One instrument. Class attributes are its nature; all may be overridden."""

    loop = False  # layers are endless (sustaining) or ring out by themselves (decaying)
    monophonic = False  # a new note ends the one before it
    attack_s = 0.0005
    decay_s = 1.0  # to `sustain`, loops only
    sustain = 1.0
    release_s = 0.12  # after note-off, to lose ...
    release_db = 60.0
    dynamics = 1.5  # level = velocity ** dynamics
    low_velocity_shade = 0.08  # the shade at velocity 0 ...
    velocity_shade = 0.72  # ... what full velocity adds ...
    brightness_shade = 0.5  # ... and what brightness 1 adds over 0.5
    spread = 0.25  # how differently left and right mix the variants, 0-0.5
    keyboard_pan = 0.15  # low notes left, high notes right
    noise_level = 0.0
    vibrato_hz = 0.0  # 0 = none; depth in cents to either side, growing in after the delay
    vibrato_cents = 0.0
    vibrato_delay_s = 0.25

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        """Render the layers of `pitch` for notes of up to `seconds` (release included)."""
        raise NotImplementedError

    def finish(self, stem: Samples, stage: Stage) -> Samples:
        """What the whole stem goes through; may work in place. float32 [2, n] -> [2, n]."""
        return stem

    def play(self, layers: Layers, event: Event) -> Samples:
        """One note, float32 [2, n]; n covers the held time and the release."""
        n = event.held + self.release_samples(event)
        start = int(event.chance[0] * layers.length) if self.loop else 0
        at: int | Positions = start
        if not self.loop:
            n = min(n, layers.length)
        bend = self.bend(event, n)
        if bend is not None:
            at = bent_positions(bend, start, None if self.loop else layers.length)
            n = len(at)
        out = self.mixed(layers, event, at, n)
        if self.noise_level and layers.noises is not None:
            self.add_noise(out, layers.noises, event)
        self.shape(out, event)
        return out

    # ── the pieces of `play` ────────────────────────────────────────────────────────────────────

    def release_samples(self, event: Event) -> int:
        return samples_of(self.release_s)

    def level(self, event: Event) -> float:
        return float(event.velocity**self.dynamics)

    def shade(self, event: Event, brightness: float) -> float:
        """Where between the darkest (0) and the brightest (1) layer a note lies."""
        drift = 0.06 * (event.chance[1] - 0.5)
        shade = self.low_velocity_shade + self.velocity_shade * event.velocity**1.3
        return float(min(max(shade + self.brightness_shade * (brightness - 0.5) + drift, 0.0), 1.0))

    def pan(self, event: Event) -> tuple[float, float]:
        """Gains left and right."""
        place = self.keyboard_pan * max(min((event.pitch - 60) / 30.0, 1.0), -1.0)
        return 1.0 - max(place, 0.0), 1.0 + min(place, 0.0)

    def variant_weights(self, event: Event, variants: int) -> list[list[float]]:
        """[2][variants]: how left and right mix the takes."""
        left, right = self.pan(event)
        level = self.level(event)
        if variants == 1:
            return [[left * level], [right * level]]
        rows = []
        for side, gain in ((-0.5, left), (0.5, right)):
            a = 0.5 + (event.turn - 0.5) * (1.0 - self.spread) + side * self.spread
            scale = gain * level / math.sqrt(a * a + (1 - a) * (1 - a) + 1.4 * a * (1 - a))
            rows.append([scale * (1 - a), scale * a] + [0.0] * (variants - 2))
        return rows

    def bend(self, event: Event, n: int) -> Samples | None:
        """The note's deviation from its pitch in semitones, float32 [n], or None when there is none: the
        glide from the note before, then vibrato."""
        bend: Samples | None = None
        if event.from_pitch is not None and event.glide_s > 0:
            left = np.arange(n, dtype=np.float32) * np.float32(-4.0 / (event.glide_s * SAMPLE_RATE))
            bend = np.exp(left, out=left)
            bend *= np.float32(event.from_pitch - event.pitch)
        if self.vibrato_hz > 0 and event.held > samples_of(self.vibrato_delay_s):
            swing = self.vibrato(event, n)
            bend = swing if bend is None else np.add(bend, swing, out=bend)
        return bend

    def vibrato(self, event: Event, n: int) -> Samples:
        """A sine that grows in; rate and depth are the note's own, semitones, float32 [n]."""
        hz = self.vibrato_hz * (0.93 + 0.14 * event.chance[5])
        angle = np.arange(n, dtype=np.float32) * np.float32(2 * math.pi * hz / SAMPLE_RATE)
        swing: Samples = np.sin(angle, out=angle)
        delay, grow = samples_of(self.vibrato_delay_s), samples_of(0.45)
        swing[:delay] = 0.0
        swing[delay : delay + grow] *= rise(grow)[: max(n - delay, 0)]
        swing *= np.float32(self.vibrato_cents / 100.0 * (0.8 + 0.4 * event.chance[6]))
        return swing

    def mixed(self, layers: Layers, event: Event, at: int | Positions, n: int) -> Samples:
        """The layers mixed for this note, [2, n]; moves through the shades if `shade_path` says so."""
        shades, variants, _ = layers.samples.shape
        takes = self.variant_weights(event, variants)
        path = self.shade_path(event, n) if shades > 1 else None
        if path is None:
            place = self.shade(event, event.brightness) * (shades - 1)
            hats = [max(1.0 - abs(place - s), 0.0) for s in range(shades)]
            used = [s for s in range(shades) if hats[s] > 0.0]
            weights = np.array([[hats[s] * w for s in used for w in row] for row in takes], np.float32)
            return read(layers.samples[used[0] : used[-1] + 1], weights, at, n)
        weights = np.array(takes, np.float32)
        up = np.concatenate([-weights, weights], axis=1)
        out = read(layers.samples[:1], weights, at, n)
        for s in range(shades - 1):
            way = path if shades == 2 else np.clip(path * np.float32(shades - 1) - np.float32(s), 0.0, 1.0)
            step = read(layers.samples[s : s + 2], up, at, n)
            step *= way
            out += step
        return out

    def shade_path(self, event: Event, n: int) -> Samples | None:
        """How the shade moves during the note, float32 [n] in 0-1, or None when it stays: a filter
        envelope. Long notes of loops follow the part's brightness."""
        if not self.loop or event.held < SAMPLE_RATE or abs(event.brightness_end - event.brightness) < 0.02:
            return None
        return self.shade_ramp(event, n)

    def shade_ramp(self, event: Event, n: int) -> Samples:
        """From the shade of the note's first brightness to that of its last, float32 [n]."""
        first, last = self.shade(event, event.brightness), self.shade(event, event.brightness_end)
        ramp = np.arange(n, dtype=np.float32)
        ramp *= np.float32((last - first) / event.held)
        ramp += np.float32(first)
        np.clip(ramp, 0.0, 1.0, out=ramp)
        return ramp

    def add_noise(self, out: Samples, noises: Samples, event: Event) -> None:
        """Two of the takes, mixed afresh a note and a channel, at the start."""
        n = min(noises.shape[1], out.shape[1])
        first = int(event.chance[2] * len(noises)) % len(noises)
        pair = noises[[first, (first + 1) % len(noises)], :n]
        level = self.noise_level * self.level(event) * (0.7 + 0.6 * event.chance[3])
        a = 0.2 + 0.6 * event.chance[4]
        weights = np.array([[level * a, level * (1 - a)], [level * (1 - a), level * a]], np.float32)
        out[:, :n] += weights @ pair

    def shape(self, out: Samples, event: Event) -> None:
        """The envelope, in place."""
        n = out.shape[1]
        if self.loop and self.sustain < 1.0:
            out *= adsr(n, event.held, attack_s=self.attack_s, decay_s=self.decay_s, sustain=self.sustain)
            return
        attack = min(samples_of(self.attack_s), n if not self.loop else event.held)
        out[:, :attack] *= rise(attack)
        tail = n - event.held
        if tail > 0:
            out[:, event.held :] *= release(self.release_samples(event), self.release_db)[:tail]


def bent_positions(bend: Samples, start: int, length: int | None) -> Positions:
    """Where to read a layer for a bend in semitones: float64 positions from `start`; cut where a layer of
    `length` ends (None: it is a loop)."""
    ratio = bend * np.float32(math.log(2.0) / 12.0)
    np.exp(ratio, out=ratio)
    positions = np.cumsum(ratio, dtype=np.float64)
    positions += start - positions[0]
    if length is not None and positions[-1] >= length - 3:
        positions = positions[: max(int(np.searchsorted(positions, length - 3)), 1)]
    return positions


def read(layers: Samples, weights: Samples, at: int | Positions, n: int) -> Samples:
    """weights [2, S * V] @ layers [S, V, length] from sample `at` on, wrapping; or at the given rising
    positions, which need not be whole (four-point Hermite interpolation). float32 [2, n]."""
    if isinstance(at, int):
        return _read_whole(layers, weights, at, n)
    first = int(at[0]) - 1
    span = int(at[-1]) - first + 4
    if first < 0:  # the very start of an attack: nothing sounds before it
        line = np.concatenate([np.zeros((2, 1), np.float32), _read_whole(layers, weights, 0, span - 1)], axis=1)
    else:
        line = _read_whole(layers, weights, first % layers.shape[2], span)
    local = at - first
    whole = local.astype(np.int64)
    x = (local - whole).astype(np.float32)
    before, here, after, beyond = (line.take(whole + k, axis=1) for k in (-1, 0, 1, 2))
    slope = np.float32(0.5) * (after - before)
    bend = here - after
    curve = slope + bend
    cubic = curve + bend + np.float32(0.5) * (beyond - here)
    out: Samples = ((cubic * x - (curve + cubic)) * x + slope) * x + here
    return out


def _read_whole(layers: Samples, weights: Samples, start: int, n: int) -> Samples:
    flat = layers.reshape(-1, layers.shape[2])
    length = flat.shape[1]
    if start + n <= length:
        return weights @ flat[:, start : start + n]
    out = np.empty((2, n), np.float32)
    done = 0
    while done < n:
        step = min(n - done, length - start)
        out[:, done : done + step] = weights @ flat[:, start : start + step]
        done, start = done + step, 0
    return out


def stack(shades: Sequence[Samples]) -> Samples:
    """Shades [variants, n] each, dark to bright, as layers [shades, variants, n]."""
    return np.ascontiguousarray(np.stack(shades), dtype=np.float32)


def faded_end(layers: Layers, seconds: float = 0.03) -> Layers:
    """The end of ringing layers faded to zero, in place."""
    n = min(samples_of(seconds), layers.length)
    layers.samples[:, :, layers.length - n :] *= fall(n)
    return layers
