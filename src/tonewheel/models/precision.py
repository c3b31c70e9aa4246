"""What a model's weights will be kept in, and what that takes: known without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Bytes of a weight (quantised ones with a bfloat16 scale for each 128), and of a kept key or value (8 bits with a
# float32 scale for each head of 64).
_SIZES = {
    "float32": (4.0, 4.0), "bfloat16": (2.0, 2.0), "float16": (2.0, 2.0), "int8": (1 + 2 / 128, 1 + 4 / 64),
    "int4": (0.5 + 2 / 128, 1 + 4 / 64),
}  # fmt: skip


def expected_sizes(chosen: str | None) -> tuple[float, float]:
    """Bytes of a weight and of a kept key or value, as set or, for None and `auto`, as tonewheel.engine.kernels would
    choose. A GPU is told by its device file."""
    if chosen not in (None, "auto"):
        return _SIZES[chosen]
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists():
        return _SIZES["bfloat16"]
    return _SIZES["int8" if find_spec("tonewheel_kernels") else "float32"]
