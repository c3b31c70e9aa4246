"""Loudness, loudness range and true peak (ITU-R BS.1770-4, EBU Tech 3342).

Samples are `[n, channels]` (a mono `[n]` is taken too; any memory order), float32 with full scale at
±1, up to eight channels in the order of WAV files. Nothing here copies a whole song to float64. The tests
hold the meter to pyloudnorm's, which needs scipy (155 MB installed, 0.7 s to import) and so stays out of
the base install.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SILENT = -math.inf
_HOP_S = 0.1  # BS.1770: gating blocks of 400 ms that overlap by 75 %
_ABSOLUTE_GATE = -70.0
_OFFSET = -0.691  # BS.1770 eq. 2: cancels the K weighting at 997 Hz
# BS.1770-4 table 4: 1.41 for loudspeakers at the sides (60-120 degrees), none for the bass channel.
_SIDE, _BASS = 1.41, 0.0
_CHANNEL_GAINS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),
    4: (1.0, 1.0, _SIDE, _SIDE),
    5: (1.0, 1.0, 1.0, _SIDE, _SIDE),
    6: (1.0, 1.0, 1.0, _BASS, _SIDE, _SIDE),
    7: (1.0, 1.0, 1.0, _BASS, 1.0, _SIDE, _SIDE),
    8: (1.0, 1.0, 1.0, _BASS, 1.0, 1.0, _SIDE, _SIDE),
}
# The longest echo of the K filter: its high-pass has two poles at 38 Hz (4.2 ms); 13 time constants
# are -90 dB.
_FILTER_MEMORY_S = 0.055
_HOPS_A_BLOCK = 4  # hops filtered at once: large enough for little overlap, small enough for the cache


def integrated_lufs(samples: Samples, rate: int) -> float:
    """Integrated loudness of `samples [n, channels]` in LUFS, `-inf` for silence.

    The whole BS.1770-4 measure with two-pass gating, filtered by FFT blocks: a minute of stereo in
    about 50 ms. Less than 400 ms counts as one block of its own length.
    """
    return gated_loudness(hop_powers(samples, rate))


def hop_powers(samples: Samples, rate: int) -> NDArray[np.float64]:
    """K-weighted mean square of every 100 ms, channels weighted and added: `[hops]`.

    An unfinished last hop is left out, unless the signal has less than four hops: then it is one hop.
    """
    x = _two_dimensional(samples)
    hop = round(rate * _HOP_S)
    if len(x) < 4 * hop:
        if len(x) == 0:
            return np.zeros(1)
        return np.array([sum(float(s.sum()) for s in _hop_energies(x, rate, len(x), 1)) / len(x)])
    return np.concatenate([e / hop for e in _hop_energies(x, rate, hop, _HOPS_A_BLOCK)])


def gated_loudness(hops: NDArray[np.float64]) -> float:
    """LUFS from `hop_powers`, with the absolute (-70 LUFS) and the relative (-10 LU) gate."""
    blocks = _sliding_mean(hops, 4)
    blocks = blocks[_to_lufs(blocks) >= _ABSOLUTE_GATE]
    if not len(blocks):
        return SILENT
    relative_gate = float(_to_lufs(blocks.mean(keepdims=True))[0]) - 10.0
    return float(_to_lufs(blocks[_to_lufs(blocks) > relative_gate].mean(keepdims=True))[0])


def loudness_range(hops: NDArray[np.float64]) -> float | None:
    """LRA in LU from `hop_powers` (EBU Tech 3342: 3 s windows, gates at -70 LUFS and -20 LU, 10th to
    95th percentile); None when the signal is too short or too quiet to have one."""
    if len(hops) < 30:
        return None
    windows = _sliding_mean(hops, 30)
    windows = windows[_to_lufs(windows) >= _ABSOLUTE_GATE]
    if not len(windows):
        return None
    levels = _to_lufs(windows)
    levels = levels[levels >= float(_to_lufs(windows.mean(keepdims=True))[0]) - 20.0]
    low, high = np.percentile(levels, (10, 95))
    return float(high - low)


def true_peak_dbtp(samples: Samples, rate: int) -> float:
    """The highest peak between the samples in dBTP (BS.1770-4 annex 2, 4 x oversampling), `-inf` for silence.

    Only the neighbours of samples within 6 dB of the highest are interpolated: band-limited signals
    of music do not overshoot by more.
    """
    x = _two_dimensional(samples)
    peak = sample_peak(x)
    if peak == 0.0:
        return SILENT
    factor = 4 if rate < 96_000 else 2 if rate < 192_000 else 1
    highest = peak
    if factor > 1:
        for channel in range(x.shape[1]):
            highest = max([highest, *_peaks_between(x[:, channel], peak / 2, factor)])
    return 20.0 * math.log10(highest)


def sample_peak(samples: Samples) -> float:
    """The highest absolute sample, 0 when there is none."""
    if samples.size == 0:
        return 0.0
    return max(float(samples.max()), -float(samples.min()))


def k_weighting(rate: int, frequencies: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Response of the K filter at `frequencies` in Hz.

    BS.1770 gives coefficients for 48 kHz only; the analogue prototypes that yield exactly those
    (B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145) give
    every other rate.
    """
    z = np.exp(-2j * np.pi * frequencies / rate)

    def biquad(b: tuple[float, float, float], k: float, q: float) -> NDArray[np.complex128]:
        a0 = 1 + k / q + k * k
        a = (1.0, 2 * (k * k - 1) / a0, (1 - k / q + k * k) / a0)
        return np.asarray((b[0] + b[1] * z + b[2] * z * z) / (a[0] + a[1] * z + a[2] * z * z))

    k, q = math.tan(math.pi * 1681.9744509555319 / rate), 0.7071752369554193
    high = 10 ** (3.99984385397 / 20)
    band = high**0.499666774155
    a0 = 1 + k / q + k * k
    shelf = ((high + band * k / q + k * k) / a0, 2 * (k * k - high) / a0, (high - band * k / q + k * k) / a0)
    shelved = biquad(shelf, k, q)
    k, q = math.tan(math.pi * 38.13547087613982 / rate), 0.5003270373253953
    return np.asarray(shelved * biquad((1.0, -2.0, 1.0), k, q))


