"""What drums are made of: damped modes, shaped noise, a pitch that falls, a room.

Arrays are float32 at SAMPLE_RATE, shape [n] unless said otherwise. All randomness comes from the
generator of a `Take`, so that a drum's samples depend on its kit, its name and its variant alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tonewheel.composer.synth.rate import SAMPLE_RATE

Array = NDArray[np.float32]
Curve = tuple[tuple[float, float], ...]  # (Hz, dB) breakpoints, linear over log frequency, flat outside
Partial = tuple[float, float, float]  # (Hz or ratio, amplitude, decay time constant in s)

_TWO_PI = 2.0 * np.pi
_BLOCK = 256
_TOP = 19_500.0  # Hz: no partial is placed above
_GRID = np.concatenate([[0.0], np.geomspace(8.0, 0.5 * SAMPLE_RATE, 256)])  # Hz at which spectra are drawn


@dataclass
class Take:
    """One rendering of a drum: its own random stream and how hard it is struck.

    `bright` 0 is the softest stroke's timbre, 1 the hardest; both are built from equal streams so that
    they cross-fade without cancelling. `tuning` is the pitch class (0-11) drums lean to, None leaves them.
    """

    rng: np.random.Generator
    bright: float = 1.0
    tuning: int | None = None
    tilt_db: float = 5.0  # dB an octave that the softest stroke loses above `tilt_from`
    tilt_from: float = 900.0
    _size: int = field(default=0, repr=False)

    def around(self, value: float, spread: float) -> float:
        """`value` changed by at most `spread` (a share of it)."""
        return float(value * (1.0 + spread * self.rng.uniform(-1.0, 1.0)))

    def between(self, soft: float, hard: float) -> float:
        """A setting that follows the stroke."""
        return soft + (hard - soft) * self.bright

    def tuned(self, hertz: float, degrees: Sequence[int] = (0, 2, 5, 7)) -> float:
        """The frequency nearest to `hertz` on one of `degrees` over the tuning; they are in major and minor alike."""
        if self.tuning is None:
            return hertz
        pitch = 69.0 + 12.0 * np.log2(hertz / 440.0)
        steps = [((self.tuning + d - pitch + 6.0) % 12.0) - 6.0 for d in degrees]
        return float(hertz * 2.0 ** (min(steps, key=abs) / 12.0))

    def shade(self, hertz: NDArray[np.floating]) -> NDArray[np.float64]:
        """Gain of the stroke's softness at each frequency: 1 for the hardest."""
        octaves = np.log2(np.maximum(np.asarray(hertz, np.float64), self.tilt_from) / self.tilt_from)
        return np.asarray(10.0 ** (-(1.0 - self.bright) * self.tilt_db * octaves / 20.0), np.float64)

    def noise(self, seconds: float, curve: Curve, channels: int = 1) -> Array:
        """Gaussian noise [n], or [channels, n], with the spectrum `curve`, unit RMS before the stroke's shade."""
        shape = (channels, samples_of(seconds)) if channels > 1 else (samples_of(seconds),)
        return coloured(self.rng, shape, curve, self.shade)


def samples_of(seconds: float) -> int:
    return max(8, round(seconds * SAMPLE_RATE))


def times(seconds: float) -> Array:
    return np.arange(samples_of(seconds), dtype=np.float32) / np.float32(SAMPLE_RATE)


def fall(seconds: float, tau: float, attack: float = 0.0) -> Array:
    """An exponential decay [n] with time constant `tau`, after a rounded attack of `attack` seconds."""
    t = times(seconds)
    shape: Array = np.exp(-t / np.float32(tau))
    if attack > 0.0:
        edge = min(samples_of(attack), t.size)
        shape[:edge] *= (0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, edge))).astype(np.float32)
    return shape


