"""Windows to log-mel spectrograms, as transformers' ClapFeatureExtractor makes them, without its loop over frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from tonewheel.errors import ModelBroken

SAMPLE_RATE = 48_000
_LEAST_POWER = 1e-10  # -100 dB
_FRAMES = 64  # transformed at once on a CPU


class LogMel:
    """The front end of one checkpoint, by the settings of its feature extractor."""

    def __init__(self, extractor: Any, *, fused: bool, device: str) -> None:
        """`extractor` is a ClapFeatureExtractor. Raises ModelBroken for settings that are not known."""
        if extractor.sampling_rate != SAMPLE_RATE:
            raise ModelBroken(f"this checkpoint hears {extractor.sampling_rate} Hz: CLAP's have {SAMPLE_RATE}")
        if extractor.padding not in ("repeatpad", "repeat", "pad"):
            raise ModelBroken(f"this checkpoint pads by {extractor.padding!r}, which is not known")
        self.length = int(extractor.nb_max_samples)
        self._size, self._hop = int(extractor.fft_window_size), int(extractor.hop_length)
        self._padding = str(extractor.padding)
        self._channels = 4 if fused else 1
        # The two kinds of checkpoint were trained on other filters; which is told by the model, not by
        # `truncation`, whose default fits the fused ones only.
        filters = extractor.mel_filters if fused else extractor.mel_filters_slaney
        filters = np.asarray(filters, np.float64)  # [bins, mels]
        self._bins = int(np.flatnonzero(filters.any(axis=1)).max(initial=0)) + 1  # beyond them no filter hears anything
        # In doubles: what is quiet beside a loud tone would drown in the rounding of floats.
        self._filters = torch.as_tensor(filters[: self._bins], dtype=torch.float64, device=device)
        self._window = torch.hann_window(self._size, periodic=True, dtype=torch.float64, device=device)
        self._device = device

    def __call__(self, windows: Sequence[NDArray[np.float32]]) -> Tensor:
        """Decibels `[b, channels, frames, mels]` float32 of windows `[n]`, n at most `length`."""
        padded = [self._padded(window) for window in windows]
        power = self._power_here(padded) if self._device == "cpu" else self._power_there(padded)
        decibels = (power @ self._filters).clamp_min_(_LEAST_POWER).log10_().mul_(10)
        return decibels.float().unsqueeze(1).expand(-1, self._channels, -1, -1)

    def _power_there(self, padded: list[NDArray[np.float32]]) -> Tensor:
        """Power `[b, frames, bins]` on the device, by torch."""
        samples = torch.from_numpy(np.stack(padded)).to(self._device, torch.float64)
        spectra = torch.stft(
            samples, self._size, self._hop, window=self._window, center=True, pad_mode="reflect", return_complex=True
        )
        spectra = spectra[:, : self._bins]
        return (spectra.real.square() + spectra.imag.square()).transpose(1, 2)

    def _power_here(self, padded: list[NDArray[np.float32]]) -> Tensor:
        """The same by numpy, few frames at a time: they stay in the cache, which torch's whole spectrum does not (a
        third of the time)."""
        half, window = self._size // 2, self._window.numpy()
        power = np.empty((len(padded), self.length // self._hop + 1, self._bins))
        for samples, out in zip(padded, power, strict=True):
            frames = sliding_window_view(np.pad(samples, half, mode="reflect"), self._size)[:: self._hop]
            for at in range(0, len(out), _FRAMES):
                spectra = np.fft.rfft(frames[at : at + _FRAMES] * window)[:, : self._bins]
                np.square(spectra.real, out=out[at : at + _FRAMES])
                out[at : at + _FRAMES] += np.square(spectra.imag)
        return torch.from_numpy(power)

    def _padded(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(window) >= self.length:
            return window[: self.length]
        if self._padding == "repeat":
            return np.resize(window, self.length)
        repeated = np.tile(window, self.length // len(window)) if self._padding == "repeatpad" else window
        return np.pad(repeated, (0, self.length - len(repeated)))