def _two_dimensional(samples: Samples) -> Samples:
    x = samples[:, None] if samples.ndim == 1 else samples
    if x.ndim != 2 or x.shape[1] not in _CHANNEL_GAINS:
        raise ValueError(f"samples must be [n, channels] with 1 to 8 channels, got shape {samples.shape}")
    return x


def _hop_energies(x: Samples, rate: int, hop: int, hops_a_block: int) -> Iterator[NDArray[np.float64]]:
    """Energy of each whole hop after the K filter, block by block (overlap-save convolution).

    Two channels travel as the real and the imaginary part of one signal: the filter is real, so they
    stay apart and the squared magnitude is their sum.
    """
    memory = round(rate * _FILTER_MEMORY_S)
    span = hop * hops_a_block
    size = _fast_size(memory + span)
    response = _response(rate, size)
    pairs = _pairs(x.shape[1])
    block = np.empty(size, np.complex64)
    spectrum = np.empty(size, np.complex64)  # reused: fresh large arrays cost more than the transform
    hops = len(x) // hop
    for first in range(0, hops, hops_a_block):
        count = min(hops_a_block, hops - first)
        start = first * hop - memory
        low, high = max(start, 0), min(first * hop + count * hop, len(x))
        total = np.zeros(count)
        for gain, left, right in pairs:
            block.fill(0)
            block.real[low - start : high - start] = x[low:high, left]
            if right is not None:
                block.imag[low - start : high - start] = x[low:high, right]
            # "forward" keeps numpy in single precision (see `fourier`), and leaves 1 / size to `_response`.
            np.fft.fft(block, norm="forward", out=spectrum)  # type: ignore[arg-type]  # the stubs know complex128 only
            np.multiply(spectrum, response, out=spectrum)
            np.fft.ifft(spectrum, out=spectrum)  # type: ignore[arg-type]
            rows = spectrum[memory : memory + count * hop].view(np.float32).reshape(count, 2 * hop)
            total += gain * np.einsum("ij,ij->i", rows, rows, dtype=np.float32).astype(np.float64)
        yield total


@lru_cache(maxsize=8)
def _pairs(channels: int) -> list[tuple[float, int, int | None]]:
    """A gain and the one or two channels that have it."""
    by_gain: dict[float, list[int]] = {}
    for channel, gain in enumerate(_CHANNEL_GAINS[channels]):
        by_gain.setdefault(gain, []).append(channel)
    return [
        (gain, alike[i], alike[i + 1] if i + 1 < len(alike) else None)
        for gain, alike in by_gain.items()
        for i in range(0, len(alike), 2)
        if gain > 0
    ]


@lru_cache(maxsize=8)
def _response(rate: int, size: int) -> NDArray[np.complex64]:
    return (size * k_weighting(rate, np.fft.fftfreq(size, 1 / rate))).astype(np.complex64)


@lru_cache(maxsize=64)
def _fast_size(least: int) -> int:
    """The next length whose only factors are 2, 3 and 5."""
    size = least
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1


def _sliding_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    if len(values) < width:
        return values
    sums = np.convolve(values, np.ones(width), "valid")
    return np.asarray(np.maximum(sums, 0) / width)


def _to_lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(_OFFSET + 10 * np.log10(np.maximum(power, 1e-30)))


_PEAK_BLOCK = 65536
_TAPS_A_PHASE = 24
_HALF = _TAPS_A_PHASE // 2


def _peaks_between(channel: Samples, least: float, factor: int) -> Iterator[float]:
    """The highest interpolated value of each block, looked for only beside samples that reach `least`."""
    phases = _interpolator(factor)
    for start in range(0, len(channel), _PEAK_BLOCK):
        low, high = start - _HALF, start + _PEAK_BLOCK + _HALF
        block = channel[max(low, 0) : high]
        block = np.pad(block, (max(-low, 0), max(high - len(channel), 0)))  # silence before and after the signal
        loud = np.flatnonzero(np.abs(block[_HALF - 1 : len(block) - _HALF]) >= least)
        if len(loud):
            # Window i spans samples i - 11 .. i + 12 and yields the points between i and i + 1.
            windows = np.lib.stride_tricks.sliding_window_view(block, _TAPS_A_PHASE)
            if len(loud) < len(windows) // 8:  # gathering pays only while few are wanted
                windows = windows[np.unique(np.concatenate([np.maximum(loud - 1, 0), loud]))]
            yield float(np.abs(windows @ phases).max())


@lru_cache(maxsize=4)
def _interpolator(factor: int) -> NDArray[np.float32]:
    """The fractional phases of a Kaiser-windowed sinc, `[taps, factor - 1]`: flat to 0.05 dB up to 0.45 of the rate."""
    positions = np.arange(_TAPS_A_PHASE) - (_HALF - 1)
    columns = []
    for phase in range(1, factor):
        offset = positions - phase / factor
        window = np.i0(5.0 * np.sqrt(np.clip(1 - (offset / _HALF) ** 2, 0, None))) / np.i0(5.0)
        taps = np.sinc(offset) * window
        columns.append(taps / taps.sum())
    return np.stack(columns, axis=1).astype(np.float32)
