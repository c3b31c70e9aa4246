"""Filters drawn in the frequency domain, applied to whole stems in blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tonewheel.composer.synth.envelopes import Samples
from tonewheel.composer.synth.oscillators import Reals
from tonewheel.composer.synth.rate import SAMPLE_RATE

_TAPS = 1024
_BLOCK = 8192 - _TAPS


def filtered(sound: Samples, gain: Callable[[Reals], Reals]) -> Samples:
    """`sound` [C, n] through the minimum-phase filter whose gain at each frequency is `gain(hz)`: overlap-add,
    in place."""
    size = _BLOCK + _TAPS
    response = np.fft.rfft(minimum_phase(gain), size)
    ringing = np.zeros((sound.shape[0], _TAPS), np.float32)
    for first in range(0, sound.shape[1], _BLOCK):
        block = sound[:, first : first + _BLOCK]
        n = block.shape[1]
        if not (block.any() or ringing.any()):
            continue
        wet = np.fft.irfft(np.fft.rfft(block, size, axis=1) * response, size, axis=1)
        wet[:, :_TAPS] += ringing
        block[:] = wet[:, :n]
        ringing[:] = wet[:, n : n + _TAPS]
    return sound


def minimum_phase(gain: Callable[[Reals], Reals]) -> Samples:
    """The impulse response [1024] with that gain and the least delay (real cepstrum folded)."""
    size = _TAPS * 4
    hz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE).astype(np.float64)
    cepstrum = np.fft.irfft(np.log(np.maximum(gain(hz), 1e-5)), size)
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    response = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:_TAPS]
    response[-_TAPS // 4 :] *= np.linspace(1.0, 0.0, _TAPS // 4)
    return response.astype(np.float32)
