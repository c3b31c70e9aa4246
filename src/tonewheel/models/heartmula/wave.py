"""HeartCodec's second half: latents at 25 a second to samples at 48 kHz, one side at a time.

Latents are rounded to ninths; convolutions, of which only the first looks ahead (two frames), make 1920 samples of
each. `Wave.decode` works through a window by chunks that are computed with as many frames before them as their samples
depend on, and gives what a computation in one piece gives; memory depends on the chunk alone.

Names of tensors and constants: HeartMuLa/heartlib. Weight norm is folded when the weights are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv_transpose1d, pad, prelu

from tonewheel.errors import ModelBroken
from tonewheel.models.heartmula.flow import LATENT, Weights

SAMPLE_RATE, SAMPLES_PER_LATENT = 48_000, 1920
CHUNK = 125  # latents decoded at a time, 5 s
SIDE = LATENT // 2  # channels of a side
_LEVELS = 9  # steps of a latent within 1
STRIDES = (5, 4, 4, 4, 3)
KERNEL, FIRST_KERNEL = 7, 5
DILATIONS = (1, 3, 5, 7, 9)
_REPEAT = 2  # how often each frame of the last block stands
LOOKAHEAD = FIRST_KERNEL // 2

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class WaveShape:
    """Sizes, by config.json; all but the width is the same in every file that was released."""

    channels: int  # of the last block; each block before it has twice as many

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> WaveShape:
        """Raises ModelBroken for a decoder that is built in another way."""
        wanted = {
            "num_bands": 1, "sample_rate": SAMPLE_RATE, "causal": True, "num_samples": _REPEAT,
            "upsample_factors": list(STRIDES), "upsample_kernel_sizes": [2 * s for s in STRIDES],
            "latent_hidden_dim": SIDE, "default_kernel_size": KERNEL, "delay_kernel_size": FIRST_KERNEL,
            "res_kernel_size": KERNEL,
        }  # fmt: skip
        for name, value in wanted.items():
            if config.get(name) != value:
                raise ModelBroken(f"the codec's config.json has {name} {config.get(name)}; HeartCodec has {value}")
        channels = config.get("init_channel")
        if not isinstance(channels, int) or channels < 1:
            raise ModelBroken(f"the codec's config.json has init_channel {channels}, which is no number of channels")
        return cls(channels)


def context() -> int:
    """Latents before one that its samples depend on: what each layer sees, from the last one to the first."""
    past = 2 * (KERNEL - 1) // _REPEAT  # of the two convolutions at the full rate
    for stride in reversed(STRIDES):
        past += (KERNEL - 1) * sum(DILATIONS)
        past = -(-past // stride) + 1  # a kernel of two strides adds one frame before
    return past + FIRST_KERNEL // 2


class Wave:
    """The decoder, float32."""

    def __init__(self, shape: WaveShape, weights: Weights, *, device: torch.device) -> None:
        self.shape, self.device = shape, device
        at, last = "scalar_model.decoder", len(STRIDES) + 1
        self._first = _folded(f"{at}.0", weights)
        self._blocks = [_block(f"{at}.{n}", stride, weights) for n, stride in enumerate(STRIDES, 1)]
        self._post = weights(f"{at}.{last}.conv.weight"), weights(f"{at}.{last}.conv.bias")
        self._post_slope = weights(f"{at}.{last}.activation.weight")
        self._last = _folded(f"{at}.{last + 1}", weights)
        self.context = context()

    def decode(self, latents: Tensor, *, chunk: int = CHUNK, go_on: Callable[[], bool] = lambda: True) -> Tensor:
        """Latents [n, 256] of one window → samples [2, 1920·n] on the CPU, float32.

        Once `go_on` says no, what is missing stays silent: the caller wants it no longer.
        """
        frames = len(latents)
        sides = latents.view(frames, 2, SIDE).permute(1, 2, 0)
        rounded = torch.round(_LEVELS * sides) / _LEVELS
        samples = torch.zeros(2, frames * SAMPLES_PER_LATENT)
        for start in range(0, frames, chunk):
            if not go_on():
                break
            stop = min(frames, start + chunk)
            begin = max(0, start - self.context)
            made = self._run(rounded[..., begin : min(frames, stop + LOOKAHEAD)])
            first, last = (at * SAMPLES_PER_LATENT for at in (start - begin, stop - begin))
            samples[:, start * SAMPLES_PER_LATENT : stop * SAMPLES_PER_LATENT] = made[:, first:last]
        return samples

    def _run(self, x: Tensor) -> Tensor:
        """[2, 128, n] → [2, 1920·n]."""
        x = conv1d(x, *self._first, padding=FIRST_KERNEL // 2)
        for block in self._blocks:
            x = block(x)
        x = prelu(_causal(x.repeat_interleave(_REPEAT, dim=-1), *self._post), self._post_slope)
        return _causal(x, *self._last)[:, 0]


def _block(name: str, stride: int, weights: Weights) -> Layer:
    up = _folded(f"{name}.up_conv.layer", weights)
    units = [_unit(f"{name}.convs.{n}", dilation, weights) for n, dilation in enumerate(DILATIONS)]

    def run(x: Tensor) -> Tensor:
        x = conv_transpose1d(x, *up, stride=stride)[..., :-stride]
        for unit in units:
            x = unit(x)
        return x

    return run


def _unit(name: str, dilation: int, weights: Weights) -> Layer:
    wide, point = _folded(f"{name}.conv1", weights), _folded(f"{name}.conv2", weights)
    slopes = [weights(f"{name}.activation{n}.weight") for n in (1, 2)]
    return lambda x: prelu(conv1d(prelu(_causal(x, *wide, dilation=dilation), slopes[0]), *point), slopes[1]) + x


def _causal(x: Tensor, weight: Tensor, bias: Tensor, dilation: int = 1) -> Tensor:
    return conv1d(pad(x, (dilation * (weight.shape[-1] - 1), 0)), weight, bias, dilation=dilation)


def _folded(name: str, weights: Weights) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution whose weight is kept as lengths [n, 1, 1] and directions [n, …]."""
    length, direction = (weights(f"{name}.parametrizations.weight.original{n}") for n in (0, 1))
    return direction * (length / direction.norm(dim=(1, 2), keepdim=True)), weights(f"{name}.bias")
