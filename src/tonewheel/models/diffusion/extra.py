"""What is told where the extra `diffusion` is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tonewheel.errors import MissingExtra

_OF_THE_EXTRA = ("torch", "transformers", "safetensors", "diffusers", "accelerate", "torchsde", "scipy")


@contextmanager
def needing_diffusers(model: str) -> Iterator[None]:
    """Around the import of a family's model. Raises MissingExtra."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_EXTRA:
            raise
        raise MissingExtra(f"{model} needs {error.name}: install tonewheel[diffusion]") from None
