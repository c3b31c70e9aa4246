"""What multiplies by weights: the one seam between a model and the arithmetic of its machine.

    kernels = best_kernels(device, "int8")                native where it is installed, else plain torch
    layer = kernels.linear("out", lambda: weight)         x [rows, inputs] → [rows, outputs]
    layer = quick_linear(layer)                           of a network that sees many rows at once
    stack = kernels.stack(shape, blocks, ...)             all layers of a decoder in one call; None = do it yourself

Three stand behind it: plain torch (always there, what the others are held to), the native ones for CPUs
(`tonewheel-kernels`, C++, optional) and torch's weight-only products on CUDA. `docs/kernels.md` has what was measured.
"""

from tonewheel.engine.kernels.choice import best_kernels, precisions
from tonewheel.engine.kernels.offer import (
    Block,
    Drawing,
    Kernels,
    Linear,
    Norm,
    Precision,
    Stack,
    StackShape,
    Wide,
    by_rows,
)
from tonewheel.engine.kernels.plain import PlainKernels, make_linear
from tonewheel.engine.kernels.split import quick_feed, quick_linear

__all__ = [
    "Block", "Drawing", "Kernels", "Linear", "Norm", "PlainKernels", "Precision", "Stack", "StackShape", "Wide",
    "best_kernels", "by_rows", "make_linear", "precisions", "quick_feed", "quick_linear",
]  # fmt: skip
