"""Random numbers by counter: a number depends on what it is for, not on what was drawn before it.

The hash is splitmix64's finaliser (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number
generators"), applied to the seed and then to the step and codebook, in int64 arithmetic that wraps.
"""

from __future__ import annotations

import torch

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64: 2^64 / golden ratio
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def uniform(seeds: torch.Tensor, steps: torch.Tensor, codebooks: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Numbers in [0, 1) of shape [B, K] for seeds [B], steps [B] and codebooks [K], all int64."""
    counter = (steps[:, None] << 8) + codebooks[None, :]
    key = _mix(seeds[:, None] + _GOLDEN)
    bits = _mix(key + counter * _GOLDEN)
    # As many of the upper bits as the float holds exactly: 1.0 itself can not come out.
    kept = 53 if dtype == torch.float64 else 24
    return _right(bits, 64 - kept).to(dtype) * 2.0**-kept


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _right(x, 30)) * _MIX_1
    x = (x ^ _right(x, 27)) * _MIX_2
    return x ^ _right(x, 31)


def _right(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift as an unsigned number: torch's shift of int64 drags the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
