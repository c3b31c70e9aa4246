"""HeartCodec's decoder once more, straight from the description of its architecture and with nothing in common with
the package: whole windows, attention and rotation written out, weight norm by torch, no batches, no chunks.

Follows HeartMuLa/heartlib at 3981c52 but for its loss of the last 4.16 s where (frames - 104) % 320 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

Tensors = dict[str, Tensor]


def decode(
    tensors: Tensors, heads: int, codes: Tensor, noises: Iterator[Tensor]
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Codes [8, T] → latents of every window [744, 256], its samples, and those of the whole [2, 3840 · T]."""
    total = codes.shape[1]
    length = 372
    while length < total:
        length += 320
    tiled = codes.repeat(1, -(-length // total))[:, :length]
    latents: list[Tensor] = []
    waves: list[Tensor] = []
    out = torch.zeros(2, 0, dtype=torch.float64)
    for start in range(0, length - 371, 320):
        before = latents[-1][-104:] if latents else None
        latents.append(window_latents(tensors, heads, tiled[:, start : start + 372], next(noises), before))
        waves.append(waveform(tensors, latents[-1]))
        wave = waves[-1].double()
        if start:
            rise = torch.linspace(0, 1, 199_680, dtype=torch.float64)
            out[:, -199_680:] = out[:, -199_680:] * rise.flip(0) + wave[:, :199_680] * rise
            wave = wave[:, 199_680:]
        out = torch.cat([out, wave], dim=1)
    return latents, waves, out[:, : 3840 * total].float()


def window_latents(t: Tensors, heads: int, codes: Tensor, noise: Tensor, before: Tensor | None) -> Tensor:
    """Ten Euler steps, guidance 1.25."""
    summed = sum(t[f"flow_matching.vq_embed.layers.{k}._codebook.embed"][0][codes[k]] for k in range(8))
    mu = _linear(t, "flow_matching.cond_feature_emb", _linear(t, "flow_matching.vq_embed.project_out", summed))
    mu = F.interpolate(mu.T[None], scale_factor=2.0, mode="nearest")[0].T
    known = 0 if before is None else len(before)
    context = torch.zeros(744, 256)
    if before is not None:
        context[:known] = before
    x = noise.clone()
    for step in range(10):
        time = torch.tensor(step / 10)
        x[:known] = (1 - (1 - 1e-6) * time) * noise[:known] + time * context[:known]
        plain = _estimate(t, heads, torch.cat([x, context, torch.zeros_like(mu)], dim=1), time)
        told = _estimate(t, heads, torch.cat([x, context, mu], dim=1), time)
        x = x + 0.1 * (plain + 1.25 * (told - plain))
    x[:known] = context[:known]
    return x


def _estimate(t: Tensors, heads: int, inputs: Tensor, time: Tensor) -> Tensor:
    at = "flow_matching.estimator"
    s = _stage(t, heads, _project(t, f"{at}.proj_in", inputs), time, "")
    s = _stage(t, heads, _project(t, f"{at}.connection_proj", torch.cat([inputs, s], dim=1)), time, "_2")
    return _project(t, f"{at}.proj_out", s)


def _stage(t: Tensors, heads: int, x: Tensor, time: Tensor, suffix: str) -> Tensor:
    at = "flow_matching.estimator"
    rates = 10_000 ** -(torch.arange(256) / 256)
    waves = torch.cat([(1000 * time * rates).cos(), (1000 * time * rates).sin()])
    single = f"{at}.adaln_single{suffix}"
    embedded = _linear(t, f"{single}.emb.timestep_embedder.linear_1", waves)
    embedded = _linear(t, f"{single}.emb.timestep_embedder.linear_2", F.silu(embedded))
    six = _linear(t, f"{single}.linear", F.silu(embedded)).reshape(6, -1)
    n = 0
    while f"{at}.transformer_blocks{suffix}.{n}.scale_shift_table" in t:
        name = f"{at}.transformer_blocks{suffix}.{n}"
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = six + t[f"{name}.scale_shift_table"]
        h = _rms(x, t[f"{name}.attn_norm.weight"]) * (1 + scale_a) + shift_a
        x = x + gate_a * _attention(t, f"{name}.attn", heads, h)
        h = _rms(x, t[f"{name}.mlp_norm.weight"]) * (1 + scale_m) + shift_m
        gated = F.silu(h @ t[f"{name}.mlp.gate.weight"].T) * (h @ t[f"{name}.mlp.up.weight"].T)
        x = x + gate_m * (gated @ t[f"{name}.mlp.down.weight"].T)
        n += 1
    shift, scale = t[f"{at}.scale_shift_table{suffix}"] + embedded
    spread = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    return spread * (1 + scale) + shift


def _attention(t: Tensors, name: str, heads: int, x: Tensor) -> Tensor:
    size = x.shape[1] // heads
    angles = torch.outer(torch.arange(len(x)).float(), 10_000 ** -(torch.arange(0, size, 2) / size))
    turn = torch.polar(torch.ones_like(angles), angles)[:, None]
    q, k, v = ((x @ t[f"{name}.{part}_proj.weight"].T).view(len(x), heads, size) for part in "qkv")
    q, k = (torch.view_as_real(torch.view_as_complex(y.unflatten(-1, (-1, 2))) * turn).flatten(-2) for y in (q, k))
    weights = torch.einsum("ihd,jhd->hij", q, k).div(math.sqrt(size)).softmax(-1)
    return torch.einsum("hij,jhd->ihd", weights, v).flatten(1) @ t[f"{name}.o_proj.weight"].T


def _project(t: Tensors, name: str, x: Tensor) -> Tensor:
    seen = F.conv1d(x.T[None], t[f"{name}.ffn_1.weight"], t[f"{name}.ffn_1.bias"], padding=1)[0].T
    return _linear(t, f"{name}.ffn_2", seen * 3**-0.5)


def _linear(t: Tensors, name: str, x: Tensor) -> Tensor:
    return x @ t[f"{name}.weight"].T + t[f"{name}.bias"]


def _rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


def waveform(t: Tensors, latents: Tensor) -> Tensor:
    """Latents [n, 256] → samples [2, 1920 · n]."""
    return torch.stack([_side(t, latents[:, :128]), _side(t, latents[:, 128:])])


def _side(t: Tensors, latents: Tensor) -> Tensor:
    at = "scalar_model.decoder"
    x = (9 * latents.T[None]).round() / 9
    x = F.conv1d(x, *_normed(t, f"{at}.0"), padding=2)
    for n, stride in enumerate((5, 4, 4, 4, 3), 1):
        x = F.conv_transpose1d(x, *_normed(t, f"{at}.{n}.up_conv.layer"), stride=stride)[..., :-stride]
        for m, dilation in enumerate((1, 3, 5, 7, 9)):
            unit = f"{at}.{n}.convs.{m}"
            h = F.conv1d(F.pad(x, (6 * dilation, 0)), *_normed(t, f"{unit}.conv1"), dilation=dilation)
            h = F.conv1d(F.prelu(h, t[f"{unit}.activation1.weight"]), *_normed(t, f"{unit}.conv2"))
            x = F.prelu(h, t[f"{unit}.activation2.weight"]) + x
    x = torch.stack([x, x], dim=-1).flatten(2)
    x = F.conv1d(F.pad(x, (6, 0)), t[f"{at}.6.conv.weight"], t[f"{at}.6.conv.bias"])
    x = F.prelu(x, t[f"{at}.6.activation.weight"])
    return F.conv1d(F.pad(x, (6, 0)), *_normed(t, f"{at}.7"))[0, 0]


def _normed(t: Tensors, name: str) -> tuple[Tensor, Tensor]:
    at = f"{name}.parametrizations.weight"
    return torch._weight_norm(t[f"{at}.original1"], t[f"{at}.original0"], 0), t[f"{name}.bias"]
