"""Filters as short minimum-phase FIRs, applied by overlap-add.

A stem's whole equaliser (high-pass, low-pass, bells, shelves) is one magnitude curve, so it costs one
convolution a channel whatever it holds. Minimum phase keeps transients free of pre-ringing. Only
numpy.fft is used: importing scipy.signal would cost more than all filters of a song.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.fourier import rfft
from tonewheel.composer.synth.rate import SAMPLE_RATE

Samples = NDArray[np.float32]
_TAPS = 2048  # resolves 22 Hz: enough for a 12 dB/octave high-pass at 26 Hz
_FFT = 16384
_HOP = _FFT - _TAPS
CHUNK = 8 * _HOP  # samples a piece: temporaries stay in the cache (measured best of 1-24 blocks)


@dataclass(frozen=True, slots=True)
class Bell:
    """A bell of `gain_db` at `hz`, `octaves` wide."""

    hz: float
    gain_db: float
    octaves: float = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """An equaliser as a magnitude curve; 0 switches a filter off. `tilt_db` is the gain at 10 kHz,
    its opposite at 40 Hz, straight over log frequency."""

    highpass: float = 0.0
    lowpass: float = 0.0
    bells: tuple[Bell, ...] = ()
    tilt_db: float = 0.0

    @property
    def flat(self) -> bool:
        return not (self.highpass or self.lowpass or self.bells or self.tilt_db)


def magnitude(curve: Curve, hz: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear gain of `curve` at `hz`. Passes are second-order Butterworth."""
    f = np.maximum(hz, 1e-3)
    gain = np.ones_like(f)
    if curve.highpass:
        gain /= np.sqrt(1.0 + (curve.highpass / f) ** 4)
    if curve.lowpass:
        gain /= np.sqrt(1.0 + (f / curve.lowpass) ** 4)
    db = np.zeros_like(f)
    for bell in curve.bells:
        db += bell.gain_db * np.exp(-0.5 * (np.log2(f / bell.hz) / (bell.octaves / 2)) ** 2)
    if curve.tilt_db:
        # 632 Hz lies midway between 40 Hz and 10 kHz on a log axis, four octaves from either.
        db += curve.tilt_db * np.clip(np.log2(f / 632.5) / 3.98, -1.0, 1.0)
    return np.asarray(gain * 10 ** (db / 20), dtype=np.float64)


@lru_cache(maxsize=64)
def _spectrum(curve: Curve) -> NDArray[np.complex64]:
    """The curve as the spectrum of a minimum-phase FIR of `_TAPS`, ready for `_FFT` blocks."""
    size = 4 * _TAPS
    hz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    log_gain = np.log(np.maximum(magnitude(curve, hz), 1e-4))
    # Minimum phase from the real cepstrum: fold the anticausal half onto the causal one.
    cepstrum = np.fft.irfft(log_gain, size)
    cepstrum[1 : size // 2] *= 2.0
    cepstrum[size // 2 + 1 :] = 0.0
    taps = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)), size)[:_TAPS]
    fade = _TAPS // 4
    taps[-fade:] *= 0.5 + 0.5 * np.cos(np.linspace(0.0, np.pi, fade))
    return np.fft.rfft(taps, _FFT).astype(np.complex64)


class Equaliser:
    """`curve` applied to float32 [channels, n] piece by piece; tails are carried from piece to piece.

    Pieces of `CHUNK` samples (the last may be shorter) make the temporaries fit the processor's cache.
    """

    def __init__(self, curve: Curve, channels: int) -> None:
        self._spectrum = None if curve.flat else _spectrum(curve)
        self._carry = np.zeros((channels, _TAPS), dtype=np.float32)

    @property
    def silent(self) -> bool:
        """Whether nothing of earlier pieces is still to come."""
        return not self._carry.any()

    def process(self, piece: Samples) -> None:
        """The next piece, in place."""
        if self._spectrum is None:
            return
        for channel, carry in zip(piece, self._carry, strict=True):
            _convolve(channel, self._spectrum, carry)


def equalise(samples: Samples, curve: Curve) -> None:
    """Apply `curve` in place to float32 [channels, n] (or [n])."""
    rows = samples.reshape(-1, samples.shape[-1])
    equaliser = Equaliser(curve, rows.shape[0])
    for start in range(0, rows.shape[1], CHUNK):
        equaliser.process(rows[:, start : start + CHUNK])


def _convolve(piece: Samples, spectrum: NDArray[np.complex64], carry: Samples) -> None:
    """Overlap-add of one piece of a channel, in place; `carry` [_TAPS] is the tail, taken and left."""
    n = piece.shape[0]
    blocks = -(-n // _HOP)
    padded = np.zeros((blocks, _HOP), dtype=np.float32)
    padded.reshape(-1)[:n] = piece
    wet = np.fft.irfft(rfft(padded, _FFT) * spectrum, _FFT)
    wet[0, :_TAPS] += carry
    wet[1:, :_TAPS] += wet[:-1, _HOP:]
    piece[:] = wet[:, :_HOP].reshape(-1)[:n]
    # Only whole pieces are followed by another: a short one is the last, its tail is not needed.
    carry[:] = wet[-1, _HOP:]
