"""Long latents through a network that sees only so far, a window at a time: the same samples, a part of the memory.

    in_windows(vae.decode, latents, window=512, margin=16, hop=2048)

Both decoders see a few latent frames to either side of one. Oobleck (Open 1.0): its first convolution 3, its first
transposed one 1, the residual units after it 39 samples of 8 to a frame, the rest less than 1: 10 in all. SAME (Stable
Audio 3): its attention is a band of one latent frame to either side in each layer, so as many as it has layers;
diffusers computes it as a full matrix with a mask, 70,000 x 70,000 for 380 s. By windows with such margins it is equal
but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def spans(frames: int, window: int, margin: int, *, of: int) -> Iterator[tuple[int, int, int, int]]:
    """The first `frames` of `of`: (first, end) of each window, and (left, right) of what is computed for it."""
    for first in range(0, frames, window):
        end = min(first + window, frames)
        yield first, end, max(0, first - margin), min(of, end + margin)


def decoded(
    decode: Callable[[Tensor], Tensor], latents: Tensor, samples: int, *, window: int, margin: int, hop: int
) -> Tensor:
    """The first `samples` of what latents [1, channels, frames] sound like → [sides, samples], in main memory.

    Frames that nobody hears are not decoded.
    """
    frames = -(-samples // hop)
    pieces = []
    for first, end, left, right in spans(frames, window, margin, of=latents.shape[-1]):
        sound = decode(latents[..., left:right])
        pieces.append(sound[0, :, (first - left) * hop : (end - left) * hop].float().cpu())
    return torch.cat(pieces, dim=-1)[:, :samples]


def encoded(encode: Callable[[Tensor], Tensor], sound: Tensor, *, window: int, margin: int, hop: int) -> Tensor:
    """Sound [rows, sides, n] → latents [rows, channels, ceil(n / hop)]."""
    frames = -(-sound.shape[-1] // hop)
    sound = torch.nn.functional.pad(sound, (0, frames * hop - sound.shape[-1]))
    pieces = []
    for first, end, left, right in spans(frames, window, margin, of=frames):
        latents = encode(sound[..., left * hop : right * hop])
        pieces.append(latents[..., first - left : end - left])
    return torch.cat(pieces, dim=-1)
