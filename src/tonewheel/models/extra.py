"""What is told where the packages of a model are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from tonewheel.errors import MissingExtra

_MODELS = ("torch", "transformers", "safetensors", "sentencepiece", "tokenizers")
_PACKAGES = {"models": _MODELS, "diffusion": (*_MODELS, "diffusers", "accelerate", "torchsde", "scipy")}


@contextmanager
def needing(extra: Literal["models", "diffusion"], model: str) -> Iterator[None]:
    """Around the import of what a model runs on, in its family's `create`. Raises MissingExtra for a package of the
    extra; what else cannot be imported is a fault and stays one."""
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES[extra]:
            raise
        raise MissingExtra(f"{model} needs {package}: run `pip install 'tonewheel[{extra}]'`") from None
