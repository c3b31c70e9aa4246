"""Signals made at test time: tones, chords, drum patterns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
RATE = 44_100


def stereo(signal: NDArray[np.floating]) -> Samples:
    return np.repeat(np.asarray(signal, np.float32)[:, None], 2, axis=1)


def tone(hertz: float, seconds: float, amplitude: float = 0.5, rate: int = RATE) -> Samples:
    t = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


@lru_cache(maxsize=512)
def note(pitch: float, seconds: float, partials: int = 6, rate: int = RATE) -> Samples:
    """A struck tone of a bright instrument: partials that fall by 1/n, a soft start, a decay."""
    t = np.arange(round(seconds * rate)) / rate
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    wave = sum(np.sin(2 * np.pi * hertz * n * t) / n for n in range(1, partials + 1) if hertz * n < rate / 2)
    return (0.1 * wave * np.minimum(t / 0.005, 1) * np.exp(-2 * t)).astype(np.float32)


def add(target: Samples, sound: Samples, at_s: float, gain: float = 1.0, rate: int = RATE) -> None:
    start = round(at_s * rate)
    end = min(start + len(sound), len(target))
    if start < end:
        target[start:end] += gain * sound[: end - start]


@lru_cache(maxsize=512)
def hit(kind: str, seed: int = 0, rate: int = RATE) -> Samples:
    rng = np.random.default_rng(seed)
    t = np.arange(round(0.25 * rate)) / rate
    if kind == "kick":
        wave = np.sin(2 * np.pi * (50 * t + 8 * (1 - np.exp(-t * 30)))) * np.exp(-t * 18)
    elif kind == "snare":
        wave = 0.6 * rng.standard_normal(len(t)) * np.exp(-t * 25) + 0.4 * np.sin(2 * np.pi * 190 * t) * np.exp(-t * 20)
    else:
        noise = rng.standard_normal(len(t))
        wave = 0.4 * np.diff(noise, prepend=0) * np.exp(-t * 60)
    return (0.5 * wave).astype(np.float32)


def drums(
    bpm: float, seconds: float, rows: dict[str, str], *, swing: float = 0.5, beats_per_bar: int = 4, rate: int = RATE
) -> Samples:
    """`rows` are step strings of a bar (`x` = hit, `o` = soft); `swing` is the first half's share of two steps."""
    out = np.zeros(round(seconds * rate), np.float32)
    bar_s = beats_per_bar * 60 / bpm
    for kind, row in rows.items():
        for bar in range(int(seconds / bar_s) + 1):
            for step, sign in enumerate(row):
                if sign in "xo":
                    place = step + (2 * swing - 1 if step % 2 else 0)
                    at = bar * bar_s + place * bar_s / len(row)
                    add(out, hit(kind, bar % 4 * 64 + step, rate), at, 1.0 if sign == "x" else 0.4, rate)
    return out


def chords(bpm: float, seconds: float, bars: Sequence[Sequence[int]], *, beats: float = 4, rate: int = RATE) -> Samples:
    """Chords (MIDI pitches), one every `beats` beats."""
    out = np.zeros(round(seconds * rate), np.float32)
    length = beats * 60 / bpm
    for index in range(int(seconds / length) + 1):
        for pitch in bars[index % len(bars)]:
            add(out, note(pitch, length, rate=rate), index * length, rate=rate)
    return out
