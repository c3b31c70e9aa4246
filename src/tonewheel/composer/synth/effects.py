"""Risers and drops: noise through a moving band and a tone that glides.

No filter moves: half-octave bands of noise are drawn once as endless textures and the sweep
fades from each to the next, so a riser costs two products a sample.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tonewheel import seeds
from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth.envelopes import Samples, fall, rise, samples_of
from tonewheel.composer.synth.oscillators import hertz
from tonewheel.composer.synth.rate import SAMPLE_RATE

DROP_BELOW = 60  # notes under this pitch fall after their start, others rise to their end
_LOOP = 65_536
_PER_OCTAVE = 2
_CENTRES = tuple(180.0 * 2.0 ** (step / _PER_OCTAVE) for step in range(6 * _PER_OCTAVE + 1))  # Hz
_TILT_DB = -1.2  # an octave: bands of equal power would hiss at the top
_EDGE_S = 0.005
Chances = npt.NDArray[np.float64]
_TAU = 2.0 * np.pi


def render_effects(part: Part, *, tempo: float, samples: int, seed: int) -> Samples:
    """The part's rises and drops: float32 [2, samples] at SAMPLE_RATE, before the mix.

    A note of pitch 60 and up is a rise from its start to its end, where it is cut; a lower one a drop that dies
    away over the note. `tempo` in quarter notes a minute. A tone glides to (drop: falls to) the note's pitch.
    """
    out = np.zeros((2, samples), np.float32)
    per_quarter = SAMPLE_RATE * 60.0 / tempo
    at, values = np.array(part.brightness, np.float64).T
    rng = seeds.noise(seed, "effects", part.id)
    for note in sorted(part.notes):
        start, end = round(note.start * per_quarter), round(note.end * per_quarter)
        n = max(end - start, samples_of(0.05))
        chance = rng.random(6)
        open_ = float(np.clip(0.4 + 0.45 * (note.velocity / 127.0) + 0.3 * np.interp(note.end, at, values), 0.0, 1.2))
        if note.pitch < DROP_BELOW:
            sound = _drop(note, n, open_, chance)
        else:
            sound = _rise(note, n, open_, per_quarter, chance)
            start = end - n
        sound *= np.float32((note.velocity / 127.0) ** 1.3)
        first, last = max(start, 0), min(start + n, samples)
        if last > first:
            out[:, first:last] += sound[:, first - start : last - start]
            if start + n > samples:
                edge = min(samples_of(_EDGE_S), last - first)
                out[:, last - edge : last] *= fall(edge)
    return out


def _rise(note: Note, n: int, open_: float, per_quarter: float, chance: Chances) -> Samples:
    u = np.linspace(0.0, 1.0, n, dtype=np.float32)
    sound = _noise(1.2 + (3.6 + open_) * u ** np.float32(1.3), chance)
    to_end = np.arange(n, 0, -1, dtype=np.float32) / np.float32(per_quarter)
    pulse = np.float32(0.5) - np.float32(0.5) * np.cos(np.float32(_TAU * 4.0) * (to_end % 1.0))
    sound *= 1.0 - np.clip(u - 0.4, 0.0, 1.0) * pulse  # sixteenths that grow in
    tone = _tone(note.pitch - 24.0 * (1.0 - u) ** np.float32(1.5), 5)
    sound += np.float32(0.09) * tone * u
    sound *= (np.exp(np.float32(3.6) * u) - 1.0) / np.float32(np.exp(3.6) - 1.0)
    edge = min(samples_of(_EDGE_S), n)
    sound[:, n - edge :] *= fall(edge)
    return sound


def _drop(note: Note, n: int, open_: float, chance: Chances) -> Samples:
    u = np.linspace(0.0, 1.0, n, dtype=np.float32)
    sound = _noise((4.4 + open_) - 4.2 * u ** np.float32(0.6), chance)
    sound *= np.float32(0.6) * np.exp(np.float32(-4.5) * u)
    floor = 24.0 + (note.pitch - 24.0) % 12.0  # 32-62 Hz, in the key of the note
    sub = _tone(floor + 26.0 * np.exp(np.float32(-7.0) * u), 2)
    sound += np.float32(0.5) * sub * np.exp(np.float32(-3.2) * u)
    edge, tail = min(samples_of(0.003), n), max(n // 4, 1)
    sound[:, :edge] *= rise(edge)
    sound[:, n - tail :] *= fall(tail)
    return sound


def _noise(place: Samples, chance: Chances) -> Samples:
    """Noise [2, n] whose band lies at `place` [n], in octaves above the lowest band."""
    bands = _bands()
    out = np.zeros((2, place.size), np.float32)
    place = np.clip(place * np.float32(_PER_OCTAVE), 0.0, len(bands) - 1.0)
    for k, band in enumerate(bands):
        inside = np.flatnonzero(np.abs(place - k) < 1.0)
        if inside.size == 0:
            continue
        first, last = int(inside[0]), int(inside[-1]) + 1
        weight = np.cos(np.abs(place[first:last] - k) * np.float32(np.pi / 2.0))
        np.maximum(weight, 0.0, out=weight)
        for side in range(2):
            offset = int(chance[side] * _LOOP) + first
            shared = int(chance[2] * _LOOP) + first
            both = np.float32(0.8) * _read(band, shared, last - first) + np.float32(0.6) * _read(
                band, offset, last - first
            )
            out[side, first:last] += both * weight
    return out


def _read(band: Samples, at: int, n: int) -> Samples:
    at %= _LOOP
    if at + n <= _LOOP:
        return band[at : at + n]
    return np.take(band, np.arange(at, at + n) % _LOOP)


@lru_cache(maxsize=1)
def _bands() -> Samples:
    """Endless noise [bands, _LOOP], each band about an octave wide with soft edges."""
    hz = np.maximum(np.fft.rfftfreq(_LOOP, 1.0 / SAMPLE_RATE), 1.0)
    rng = seeds.noise(0, "effects", "bands")
    rows = []
    for k, centre in enumerate(_CENTRES):
        shape = np.exp(-0.5 * (np.log2(hz / centre) / 0.7) ** 2)
        shape *= 10.0 ** (_TILT_DB * k / _PER_OCTAVE / 20.0) * 0.3 / np.sqrt(2.0 * np.sum(shape**2)) * _LOOP
        turn = rng.random(hz.size, dtype=np.float32) * np.float32(_TAU)
        spectrum = (shape * np.exp(1j * turn)).astype(np.complex64)
        rows.append(np.fft.irfft(spectrum, _LOOP))
    bands = np.stack(rows).astype(np.float32, copy=False)
    bands.setflags(write=False)
    return bands


def _tone(pitch: Samples, partials: int) -> Samples:
    """A gliding tone [2, n] of a few partials, a little apart left and right; they fade out below the Nyquist."""
    hz = np.float32(hertz(0)) * np.exp2(pitch / np.float32(12.0))
    cycles = np.cumsum(hz, dtype=np.float64) / SAMPLE_RATE
    below = [np.clip((np.float32(17_000.0) - k * hz) / np.float32(3000.0), 0.0, 1.0) for k in range(1, partials + 1)]
    sides = np.zeros((2, pitch.size), np.float32)
    for side, shift in enumerate((0.9985, 1.0015)):
        shifted = cycles * shift
        shifted -= np.floor(shifted)
        turn = np.exp(np.complex64(1j * _TAU) * shifted.astype(np.float32))
        power = turn.copy()
        for k, audible in enumerate(below, start=1):
            sides[side] += power.imag * audible * np.float32(1.0 / k**1.2)
            power *= turn
    return sides + np.float32(0.6) * sides[::-1]
