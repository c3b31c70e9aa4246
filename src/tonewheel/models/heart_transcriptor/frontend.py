"""Samples to log-mel spectra, as WhisperFeatureExtractor makes them, a stretch at a time.

The extractor computes a recording in one piece, which takes 1.5 GB for an hour; the spectra themselves are 115 MB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonewheel.errors import ModelBroken
from tonewheel.models.heart_transcriptor.card import SAMPLE_RATE

WINDOW = 3000  # frames of the network's 30 s
_STRETCH = 6000  # frames computed at once
_LEAST_POWER = 1e-10
_RANGE = 8.0  # powers of ten below the loudest that are told apart


class LogMel:
    """The front end of one checkpoint, by the settings of its feature extractor."""

    def __init__(self, extractor: Any) -> None:
        """`extractor` is a WhisperFeatureExtractor. Raises ModelBroken for settings that are not Whisper's."""
        settings = (extractor.sampling_rate, extractor.chunk_length, extractor.dither)
        if settings != (SAMPLE_RATE, WINDOW // 100, 0.0):
            raise ModelBroken(f"this checkpoint hears {settings[0]} Hz in windows of {settings[1]} s: Whisper's do not")
        self._size, self.hop = int(extractor.n_fft), int(extractor.hop_length)
        self._filters = torch.as_tensor(np.asarray(extractor.mel_filters), dtype=torch.float32).T  # [mels, bins]
        self._window = torch.hann_window(self._size)

    def __call__(self, samples: NDArray[np.float32]) -> Tensor:
        """Spectra `[1, mels, frames]` of samples `[n]` at 16 kHz, 100 frames a second, at least 30 s of them."""
        silence = max(0, WINDOW * self.hop - len(samples))
        half = self._size // 2
        wave = torch.from_numpy(np.pad(np.pad(samples, (0, silence)), half, mode="reflect"))
        frames = (len(samples) + silence) // self.hop
        spectra = torch.empty(1, len(self._filters), frames)
        for start in range(0, frames, _STRETCH):
            stop = min(frames, start + _STRETCH)
            stretch = wave[start * self.hop : (stop - 1) * self.hop + self._size]
            found = torch.stft(stretch, self._size, self.hop, window=self._window, center=False, return_complex=True)
            power = found.abs().square_()  # [bins, frames]
            spectra[0, :, start:stop] = (self._filters @ power).clamp_(min=_LEAST_POWER).log10_()
        return spectra.clamp_(min=float(spectra.max()) - _RANGE).add_(4.0).div_(4.0)
