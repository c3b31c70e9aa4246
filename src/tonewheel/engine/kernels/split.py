"""Linear layers in float32 of networks that see many rows at once: encoders, not decoders of a token a step.

Where a processor has tiles of bfloat16 (Intel AMX), the native kernels take every float for the sum of two bfloat16 and
multiply by three products of those: 2 to 4 times as fast as torch's float32, each product within 3 * 2^-16 of itself
(Henry, Tang and Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations",
2019). Elsewhere layers stay torch's.

    layer = quick_linear(layer)                a module of the same meaning
    feed = quick_feed(up, "gelu", down)        down(gelu(up(x))), what lies between kept in the cache; None = not here
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from tonewheel.engine.kernels.choice import native_or_why
from tonewheel.engine.kernels.offer import by_rows


def quick_linear(layer: nn.Linear) -> nn.Module:
    """The layer in its fastest form of the same precision, for inference; itself where there is none faster."""
    return SplitLinear(_split(layer)) if _splits(layer) else layer


def quick_feed(up: nn.Linear, activation: str, down: nn.Linear) -> nn.Module | None:
    """`down(activation(up(x)))` in one; activations are gelu, gelu_tanh and relu. None where two layers are as fast."""
    return SplitFeed(_split(up), activation, _split(down)) if _splits(up) and _splits(down) else None


class SplitLinear(nn.Module):
    """x [..., inputs] → [..., outputs], float32 on a CPU."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        product = partial(self._weight.multiply, crew=sleepers(torch.get_num_threads()))
        return by_rows(product, x, self._weight.outputs)


class SplitFeed(nn.Module):
    """x [..., inputs] → [..., outputs] through both layers of a feed-forward, float32 on a CPU."""

    def __init__(self, up: Any, activation: str, down: Any) -> None:
        super().__init__()
        self._up, self._activation, self._down = up, activation, down

    def forward(self, x: Tensor) -> Tensor:
        crew = sleepers(torch.get_num_threads())
        return by_rows(partial(self._up.feed, self._down, self._activation, crew=crew), x, self._down.outputs)


def _splits(layer: nn.Linear) -> bool:
    return layer.weight.dtype == torch.float32 and layer.weight.device.type == "cpu" and _offered()


def _split(layer: nn.Linear) -> Any:
    import tonewheel_kernels  # noqa: PLC0415

    bias = None if layer.bias is None else layer.bias.detach().contiguous()
    return tonewheel_kernels.Split(layer.weight.detach().contiguous(), bias)


def _offered() -> bool:
    found, _ = native_or_why()
    if not found:
        return False
    import tonewheel_kernels  # noqa: PLC0415

    return bool(tonewheel_kernels.Split.offered())


@lru_cache
def sleepers(threads: int) -> Any:
    """A crew of so many threads, None = the caller alone. They sleep between two products: what lies between is
    torch's, on the same processors."""
    import tonewheel_kernels  # noqa: PLC0415

    return tonewheel_kernels.Crew(threads, watch=0) if threads > 1 else None
