"""The sum made into a record: tone, tape, compression, loudness and true peak."""

from __future__ import annotations

import math

import numpy as np

from tonewheel.audio.loudness import integrated_lufs
from tonewheel.composer.mix.dynamics import compress, limit
from tonewheel.composer.mix.filters import Curve, Samples, equalise
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.seeds import noise
from tonewheel.styles.schema import Master

TARGET_LUFS = -14.0
CEILING_DBTP = -2.0  # what is promised is -1: lossy encoders overshoot by up to about 0.8 dB
_TOLERANCE_LU = 0.15


def master(mix: Samples, style: Master, seed: int, fade_s: float = 0.6) -> None:
    """Bring the mix [2, n] to -14 LUFS and at most -1 dBTP, in place."""
    if not mix.any():
        return
    if style.tape_wow > 0:
        _wow(mix, style.tape_wow, seed)
    equalise(mix, Curve(highpass=26.0, lowpass=style.lowpass, tilt_db=style.tilt_db))
    _to_rms(mix, 0.12)
    if style.saturation > 0:
        drive = np.float32(0.4 + 1.2 * style.saturation)
        mix *= drive
        np.tanh(mix, out=mix)
        mix /= drive
    compress(mix, style.compression)
    if style.crackle > 0:
        _crackle(mix, style.crackle, seed)
    _fade(mix, fade_s)
    _finish_level(mix)


def _to_rms(mix: Samples, rms: float) -> None:
    power = sum(float(np.dot(row, row)) for row in mix) / mix.size
    mix *= np.float32(rms / max(math.sqrt(power), 1e-9))


def _finish_level(mix: Samples) -> None:
    """Gain and limiter in turn: limiting lowers the loudness, so it is made up and limited again."""
    ceiling = 10 ** (CEILING_DBTP / 20)
    for _ in range(5):
        error = TARGET_LUFS - integrated_lufs(mix.T, SAMPLE_RATE)
        if not np.isfinite(error):
            return
        peak = max(float(mix.max()), -float(mix.min()))
        if abs(error) < _TOLERANCE_LU and peak <= ceiling:
            break
        mix *= np.float32(10 ** (error / 20))
        limit(mix, ceiling)
    limit(mix, ceiling)


def _fade(mix: Samples, seconds: float) -> None:
    """A short fade at either end: the file starts and ends at zero."""
    head = min(64, mix.shape[1])
    mix[:, :head] *= np.linspace(0.0, 1.0, head, dtype=np.float32)
    tail = min(int(seconds * SAMPLE_RATE), mix.shape[1])
    if tail:
        mix[:, -tail:] *= np.cos(np.linspace(0.0, np.pi / 2, tail, dtype=np.float32)) ** 2


def _wow(mix: Samples, amount: float, seed: int) -> None:
    """Slow pitch drift of worn tape: the read position moves by up to about 1.2 ms, in place, by blocks."""
    n = mix.shape[1]
    rng = noise(seed, "wow")
    phase = rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
    depth = 0.0012 * SAMPLE_RATE * amount
    keep = int(2 * depth) + 4
    span = 1 << 17
    before = np.zeros((2, keep), dtype=np.float32)
    for start in range(0, n, span):
        stop = min(n, start + span)
        source = np.concatenate([before, mix[:, start:stop]], axis=1)
        t = (np.arange(start, stop) / SAMPLE_RATE).astype(np.float32)
        delay = np.ones_like(t)
        for weight, hz, p in zip((0.55, 0.3, 0.15), (0.55, 1.3, 4.1), phase, strict=True):
            delay += np.float32(weight) * np.sin(np.float32(2 * np.pi * hz) * t + p)
        delay *= np.float32(depth)
        # Whole and fractional samples apart: float32 cannot hold both over a long block.
        back = np.ceil(delay)
        part = back - delay
        whole = np.arange(keep - 1, keep - 1 + t.size) - back.astype(np.intp)
        before = source[:, -keep:].copy()
        for channel in range(2):
            row = source[channel]
            mix[channel, start:stop] = row[whole] * (1 - part) + row[whole + 1] * part


def _crackle(mix: Samples, amount: float, seed: int) -> None:
    """Dust: sparse clicks of random size under a breath of hiss, at about -50 dB under the music."""
    n = mix.shape[1]
    rng = noise(seed, "crackle")
    level = float(np.sqrt(np.mean(np.square(mix[:, : SAMPLE_RATE * 30], dtype=np.float32)))) * amount
    count = int(n / SAMPLE_RATE * 9)
    at = rng.integers(0, max(1, n - 64), count)
    size = (level * 0.5 * rng.lognormal(0.0, 0.8, count)).clip(0, level * 3)
    click = (np.exp(-np.arange(48) / 9.0) * np.cos(np.arange(48) * 1.1)).astype(np.float32)
    pan = rng.uniform(0.3, 1.0, (count, 2))
    for where, how_loud, sides in zip(at.tolist(), size.tolist(), pan.tolist(), strict=True):
        piece = mix[:, where : where + click.size]
        shape = click[: piece.shape[1]] * np.float32(how_loud)
        piece[0] += shape * np.float32(sides[0])
        piece[1] += shape * np.float32(sides[1])
    span = 1 << 18
    for start in range(0, n, span):
        block = mix[:, start : start + span]
        block += rng.standard_normal(block.shape, dtype=np.float32) * np.float32(level * 0.006)
