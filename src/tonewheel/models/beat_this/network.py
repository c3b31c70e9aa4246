"""The network: frames to beat and downbeat logits, in plain torch, for inference.

Architecture and parameter names are those of CPJKU/beat_this (Foscarin, Schlüter, Widmer: "Beat this! Accurate beat
tracking without DBN postprocessing", ISMIR 2024; MIT), so that its checkpoints fit. Convolutions shrink the
frequencies by 32 in four steps; before three of them attention runs across frequencies, then across time; a
transformer with rotary positions follows; one linear layer reads off both logits.

B: batch, T: frames, F: frequencies, C: channels, H: heads, D: head dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_FRONTEND_FF = 4  # upstream's ff_mult counts for the transformer only
_STEM_STRIDE = 4
_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network, by the names of upstream's hyperparameters; the defaults are those of `final0`."""

    spect_dim: int = 128
    transformer_dim: int = 512
    ff_mult: int = 4
    n_layers: int = 6
    head_dim: int = 32
    stem_dim: int = 32
    sum_head: bool = True
    partial_transformers: bool = True


class BeatThis(nn.Module):
    """Frames `[B, T, 128]` to logits `[B, T, 2]`: beat, downbeat."""

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.rotary = Rotary(shape.head_dim)
        self.frontend = Frontend(shape)
        self.transformer_blocks = Transformer(shape)
        self.task_heads = nn.ModuleDict({"beat_downbeat_lin": nn.Linear(shape.transformer_dim, 2)})

    def forward(self, frames: Tensor) -> Tensor:
        x = self.frontend(frames, self.rotary)
        x = self.transformer_blocks(x, self.rotary)
        logits: Tensor = self.task_heads["beat_downbeat_lin"](x).float()
        if self.shape.sum_head:  # a downbeat is a beat: its evidence counts for both
            logits = torch.stack((logits.sum(-1), logits[..., 1]), dim=-1)
        return logits


class Frontend(nn.Module):
    """`[B, T, 128]` → `[B, T, transformer_dim]`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stem = Stem(shape.spect_dim, shape.stem_dim)
        widths = [shape.stem_dim * 2**i for i in range(_BLOCKS + 1)]
        self.blocks = nn.ModuleList(FrontendBlock(c, 2 * c, shape) for c in widths[:-1])
        bands = shape.spect_dim // _STEM_STRIDE // 2**_BLOCKS
        self.linear = nn.Linear(widths[-1] * bands, shape.transformer_dim)

    def forward(self, frames: Tensor, rotary: Rotary) -> Tensor:
        x = self.stem(frames)
        for block in self.blocks:
            x = block(x, rotary)
        return self.linear(x.permute(0, 3, 1, 2).flatten(2))  # type: ignore[no-any-return]  # [B,C,F,T] → [B,T,C·F]


class Stem(nn.Module):
    """`[B, T, F]` → `[B, C, F / 4, T]`."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        self.bn1d = nn.BatchNorm1d(bands)
        self.conv2d = nn.Conv2d(1, channels, (_STEM_STRIDE, 3), (_STEM_STRIDE, 1), (0, 1), bias=False)
        self.bn2d = nn.BatchNorm2d(channels)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.bn1d(frames.transpose(1, 2))[:, None]
        return functional.gelu(self.bn2d(self.conv2d(x)))


class FrontendBlock(nn.Module):
    """`[B, C, F, T]` → `[B, 2 C, F / 2, T]`."""

    def __init__(self, channels: int, out: int, shape: Shape) -> None:
        super().__init__()
        self.partial = PartialTransformer(channels, shape.head_dim) if shape.partial_transformers else None
        self.conv2d = nn.Conv2d(channels, out, (2, 3), (2, 1), (0, 1), bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        if self.partial is not None:
            x = self.partial(x, rotary)
        return functional.gelu(self.norm(self.conv2d(x)))


class PartialTransformer(nn.Module):
    """Attention across frequencies in each frame, then across time in each band; `[B, C, F, T]` stays."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.attnF = Attention(channels, head_dim)
        self.ffF = FeedForward(channels, _FRONTEND_FF)
        self.attnT = Attention(channels, head_dim)
        self.ffT = FeedForward(channels, _FRONTEND_FF)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        batch, channels, bands, frames = x.shape
        # Copied into order: a linear layer takes rows that lie apart one by one.
        x = x.permute(0, 3, 2, 1).contiguous().flatten(0, 1)  # [B·T, F, C]
        x = x + self.attnF(x, rotary)
        x = x + self.ffF(x)
        x = x.view(batch, frames, bands, channels).transpose(1, 2).contiguous().flatten(0, 1)  # [B·F, T, C]
        x = x + self.attnT(x, rotary)
        x = x + self.ffT(x)
        return x.view(batch, bands, frames, channels).permute(0, 3, 1, 2)


class Transformer(nn.Module):
    """`[B, T, C]` stays."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim = shape.transformer_dim
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(dim, shape.head_dim), FeedForward(dim, shape.ff_mult)])
            for _ in range(shape.n_layers)
        )
        self.norm = RMSNorm(dim)

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        for layer in self.layers:
            attention, feed_forward = cast(Iterable[nn.Module], layer)
            x = x + attention(x, rotary)
            x = x + feed_forward(x)
        return self.norm(x)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Self-attention with rotary positions and a gate a head (as in Phil Wang's BS-RoFormer); `[N, T, C]` stays."""

    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.norm = RMSNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.to_gates = nn.Linear(dim, self.heads)
        self.to_out = nn.Sequential(nn.Linear(dim, dim, bias=False))

    def forward(self, x: Tensor, rotary: Rotary) -> Tensor:
        x = self.norm(x)
        q, k, v = self.to_qkv(x).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each [N, H, T, D]
        attended = functional.scaled_dot_product_attention(rotary(q), rotary(k), v)
        gated = attended.transpose(1, 2) * self.to_gates(x).sigmoid()[..., None]  # [N, T, H, D]
        return self.to_out(gated.flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """`[N, T, C]` stays. The numbers of `net` are those of upstream's, which has dropout in between."""

    def __init__(self, dim: int, mult: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            RMSNorm(dim), nn.Linear(dim, mult * dim), nn.GELU(), nn.Identity(), nn.Linear(mult * dim, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class RMSNorm(nn.Module):
    """Each vector scaled to the length sqrt(dim), then by `gamma`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.gamma * math.sqrt(len(self.gamma))
        return functional.normalize(x, dim=-1) * scale


class Rotary(nn.Module):
    """Rotary positions over all of a head's dimensions, pairs side by side; one for the whole network."""

    freqs: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("freqs", 10_000.0 ** (-torch.arange(0, dim, 2).float() / dim))
        self._tables: dict[int, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """`x [N, H, T, D]`, each vector turned by the angles of its place in T."""
        cosine, sine = self._table(x.shape[-2])
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
        return x * cosine + turned * sine

    def _table(self, length: int) -> tuple[Tensor, Tensor]:
        known = self._tables.get(length)
        if known is None or known[0].device != self.freqs.device:
            angles = torch.outer(torch.arange(length, device=self.freqs.device).float(), self.freqs)
            angles = angles.repeat_interleave(2, dim=-1)
            self._tables = dict(list(self._tables.items())[-7:])  # chunks have few lengths; short files have any
            known = self._tables[length] = (angles.cos(), angles.sin())
        return known
