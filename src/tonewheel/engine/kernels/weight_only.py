"""Weights in 8 bits on a GPU, by torch's own product (`torch._weight_int8pack_mm`, torch 2.9 and later on CUDA).

One scale an output, activations stay in bfloat16: half the memory to read. Held to exact arithmetic on a CPU, where
torch has the same product; no session so far had a GPU to run it on.
"""

from __future__ import annotations

import torch

from tonewheel.engine.kernels.offer import Kernels, Linear, Made


class WeightOnlyKernels(Kernels):
    name = "torch, weights in 8 bits"
    precision = "int8"

    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> Linear:
        values = weight()
        kind = values.dtype
        scale = (values.float().abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        whole = (values.float() / scale[:, None]).round_().to(torch.int8)
        scale = scale.to(kind)

        def layer(x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = torch._weight_int8pack_mm(x, whole, scale)
            return made if bias is None else made + bias

        return layer