def coloured(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    curve: Curve,
    shade: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Array:
    """Noise of `shape` (last axis is time) with the spectrum `curve`: unit RMS, then `shade` applied.

    The spectrum is drawn, not filtered: noise whose length is the FFT's is periodic and loops unheard.
    """
    n = shape[-1]
    size = fast_size(n)
    hertz = np.arange(size // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / size)
    gain = np.interp(hertz, _GRID, curve_gain(curve, _GRID))
    gain *= size / np.sqrt(2.0 * np.dot(gain, gain))
    if shade is not None:
        gain *= np.interp(hertz, _GRID, shade(_GRID))
    # Uniform draws serve as well as normal ones: a sample of the noise is a sum of thousands of them.
    draws = rng.random((*shape[:-1], size // 2 + 1, 2), dtype=np.float32)
    draws -= np.float32(0.5)
    spectrum = draws.view(np.complex64)[..., 0] * (gain * np.sqrt(6.0)).astype(np.float32)
    return np.ascontiguousarray(np.fft.irfft(spectrum, size, axis=-1)[..., :n])


def curve_gain(curve: Curve, hertz: NDArray[np.floating]) -> NDArray[np.float64]:
    at = np.log2([point[0] for point in curve])
    level = np.interp(np.log2(np.maximum(hertz, 1.0)), at, [point[1] for point in curve])
    gain = 10.0 ** (level / 20.0)
    gain[hertz < 12.0] = 0.0
    return np.asarray(gain, np.float64)


def fast_size(n: int) -> int:
    """The smallest even FFT length of factors 2, 3 and 5 that holds `n` samples."""
    best = 1 << (n - 1).bit_length()
    for five in (1, 5, 25):
        for three in (1, 3, 9):
            base = five * three
            twos = max(1, (-(-n // base) - 1).bit_length())
            best = min(best, base << twos)
    return best


def modes(take: Take, partials: Sequence[Partial], seconds: float) -> Array:
    """The sum [n] of damped sines (Hz, amplitude, time constant), phases from the take, softness applied.

    A mode at sample B*q + r is the product of two phasors, so the whole sum is one matrix product [Q, 2P] @ [2P, B]:
    hundreds of modes for the price of a few.
    """
    table = np.asarray(partials, np.float64)
    table = table[(table[:, 0] > 15.0) & (table[:, 0] < _TOP)]
    hertz, amp, tau = table[:, 0], table[:, 1], table[:, 2]
    amp = amp * take.shade(hertz)
    phase = take.rng.uniform(0.0, 1.0, hertz.size)
    n = samples_of(seconds)
    rows = -(-n // _BLOCK)
    coarse = np.arange(rows)[:, None] * (_BLOCK / SAMPLE_RATE)
    fine = np.arange(_BLOCK)[None, :] / SAMPLE_RATE
    angle = ((coarse * hertz + phase) % 1.0 * _TWO_PI).astype(np.float32)
    size = (amp * np.exp(-coarse / tau)).astype(np.float32)
    left = np.concatenate((size * np.sin(angle), size * np.cos(angle)), axis=1)
    angle = ((fine * hertz[:, None]) % 1.0 * _TWO_PI).astype(np.float32)
    size = np.exp(-fine / tau[:, None]).astype(np.float32)
    right = np.concatenate((size * np.cos(angle), size * np.sin(angle)), axis=0)
    return np.ascontiguousarray((left @ right).reshape(-1)[:n])


def falling_phase(hertz: float, drops: Sequence[tuple[float, float]], seconds: float) -> NDArray[np.float64]:
    """Cycles [n] of a pitch that settles on `hertz` from above: each drop is (share above, time constant in s)."""
    t = np.arange(samples_of(seconds)) / SAMPLE_RATE
    cycles = t.copy()
    for share, tau in drops:
        cycles += share * tau * (1.0 - np.exp(-t / tau))
    return cycles * hertz


def sine(cycles: NDArray[np.float64]) -> Array:
    angle = (cycles - np.floor(cycles)).astype(np.float32)
    return np.asarray(np.sin(angle * np.float32(_TWO_PI)), np.float32)


def saturate(x: Array, drive: float) -> Array:
    """A soft limit: `drive` 0 changes nothing, 1 is a tube in trouble. Peaks near 1 stay near 1."""
    if drive <= 0.0:
        return x
    gain = 1.0 + 3.0 * drive
    return np.asarray(np.tanh(x * np.float32(gain)) / np.float32(np.tanh(gain)), np.float32)


def add(*parts: Array) -> Array:
    """The sum of layers of different lengths, as long as the longest."""
    total = np.zeros((*parts[0].shape[:-1], max(p.shape[-1] for p in parts)), np.float32)
    for part in parts:
        total[..., : part.shape[-1]] += part
    return total


def fade_end(x: Array, share: float) -> Array:
    """`x` with its last `share` brought to nothing, in place."""
    tail = max(8, int(x.shape[-1] * share))
    x[..., -tail:] *= (0.5 + 0.5 * np.cos(np.linspace(0.0, np.pi, tail))).astype(np.float32)
    return x


def room_response(rng: np.random.Generator, seconds: float, curve: Curve, density: int = 9) -> Array:
    """A small room [2, n]: a few early reflections and a noise tail, energy 1 a channel, without the direct sound."""
    n = samples_of(seconds)
    tail = coloured(rng, (2, n), curve) * np.exp(-np.arange(n, dtype=np.float32) / np.float32(n / 5.0))
    rise = samples_of(0.012)
    tail[:, :rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32) ** 2
    for channel in range(2):
        at = np.sort(rng.uniform(0.003, 0.028, density)) * SAMPLE_RATE
        gain = rng.choice([-1.0, 1.0], density) * np.exp(-at / (0.02 * SAMPLE_RATE))
        np.add.at(tail[channel], at.astype(int).clip(0, n - 1), (gain * 2.5).astype(np.float32))
    spectrum = np.fft.rfft(tail, axis=1)
    low = 1.0 / (1.0 + (np.fft.rfftfreq(n, 1.0 / SAMPLE_RATE) / 450.0) ** 2)  # long waves reach both ears alike
    spectrum[1] += low * (spectrum[0] - spectrum[1])
    tail = np.fft.irfft(spectrum, n, axis=1)
    return np.asarray(tail / np.sqrt(np.sum(tail**2, axis=1, keepdims=True)), np.float32)


def through(x: Array, *, highpass: float, room: Array | None = None, wet: float = 0.0) -> Array:
    """`x` [..., 1, n] without what lies below `highpass` (Hz, two poles, no offset left) and, given a `room` [2, m],
    with it added at the gain `wet`: [..., 2, n + m], else [..., 1, n]."""
    n = x.shape[-1] + (room.shape[-1] if room is not None else 0)
    size = fast_size(n + 2048)
    s = 1j * np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE) / highpass
    gain = (s * s / (s * s + 1.4 * s + 1.0)).astype(np.complex64)
    if room is not None:
        gain = gain * (np.complex64(1.0) + np.float32(wet) * np.fft.rfft(room, size, axis=-1))
    sound = np.fft.irfft(np.fft.rfft(x, size, axis=-1) * gain, size, axis=-1)[..., :n]
    return np.ascontiguousarray(sound, np.float32)
