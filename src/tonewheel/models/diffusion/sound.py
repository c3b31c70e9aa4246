"""Waveforms as they come from a decoder: cut to length, held to what a waveform is, tagged; and their seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tonewheel import __version__
from tonewheel.audio.tags import Tags
from tonewheel.errors import RenderFault
from tonewheel.models.base import Card
from tonewheel.seeds import MAX_DRAWN, derive

Samples = NDArray[np.float32]  # [n, channels], full scale ±1

_SILENT = 1e-4  # full scale: -80 dBFS, under the noise of 16 bits with dither


def sub_seed(seed: int, number: int) -> int:
    """The seed of waveform `number` of a request; the first has the request's own, so that each can be made alone."""
    return seed if number == 0 else derive(seed, "diffusion", "waveform", number) & MAX_DRAWN


def samples_of(audio: Any) -> Samples:
    """One waveform of a pipeline (a tensor or an array, [n] or [channels, n]) → [n, channels]."""
    found = np.asarray(audio.float().cpu().numpy() if hasattr(audio, "cpu") else audio, dtype=np.float32)
    return np.ascontiguousarray(np.atleast_2d(found).T)


def checked(samples: Samples, duration_s: float, rate: int, channels: int, name: str = "the waveform") -> Samples:
    """Cut to `duration_s`, to the sample. Raises RenderFault for NaN, infinity, silence, or less than was asked for."""
    wanted = round(duration_s * rate)
    if samples.shape[1] != channels or len(samples) < wanted:
        raise RenderFault(
            f"{name} has {len(samples)} samples and {samples.shape[1]} channels; asked for were {wanted} and {channels}"
        )
    samples = samples[:wanted]
    if not np.isfinite(samples).all():
        raise RenderFault(
            f"{name} holds numbers that are not finite: lower guidance_scale, or set TONEWHEEL_DIFFUSION_DTYPE=float32"
        )
    if not len(samples) or float(np.abs(samples).max()) < _SILENT:
        raise RenderFault(f"{name} is silent: use another seed, or say more in the prompt")
    return samples


def limited(samples: Samples) -> tuple[Samples, bool]:
    """At full scale at most: a waveform whose peak is above is turned down as a whole, not clipped."""
    peak = float(np.abs(samples).max())
    return (samples / np.float32(peak), True) if peak > 1 else (samples, False)


def tags_of(card: Card, prompt: str, negative_prompt: str, seed: int) -> Tags:
    extra = {
        "tonewheel_model": card.id,
        "tonewheel_prompt": prompt,
        "tonewheel_seed": str(seed),
        "tonewheel_version": __version__,
    }
    if negative_prompt:
        extra["tonewheel_negative_prompt"] = negative_prompt
    return Tags(
        title=" ".join(prompt.split())[:80] or card.title, license=card.weight_license,
        comment=f"Made by Tonewheel {__version__} with {card.id}", extra=extra,
    )  # fmt: skip
