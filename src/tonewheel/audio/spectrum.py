"""Short-time spectra in blocks, and what is read off them at once: the balance of a mix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

# Names as mixing engineers use them; edges in Hz.
BANDS: dict[str, tuple[float, float]] = {
    "sub": (20, 60),
    "bass": (60, 250),
    "low_mid": (250, 1000),
    "mid": (1000, 4000),
    "high": (4000, 10_000),
    "air": (10_000, 20_000),
}
_FRAMES_A_BATCH = 32


def mono(samples: Samples) -> Samples:
    """The mean of the channels of `samples [n, channels]`, `[n]`."""
    if samples.ndim == 1 or samples.shape[1] == 1:
        return np.ascontiguousarray(samples.reshape(len(samples)), dtype=np.float32)
    total = samples[:, 0] + samples[:, 1]
    for channel in range(2, samples.shape[1]):
        total += samples[:, channel]
    total *= np.float32(1 / samples.shape[1])
    return np.asarray(total, np.float32)


def power_frames(signal: Samples, size: int, hop: int) -> Iterator[NDArray[np.float32]]:
    """Power spectra of Hann-windowed frames of `signal [n]`, in batches `[frames, size // 2 + 1]`.

    A sine of amplitude 1 has a peak of 1. A signal shorter than a frame is padded with silence.
    """
    if len(signal) < size:
        signal = np.pad(signal, (0, size - len(signal)))
    window = (np.hanning(size + 1)[:-1] * 4).astype(np.float32)  # Hann halves a sine's line, and so does rfft
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    for start in range(0, len(frames), _FRAMES_A_BATCH):
        spectra = np.fft.rfft(frames[start : start + _FRAMES_A_BATCH] * window, axis=1, norm="forward")
        yield (spectra.real**2 + spectra.imag**2).astype(np.float32, copy=False)


def mean_power(samples: Samples, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in Hz and the mean power spectrum over time and channels (Welch's method, 0.1 s frames)."""
    size = 4096 if rate >= 32_000 else 2048
    total = np.zeros(size // 2 + 1)
    count = 0
    for channel in range(samples.shape[1]):
        for powers in power_frames(np.ascontiguousarray(samples[:, channel]), size, size // 2):
            total += powers.sum(axis=0, dtype=np.float64)
            count += len(powers)
    return np.fft.rfftfreq(size, 1 / rate).astype(np.float64), total / max(count, 1)


def balance(samples: Samples, rate: int) -> dict[str, float]:
    """Share of the energy in each of `BANDS`, in percent of what lies between 20 Hz and 20 kHz."""
    frequencies, power = mean_power(samples, rate)
    energies = {
        name: float(power[(frequencies >= low) & (frequencies < high)].sum()) for name, (low, high) in BANDS.items()
    }
    total = sum(energies.values())
    return {name: 100 * energy / total if total > 0 else 0.0 for name, energy in energies.items()}


def band_matrix(size: int, rate: int, edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Triangular filters between neighbouring `edges` in Hz: `[size // 2 + 1, len(edges) - 2]`.

    A filter too narrow for the bins takes the bin nearest to its centre.
    """
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    columns = []
    for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        rising = (frequencies - low) / (centre - low)
        falling = (high - frequencies) / (high - centre)
        column = np.clip(np.minimum(rising, falling), 0, None)
        if not column.any():
            column[np.argmin(np.abs(frequencies - centre))] = 1.0
        columns.append(column)
    return np.stack(columns, axis=1).astype(np.float32)
