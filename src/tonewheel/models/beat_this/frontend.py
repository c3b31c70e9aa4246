"""What the network hears: log-mel frames, 50 a second.

The recipe is upstream's (CPJKU/beat_this, `preprocessing.py`, MIT): 22,050 Hz mono, STFT of 1024 points every 441
samples under a Hann window, centred with reflection, magnitudes scaled by 1/sqrt(1024), 128 triangular mel filters
between 30 and 11,000 Hz on Slaney's scale without area normalisation, then log(1 + 1000 x). Written for plain torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

SAMPLE_RATE = 22_050
FPS = 50
HOP = SAMPLE_RATE // FPS
MELS = 128
SHORTEST_S = 0.1  # reflection at the edges needs more than half a window (512 samples, 23 ms)

_FFT = 1024
_LOWEST_HZ, _HIGHEST_HZ = 30.0, 11_000.0
_GAIN = 1000.0
_FRAMES_A_BLOCK = 3000  # 12 MB of spectrum at a time, however long the recording

# Slaney's scale (Auditory Toolbox, 1998): linear to 1 kHz, 15 mels there; above it 27 mels to a factor of 6.4.
_HZ_A_MEL = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_A_MEL
_LOG_STEP = math.log(6.4) / 27.0


class LogMel:
    """Samples to frames, on the device it was made for."""

    def __init__(self, device: str = "cpu") -> None:
        self._window = torch.hann_window(_FFT, device=device)
        self._filters = mel_filters().to(device)

    def __call__(self, samples: Tensor) -> Tensor:
        """Frames `[1 + n // 441, 128]` of `samples [n]`, float32 at 22,050 Hz, more than 512 of them."""
        half = _FFT // 2
        padded = functional.pad(samples.to(self._window.device)[None], (half, half), mode="reflect")[0]
        count = 1 + len(samples) // HOP
        return torch.cat([self._block(padded, i, min(i + _FRAMES_A_BLOCK, count))
                          for i in range(0, count, _FRAMES_A_BLOCK)])  # fmt: skip

    def _block(self, padded: Tensor, first: int, end: int) -> Tensor:
        piece = padded[first * HOP : (end - 1) * HOP + _FFT]
        spectrum = torch.stft(
            piece, _FFT, HOP, window=self._window, center=False, normalized=True, onesided=True, return_complex=True
        )
        return torch.log1p(_GAIN * (spectrum.abs().T @ self._filters))


def mel_filters() -> Tensor:
    """The filter bank `[513, 128]`: triangles of height 1 between neighbouring centres.

    In float32 throughout, as the front end the published weights were trained behind: in double precision the
    narrow filters differ from those by up to 5e-5.
    """
    bins = torch.linspace(0, SAMPLE_RATE // 2, _FFT // 2 + 1)
    centres = _hertz(torch.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), MELS + 2))
    distance = centres[None, :] - bins[:, None]
    width = centres.diff()
    rising = -distance[:, :-2] / width[:-1]
    falling = distance[:, 2:] / width[1:]
    return torch.minimum(rising, falling).clamp_min(0)


def _mel(hertz: float) -> float:
    return hertz / _HZ_A_MEL if hertz < _BREAK_HZ else _BREAK_MEL + math.log(hertz / _BREAK_HZ) / _LOG_STEP


def _hertz(mels: Tensor) -> Tensor:
    linear = mels * _HZ_A_MEL
    return torch.where(mels < _BREAK_MEL, linear, _BREAK_HZ * torch.exp(_LOG_STEP * (mels - _BREAK_MEL)))
