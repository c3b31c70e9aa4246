"""The Llama transformer that HeartMuLa is made of twice: a large one over time, a small one over a frame's codes.

Pre-norm, RMSNorm, SwiGLU, grouped heads, no biases; rotary embedding of interleaved pairs with Llama-3 scaling
(Touvron et al. 2023; Dubey et al. 2024, §3.2; the layout of pairs is Meta's, not that of transformers' Llama).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import silu

from tonewheel.engine.kernels import Block, Kernels, Linear, Stack, StackShape
from tonewheel.engine.kernels import Norm as NormWeights
from tonewheel.models.heartmula.flavors import TransformerShape

Weights = Callable[[str], torch.Tensor]

_NORM_EPS = 1e-5
_ROPE_BASE = 500_000.0
_ROPE_FACTOR, _ROPE_LOW, _ROPE_HIGH, _ROPE_CONTEXT = 32.0, 1.0, 4.0, 8192


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm in float32, back in the input's type before the scale."""

    scale: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _NORM_EPS)).to(x.dtype) * self.scale

    @property
    def weights(self) -> NormWeights:
        return NormWeights(self.scale, None, _NORM_EPS)


@dataclass(frozen=True, slots=True)
class Layer:
    norm: Norm
    query_key_value: Linear
    out: Linear
    feed_norm: Norm
    gate_up: Linear
    down: Linear

    def fed(self, x: torch.Tensor) -> torch.Tensor:
        """The feed-forward part [rows, width], without the residual."""
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return self.down(silu(gate) * up)


class Transformer:
    """Layers, the rotary table and the last norm; where keys and values are kept is the caller's matter."""

    def __init__(
        self,
        shape: TransformerShape,
        name: str,
        weights: Weights,
        *,
        device: torch.device,
        kernels: Kernels,
        positions: int | None = None,
    ) -> None:
        """`positions`: length of the rotary table, where fewer are ever used."""
        self.shape = shape
        self.layers = [_layer(f"{name}.layers.{n}", weights, kernels) for n in range(shape.layers)]
        self.norm = Norm(weights(f"{name}.norm.scale"))
        cos, sin = rotary_table(positions or shape.positions, shape.head_size)
        self._cos, self._sin = cos.to(device), sin.to(device)
        self.stack: Stack | None = kernels.stack(
            StackShape(
                shape.width, shape.heads, shape.key_heads, shape.head_size, gated=True, cosines=cos, sines=sin,
            ),
            [_block(layer) for layer in self.layers], self.norm.weights, None,
        )  # fmt: skip

    def split(self, layer: Layer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries [rows, heads, size], keys and values [rows, key heads, size] of x [rows, width], not yet turned."""
        s = self.shape
        heads = layer.query_key_value(layer.norm(x)).view(len(x), s.heads + 2 * s.key_heads, s.head_size)
        return heads[:, : s.heads], heads[:, s.heads : s.heads + s.key_heads], heads[:, s.heads + s.key_heads :]

    def turned(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rotary embedding of x [n, heads, size] at positions [n]: pairs (0, 1), (2, 3) …, in float32."""
        pairs = x.float().reshape(*x.shape[:-1], -1, 2)
        cos, sin = self._cos[positions][:, None], self._sin[positions][:, None]
        first, second = pairs[..., 0], pairs[..., 1]
        return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2).to(x.dtype)


def rotary_table(positions: int, head_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [positions, head_size / 2] with Llama-3 scaling: slow turns are slowed down 32 times, fast
    ones kept, those between blended."""
    rates = _ROPE_BASE ** -(torch.arange(0, head_size, 2).float() / head_size)
    turns = _ROPE_CONTEXT * rates / (2 * math.pi)  # full turns within the context it was trained on first
    kept = ((turns - _ROPE_LOW) / (_ROPE_HIGH - _ROPE_LOW)).clamp(0, 1)
    rates = rates * kept + rates / _ROPE_FACTOR * (1 - kept)
    angles = torch.arange(positions).float()[:, None] * rates
    return angles.cos(), angles.sin()


def _block(layer: Layer) -> Block:
    norms = layer.norm.weights, layer.feed_norm.weights
    return Block(norms[0], layer.query_key_value, layer.out, norms[1], layer.gate_up, layer.down)


def _layer(name: str, weights: Weights, kernels: Kernels) -> Layer:
    def linear(*parts: str) -> Linear:
        return kernels.linear(
            f"{name}.{parts[0]}", lambda: torch.cat([weights(f"{name}.{part}.weight") for part in parts])
        )

    return Layer(
        Norm(weights(f"{name}.sa_norm.scale")),
        linear("attn.q_proj", "attn.k_proj", "attn.v_proj"),
        linear("attn.output_proj"),
        Norm(weights(f"{name}.mlp_norm.scale")),
        linear("mlp.w1", "mlp.w3"),
        linear("mlp.w2"),
    )
