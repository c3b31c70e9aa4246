"""A bank of decaying partials: everything that is struck or plucked.

A partial is exp((-d + iw)t). Over blocks of B samples it separates into (block, offset in block):
exp(s(mB + j)) = exp(s m B) exp(s j), so a sum of K partials is a matrix product [M, 2K] @ [2K, B]:
some 20 times faster than adding sines, exact in tuning and in decay, and free of loops over samples.
Partials that have died away are left out of later blocks, which makes bright, short-lived spectra cheap.
A digital waveguide (Karplus-Strong) string is linear: its output is this sum too, with partials near the
harmonics and the decays of its loop filter; writing them down directly keeps tuning and damping exact.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.envelopes import Samples
from tonewheel.composer.synth.rate import SAMPLE_RATE

_BLOCK = 256
_INAUDIBLE = math.log(10.0 ** (-76 / 20))  # against each partial's own start
_HIGHEST = 0.45 * SAMPLE_RATE

Reals = npt.NDArray[np.float64]


def ring(hz: Reals, t60: Reals, amplitudes: npt.NDArray[np.complexfloating], seconds: float) -> Samples:
    """Partials that start together and die away.

    hz [K] frequencies, t60 [K] seconds to lose 60 dB, amplitudes [V, K] complex (|a| = peak level,
    angle = phase of a cosine). Returns float32 [V, seconds * SAMPLE_RATE]. Partials above 0.45 of the
    rate are left out.
    """
    total = max(round(seconds * SAMPLE_RATE), 1)
    keep = (hz < _HIGHEST) & (hz > 0)
    order = np.argsort(-t60[keep], kind="stable")
    hz, t60, amplitudes = hz[keep][order], t60[keep][order], amplitudes[:, keep][:, order]
    variants = amplitudes.shape[0]
    turns = hz / SAMPLE_RATE
    rate = -math.log(1000.0) / (t60 * SAMPLE_RATE)  # natural log per sample
    blocks = -(-total // _BLOCK)
    offsets = _oscillations(turns, rate, np.arange(_BLOCK))  # [B, K] complex64
    inside = np.concatenate([offsets.real.T, -offsets.imag.T])  # [2K, B]
    count = len(hz)
    out = np.zeros((variants, blocks, _BLOCK), np.float32)
    life = _INAUDIBLE / rate / _BLOCK  # blocks a partial can be heard for
    start = 0
    while start < blocks:
        alive = int(np.searchsorted(-life, -float(start), side="left"))
        if alive == 0:
            break
        stop = min(blocks, max(start * 2, start + 8))
        at = _oscillations(turns[:alive], rate[:alive], np.arange(start, stop) * _BLOCK)  # [M, k]
        weights = amplitudes[:, None, :alive].astype(np.complex64) * at  # [V, M, k]
        rows = np.concatenate([weights.real, weights.imag], axis=2).reshape(-1, 2 * alive)
        columns = inside if alive == count else np.concatenate([inside[:alive], inside[count : count + alive]])
        out[:, start:stop] = (rows @ columns).reshape(variants, stop - start, _BLOCK)
        start = stop
    return out.reshape(variants, -1)[:, :total]


def _oscillations(turns: Reals, rate: Reals, at: npt.NDArray[np.integer]) -> npt.NDArray[np.complex64]:
    """exp((rate + 2 pi i turns) at) as [len(at), K]; the phase is wrapped in float64, so it stays exact."""
    phase = np.multiply.outer(at.astype(np.float64), turns)
    phase -= np.rint(phase)
    angle = phase.astype(np.float32)
    angle *= np.float32(2 * math.pi)
    size = np.exp(np.multiply.outer(at.astype(np.float32), rate.astype(np.float32)))
    out = np.empty(angle.shape, np.complex64)
    np.multiply(np.cos(angle), size, out=out.real)
    np.multiply(np.sin(angle), size, out=out.imag)
    return out


def phasors(levels: Reals, angles: Reals) -> npt.NDArray[np.complex64]:
    """Complex amplitudes of the given peak levels and phases (broadcast together)."""
    return np.asarray(levels * np.exp(1j * angles), dtype=np.complex64)
