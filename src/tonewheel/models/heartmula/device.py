"""Where HeartMuLa runs, in which types, and how much memory is left for keys and values there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tonewheel.engine.kernels import Precision
from tonewheel.errors import NotSupported
from tonewheel.models.device import best_device, between
from tonewheel.models.free_memory import free_bytes
from tonewheel.settings import Settings, settings

_SHARE = 0.7  # of what is free after loading; the rest is for windows of the codec, samples and other programs


@dataclass(frozen=True, slots=True)
class Place:
    """A device, the precision of the language model's weights, the type of what flows between its layers, and that of
    the codec's products."""

    device: torch.device
    precision: Precision | None  # None = the best there is
    language: torch.dtype
    codec: torch.dtype

    @property
    def cache_limit(self) -> int:
        """Bytes that the key/value cache of all songs may take."""
        return round(_SHARE * free_bytes(self.device))


def place(wishes: Settings | None = None) -> Place:
    """As set (contracts.md, 9920), else CUDA if it is there, else the CPU. Raises NotSupported."""
    wishes = wishes or settings()
    device = _device(wishes)
    chosen = wishes.heartmula_dtype
    language = between(device, chosen)
    if language != torch.float32 and device.type != "cuda":
        raise NotSupported(
            f"HEARTMULA_DTYPE={chosen} runs on CUDA only and the device is {device.type}: set float32, or nothing"
        )
    # bfloat16 is too coarse for latents that are rounded to ninths; float16 is not (facts: 30 dB and better).
    return Place(device, chosen, language, torch.float32 if language == torch.float32 else torch.float16)


def _device(wishes: Settings) -> torch.device:
    chosen = wishes.heartmula_device
    if chosen is None:
        return best_device()
    if chosen == "cuda" and not torch.cuda.is_available():
        raise NotSupported("HEARTMULA_DEVICE=cuda, but torch finds no such GPU: set cpu, or nothing")
    if chosen == "mps" and not wishes.heartmula_force_mps:
        raise NotSupported("HEARTMULA_DEVICE=mps is untried: set HEARTMULA_FORCE_MPS=1 to have it all the same")
    if chosen == "mps" and not torch.backends.mps.is_available():
        raise NotSupported("HEARTMULA_DEVICE=mps, but torch finds no such GPU: set cpu, or nothing")
    return torch.device(chosen)
