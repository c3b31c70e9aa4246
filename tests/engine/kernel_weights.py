"""Weights and rows of every kind, and what their products may be off by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

BITS = (4, 8, 32)
SMALLEST = 2.0**-100  # a group of smaller values counts as zero


def _spiked(shape: tuple[int, int], dice: torch.Generator) -> torch.Tensor:
    """One value of each row a million times the others."""
    x = torch.randn(shape, generator=dice)
    x[torch.arange(shape[0]), torch.randint(shape[1], (shape[0],), generator=dice)] *= 1e6
    return x


def _of_all_sizes(shape: tuple[int, int], dice: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=dice) * 10 ** torch.empty(shape).uniform_(-15, 12, generator=dice)


KINDS: dict[str, Callable[[tuple[int, int], torch.Generator], torch.Tensor]] = {
    "normal": lambda shape, dice: torch.randn(shape, generator=dice),
    "constant": lambda shape, dice: torch.full(shape, float(torch.randn(1, generator=dice))),
    "zeros": lambda shape, dice: torch.zeros(shape),
    "positive": lambda shape, dice: torch.rand(shape, generator=dice),
    "spiked": _spiked,
    "denormal": lambda shape, dice: torch.randn(shape, generator=dice) * 1e-40,
    "tiny": lambda shape, dice: torch.randn(shape, generator=dice) * 2.0**-99,
    "huge": lambda shape, dice: torch.randn(shape, generator=dice) * 1e30,
    "all sizes": _of_all_sizes,
}


def tops(x: torch.Tensor, group: int) -> torch.Tensor:
    """For each value of x [n, inputs] the largest size in its group, in double precision."""
    inputs = x.shape[1]
    padded = torch.nn.functional.pad(x.double().abs(), (0, -inputs % group))
    return padded.view(len(x), -1, group).amax(2).repeat_interleave(group, 1)[:, :inputs]


def floats(weight: Any) -> torch.Tensor:
    """A weight as it is represented [outputs, inputs]."""
    made = torch.empty(weight.outputs, weight.inputs)
    weight.floats(made)
    return made


def multiplied(weight: Any, x: torch.Tensor) -> torch.Tensor:
    made = torch.full((len(x), weight.outputs), 7.0)
    weight.multiply(x, made)
    return made


def weight_error(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """The most by which each value of a weight may be off: half a step of its group for 8 bits; a whole one for 4,
    where the largest of the other sign has no step left. Scales are bfloat16, rounded up: 2^-7 wider at most."""
    if bits == 32:
        return torch.zeros(weight.shape, dtype=torch.float64)
    size = tops(weight, group)
    step = size / (127 if bits == 8 else 8) * (1 + 2.0**-7)
    rounding = step * (0.5 if bits == 8 else 1.0) * (1 + 1e-5)
    return torch.where(size < SMALLEST, size, rounding)


def product_error(x: torch.Tensor, represented: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """The most by which x [rows, inputs] · represented [outputs, inputs] may be off: half a step for each activation,
    and what single precision loses in the sums."""
    sizes = represented.double().abs().T
    sums = x.shape[1] if bits == 32 else -(-x.shape[1] // group)
    lost = x.double().abs() @ sizes * (sums + 3) * 2.0**-24
    if bits == 32:
        return lost + 1e-37  # products that are denormal numbers
    top = tops(x, group)
    step = torch.where(top < SMALLEST, 2 * top, top / 127)
    return lost + (step * 0.5 * (1 + 1e-5)) @ sizes + 1e-37
