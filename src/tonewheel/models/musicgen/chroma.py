"""What a melody checkpoint hears of a melody: which of the twelve pitch classes is the loudest, 7.8 times a second.

The recipe is that of transformers' `MusicgenMelodyFeatureExtractor` (periodic Hann window of 16,384 samples, hop
4096, centred with reflected ends, power, chroma filters after Ellis 2007), without torchaudio: a test holds it to
a computation in torch. Trained on stems without drums and bass; a whole mix works, less well.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tonewheel.errors import InvalidRequest
from tonewheel.models.musicgen.windows import SAMPLE_RATE

N_FFT = 16_384
HOP = 4096
LONGEST_S = 30.0
SHORTEST_S = 0.1
_SILENT = 10 ** (-60 / 20)  # a recording that never exceeds -60 dBFS has no melody to follow


def check_melody(samples: NDArray[np.float32]) -> None:
    """Raises InvalidRequest for a melody [n] that is too short or silent."""
    if len(samples) < SHORTEST_S * SAMPLE_RATE:
        seconds = len(samples) / SAMPLE_RATE
        raise InvalidRequest(f"melody: {seconds:.2f} s are too short: send {SHORTEST_S} s or more", param="melody")
    if float(np.abs(samples).max()) < _SILENT:
        raise InvalidRequest("melody: it is silent (below -60 dBFS): send one that can be heard", param="melody")


def chroma(samples: NDArray[np.float32], frames: int, classes: int = 12) -> NDArray[np.float32]:
    """Samples [n] at 32 kHz, at most the first 30 s → one-hot [m, classes], m ≤ `frames`."""
    samples = samples[: int(LONGEST_S * SAMPLE_RATE)]
    missing = max(0, N_FFT - len(samples))
    padded = np.pad(samples, (missing // 2, missing - missing // 2))
    padded = np.pad(padded, N_FFT // 2, mode="reflect")
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    count = 1 + (len(padded) - N_FFT) // HOP
    pieces = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:count]
    power = np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2
    loudest = (power @ _filters(classes).T).argmax(axis=1)
    one_hot: NDArray[np.float32] = np.eye(classes, dtype=np.float32)[loudest][:frames]
    return one_hot


def stretch(samples: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """The 30 s of a melody that begin `start` samples after its beginning; it is repeated as often as need be."""
    length = int(LONGEST_S * SAMPLE_RATE)
    if start == 0 and len(samples) < length:
        return samples  # short ones are repeated as chroma, as upstream does
    return samples[(start + np.arange(length)) % len(samples)]


@lru_cache(maxsize=2)
def _filters(classes: int) -> NDArray[np.float64]:
    """Weights [classes, bins] of the bins of the spectrum (Ellis 2007, "Chroma feature analysis and synthesis")."""
    from transformers.audio_utils import chroma_filter_bank  # noqa: PLC0415  (the model's process has it loaded)

    return np.asarray(chroma_filter_bank(num_frequency_bins=N_FFT, num_chroma=classes, sampling_rate=SAMPLE_RATE))
