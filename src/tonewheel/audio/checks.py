"""Is this recording what it should be? Measures, and what they mean in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio import loudness
from tonewheel.audio.key import estimate_key
from tonewheel.audio.report import Report, findings
from tonewheel.audio.spectrum import balance
from tonewheel.audio.tempo import estimate_tempo

__all__ = ["Report", "check", "window_levels"]
Samples = NDArray[np.float32]

SILENCE_DBFS = -50.0
WINDOW_S = 0.05
_FULL_SCALE = 0.9995  # 16-bit full scale after dither, and what a converter does with it
_CLIP_RUN = 3  # one sample at full scale is a peak; three in a row are a flat top


def check(samples: Samples, rate: int, expected_duration_s: float | None = None, *, thorough: bool = True) -> Report:
    """Measure `samples [n, channels]` (any memory order, 1 to 8 channels).

    Without `thorough` tempo, key, balance and loudness range are left out: what remains takes about
    0.15 s a minute of stereo. NaN and infinity are counted and then taken as silence.
    """
    bad = int(samples.size - np.count_nonzero(np.isfinite(samples)))
    if bad:
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    peak = loudness.sample_peak(samples)
    levels = window_levels(samples, rate)
    silent = levels < SILENCE_DBFS
    runs, longest = _clipping(samples, peak)
    hops = loudness.hop_powers(samples, rate)
    moments = _moments(samples)
    tempo, key, shares = None, None, None
    if thorough and peak > 0:
        tempo, key, shares = estimate_tempo(samples, rate), estimate_key(samples, rate), balance(samples, rate)
    report = Report(
        duration_s=len(samples) / rate,
        rate=rate,
        channels=samples.shape[1],
        nonfinite_samples=bad,
        clipped_runs=runs,
        longest_clip=longest,
        dc_offset=moments.dc_offset,
        silence_head_s=_leading(silent) * WINDOW_S,
        silence_tail_s=_leading(silent[::-1]) * WINDOW_S,
        silence_share=float(silent.mean()) if len(silent) else 1.0,
        peak_dbfs=_db(peak),
        true_peak_dbtp=loudness.true_peak_dbtp(samples, rate),
        lufs=loudness.gated_loudness(hops),
        loudness_range_lu=loudness.loudness_range(hops) if thorough else None,
        crest_db=_db(peak) - _db(math.sqrt(moments.power)) if moments.power > 0 else 0.0,
        stereo_correlation=moments.correlation,
        balance=shares,
        tempo=tempo,
        key=key,
    )
    return replace(report, findings=tuple(findings(report, expected_duration_s)))


def window_levels(samples: Samples, rate: int) -> NDArray[np.float64]:
    """RMS level of every 50 ms over all channels, in dBFS; the unfinished last window is left out
    unless it is the only one."""
    window = max(1, min(round(rate * WINDOW_S), len(samples)))
    count = len(samples) // window
    if count == 0:
        return np.zeros(0)
    power = np.zeros(count)
    for channel in range(samples.shape[1]):
        rows = samples[: count * window, channel].reshape(count, window)
        power += np.einsum("ij,ij->i", rows, rows)
    return np.asarray(10 * np.log10(np.maximum(power / (window * samples.shape[1]), 1e-20)))


@dataclass(frozen=True, slots=True)
class _Moments:
    power: float  # mean square over all channels
    dc_offset: float  # largest absolute mean of a channel
    correlation: float | None  # of the first two channels


def _moments(samples: Samples) -> _Moments:
    """Sums in pieces of a second or two: float32 sums of a whole song would lose digits."""
    channels = samples.shape[1]
    sums, squares, cross = np.zeros(channels), np.zeros(channels), 0.0
    for start in range(0, len(samples), 65536):
        piece = [np.ascontiguousarray(samples[start : start + 65536, c]) for c in range(channels)]
        sums += [float(p.sum(dtype=np.float64)) for p in piece]
        squares += [float(np.dot(p, p)) for p in piece]
        if channels > 1:
            cross += float(np.dot(piece[0], piece[1]))
    if not len(samples):
        return _Moments(0.0, 0.0, None)
    both = float(np.sqrt(squares[:2].prod())) if channels > 1 else 0.0
    return _Moments(
        power=float(squares.sum()) / samples.size,
        dc_offset=float(np.abs(sums).max()) / len(samples),
        correlation=float(np.clip(cross / both, -1, 1)) if both > 0 else None,
    )


def _clipping(samples: Samples, peak: float) -> tuple[int, int]:
    """How many flat tops of at least three samples at full scale there are, and the longest, over all channels."""
    if peak < _FULL_SCALE:
        return 0, 0
    lengths = [0]
    for channel in range(samples.shape[1]):
        at = np.flatnonzero(np.abs(samples[:, channel]) >= _FULL_SCALE)
        gaps = np.flatnonzero(np.diff(at) > 1)
        bounds = np.concatenate([[-1], gaps, [len(at) - 1]])
        lengths += [int(n) for n in np.diff(bounds) if n >= _CLIP_RUN]
    return len(lengths) - 1, max(lengths)


def _leading(silent: NDArray[np.bool_]) -> int:
    sounding = np.flatnonzero(~silent)
    return int(sounding[0]) if len(sounding) else len(silent)


def _db(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
