"""HeartCodec's first half: codes of a window to latents, by flow matching (Lipman et al. 2023) in a few Euler steps.

    condition = flow.condition(codes)                             [B, 2·n, width], two latents a code
    latents = flow.solve(condition, noise, context, known)        [B, 2·n, 256], of which the first are `context`

Names of tensors and constants: HeartMuLa/heartlib. The state and everything that rounds badly (norms, rotary
embedding, time, modulation) is float32 whatever type the products are in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, embedding, layer_norm, linear, scaled_dot_product_attention, silu

from tonewheel.engine.kernels import Kernels, Linear, by_rows
from tonewheel.errors import ModelBroken

Weights = Callable[..., Tensor]
"""name, dtype= → the tensor on the codec's device, float32 if no type is said"""

LATENT = 256  # channels of a latent frame, two sides of 128
STEPS, GUIDANCE = 10, 1.25  # upstream's
_EPS = 1e-6  # of all norms here
_ROPE_BASE = 10_000.0
TIME_WIDTH, _TIME_PERIOD, _TIME_SCALE = 512, 10_000.0, 1000.0
_LEFT_OF_NOISE = 1 - 1e-6  # what is known runs along noise·(1 - this·t) + known·t


@dataclass(frozen=True, slots=True)
class FlowShape:
    """Sizes, by config.json."""

    codebooks: int  # residual quantisers
    codes: int  # entries of each
    code_width: int
    width: int  # of the condition
    heads: int
    head_size: int
    layers: int
    layers_2: int  # of twice the width and head size

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> FlowShape:
        """Raises ModelBroken."""
        names = (
            "num_quantizers", "codebook_size", "codebook_dim", "dim", "num_attention_heads", "attention_head_dim",
            "num_layers", "num_layers_2",
        )  # fmt: skip
        try:
            shape = cls(*(int(config[name]) for name in names))
            inputs, outputs = int(config["in_channels"]), int(config["out_channels"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelBroken(f"the codec's config.json is not one of HeartCodec: {error!r}") from None
        if outputs != LATENT or inputs != 2 * LATENT + shape.width:
            raise ModelBroken(
                f"the codec's config.json has {inputs} channels in and {outputs} out; "
                f"HeartCodec has {2 * LATENT + shape.width} and {LATENT}"
            )
        if config.get("norm_type") != "ada_norm_single" or config.get("use_cosine_sim"):
            raise ModelBroken("the codec's config.json has another norm or quantiser than ada_norm_single, euclidean")
        return shape

    @property
    def inner(self) -> int:
        return self.heads * self.head_size


class Flow:
    """The quantiser's tables and the estimator, in `dtype` on `device`."""

    def __init__(
        self, shape: FlowShape, weights: Weights, *, device: torch.device, dtype: torch.dtype, kernels: Kernels
    ) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        at = "flow_matching.vq_embed"
        self._tables = [weights(f"{at}.layers.{n}._codebook.embed")[0] for n in range(shape.codebooks)]
        self._out = weights(f"{at}.project_out.weight"), weights(f"{at}.project_out.bias")
        self._condition = (
            weights("flow_matching.cond_feature_emb.weight"), weights("flow_matching.cond_feature_emb.bias"),
        )  # fmt: skip
        self._estimator = _Estimator(shape, weights, device, dtype, kernels)

    def condition(self, codes: Tensor) -> Tensor:
        """Codes [B, K, n], all within the codebooks → [B, 2·n, width]."""
        found = torch.stack([embedding(codes[:, k], table) for k, table in enumerate(self._tables)]).sum(0)
        return linear(linear(found, *self._out), *self._condition).repeat_interleave(2, dim=1)

    def solve(
        self,
        condition: Tensor,
        noise: Tensor,
        context: Tensor,
        known: Sequence[int],
        *,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Tensor:
        """Latents [B, n, 256] float32 for a condition [B, n, width], noise and context of the latents' shape.

        The first known[b] frames of a row are `context`, and come out as they were. `go_on` is asked before every
        step; once it says no, what is there so far comes back and is worth nothing.
        """
        frames = torch.arange(noise.shape[1], device=self.device)
        is_known = (frames < torch.tensor(known, device=self.device)[:, None])[..., None]
        context = torch.where(is_known, context, 0.0)
        guided = guidance > 1
        if guided:
            condition = torch.cat([torch.zeros_like(condition), condition])
        x, times = noise, torch.linspace(0, 1, steps + 1)
        for time, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
            if not go_on():
                break
            x = torch.where(is_known, (1 - _LEFT_OF_NOISE * time) * noise + time * context, x)
            rows = torch.cat([x, context], dim=-1)
            slope = self._estimator(torch.cat([rows.repeat(2, 1, 1) if guided else rows, condition], dim=-1), time)
            if guided:
                without, within = slope.chunk(2)
                slope = without + guidance * (within - without)
            x = x + (after - time) * slope
        return torch.where(is_known, context, x)


class _Estimator:
    """The slope at a point [B, n, 2·256 + width]: two transformers in a row, the second twice as wide."""

    def __init__(
        self, shape: FlowShape, weights: Weights, device: torch.device, dtype: torch.dtype, kernels: Kernels
    ) -> None:
        at = "flow_matching.estimator"
        self._dtype = dtype
        self._in = _Project(f"{at}.proj_in", weights, dtype)
        self._between = _Project(f"{at}.connection_proj", weights, dtype)
        self._out = _Project(f"{at}.proj_out", weights, dtype)
        sizes = (("", shape.layers, shape.head_size), ("_2", shape.layers_2, 2 * shape.head_size))
        self._first, self._second = (
            _Stage(at, suffix, layers, shape.heads, size, weights, device, dtype, kernels)
            for suffix, layers, size in sizes
        )

    def __call__(self, x: Tensor, time: float) -> Tensor:
        x = x.to(self._dtype)
        s = self._first(self._in(x), time)
        return self._out(self._second(self._between(torch.cat([x, s], dim=-1)), time)).float()


class _Project:
    """A convolution over three frames, and a linear layer."""

    def __init__(self, name: str, weights: Weights, dtype: torch.dtype) -> None:
        self._conv = weights(f"{name}.ffn_1.weight", dtype=dtype), weights(f"{name}.ffn_1.bias", dtype=dtype)
        self._linear = weights(f"{name}.ffn_2.weight", dtype=dtype), weights(f"{name}.ffn_2.bias", dtype=dtype)

    def __call__(self, x: Tensor) -> Tensor:
        kernel = self._conv[0].shape[-1]
        seen = conv1d(x.transpose(1, 2), *self._conv, padding=kernel // 2).transpose(1, 2)
        return linear(seen * kernel**-0.5, *self._linear)


class _Stage:
    """Blocks of one width, modulated by the time, and the norm behind them."""

    def __init__(
        self, at: str, suffix: str, layers: int, heads: int, head_size: int, weights: Weights, device: torch.device,
        dtype: torch.dtype, kernels: Kernels,
    ) -> None:  # fmt: skip
        self._device, self._dtype, self._head_size = device, dtype, head_size
        self._blocks = [
            _Block(f"{at}.transformer_blocks{suffix}.{n}", heads, head_size, weights, dtype, kernels)
            for n in range(layers)
        ]
        self._after = weights(f"{at}.scale_shift_table{suffix}")  # [2, width]: shift, scale
        single = f"{at}.adaln_single{suffix}"
        self._time = [
            (weights(f"{single}.{name}.weight"), weights(f"{single}.{name}.bias"))
            for name in ("emb.timestep_embedder.linear_1", "emb.timestep_embedder.linear_2", "linear")
        ]

    def __call__(self, x: Tensor, time: float) -> Tensor:
        width = x.shape[-1]
        first, second, modulate = self._time
        embedded = linear(silu(linear(_time_embedding(time, self._device), *first)), *second)  # [width]
        modulation = linear(silu(embedded), *modulate).view(6, width)
        turns = _turns(x.shape[1], self._head_size, self._device)
        for block in self._blocks:
            x = block(x, modulation, turns)
        shift, scale = (self._after + embedded).unbind(0)
        return (layer_norm(x.float(), (width,), eps=_EPS) * (1 + scale) + shift).to(self._dtype)


class _Block:
    """Attention over the whole window and a gated feed-forward part, each scaled, shifted and gated by the time."""

    def __init__(
        self, name: str, heads: int, head_size: int, weights: Weights, dtype: torch.dtype, kernels: Kernels
    ) -> None:
        self._heads, self._head_size = heads, head_size
        self._norms = weights(f"{name}.attn_norm.weight"), weights(f"{name}.mlp_norm.weight")
        self._table = weights(f"{name}.scale_shift_table")  # [6, width]

        def product(*names: str) -> Linear:
            return _product(kernels, torch.cat([weights(f"{name}.{n}.weight", dtype=dtype) for n in names]))

        self._qkv = product("attn.q_proj", "attn.k_proj", "attn.v_proj")
        self._o = product("attn.o_proj")
        self._gate_up = product("mlp.gate", "mlp.up")
        self._down = product("mlp.down")

    def __call__(self, x: Tensor, modulation: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        shift, scale, gate, shift_2, scale_2, gate_2 = (self._table + modulation).unbind(0)
        x = x + gate.to(x.dtype) * self._attention(_modulated(x, self._norms[0], shift, scale), turns)
        seen = _modulated(x, self._norms[1], shift_2, scale_2)
        opened, up = self._gate_up(seen).chunk(2, dim=-1)
        return x + gate_2.to(x.dtype) * self._down(silu(opened) * up)

    def _attention(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        rows, frames, _ = x.shape
        parts = self._qkv(x).view(rows, frames, 3, self._heads, self._head_size)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(_turned(query, turns), _turned(key, turns), value)
        return self._o(seen.transpose(1, 2).flatten(2))


def _product(kernels: Kernels, weight: Tensor) -> Linear:
    """x [..., inputs] times weight [outputs, inputs], by the kernels where they have it for many rows in this type."""
    wide = kernels.wide(weight) if weight.dtype == torch.float32 and weight.device.type == "cpu" else None
    if wide is None:
        return lambda x: linear(x, weight)
    outputs = len(weight)  # not the weight itself, which may go
    return lambda x: by_rows(wide, x, outputs)


def _modulated(x: Tensor, weight: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """RMSNorm, scaled and shifted, in float32."""
    wide = x.float()
    normed = weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + _EPS))
    return (normed * (1 + scale) + shift).to(x.dtype)


def _turns(frames: int, head_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines [frames, head_size / 2]."""
    rates = 1.0 / _ROPE_BASE ** (torch.arange(0, head_size, 2, device=device, dtype=torch.float32) / head_size)
    angles = torch.arange(frames, device=device, dtype=torch.float32)[:, None] * rates
    return angles.cos(), angles.sin()


def _turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding of x [B, heads, frames, size]: pairs (0, 1), (2, 3) …"""
    cos, sin = turns
    first, second = x.float().view(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1).flatten(-2).to(x.dtype)


def _time_embedding(time: float, device: torch.device) -> Tensor:
    half = TIME_WIDTH // 2
    rates = torch.exp(-math.log(_TIME_PERIOD) * torch.arange(half, device=device, dtype=torch.float32) / half)
    angles = time * rates * _TIME_SCALE
    return torch.cat([angles.cos(), angles.sin()])
