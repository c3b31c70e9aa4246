"""Sizes of HeartMuLa's transformers. A checkpoint names them by a word in its config.json instead of writing them out.

A checkpoint of other sizes says them itself, under `flavors` in the same file:

    {"backbone_flavor": "mine", "flavors": {"mine": {"layers": 12, "heads": 8, …}}, …}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tonewheel.errors import ModelBroken


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """A Llama-3.2 transformer's size."""

    layers: int
    heads: int
    key_heads: int  # of keys and values; each serves heads / key_heads queries
    head_size: int
    width: int
    feed_width: int
    positions: int


# As heartlib builds them (src/heartlib/heartmula/modeling_heartmula.py, March 2026). 7B and 400M were never released.
FLAVORS: Mapping[str, TransformerShape] = {
    "llama-3B": TransformerShape(28, 24, 8, 128, 3072, 8192, 8192),
    "llama-300M": TransformerShape(3, 8, 4, 384, 3072, 8192, 2048),
    "llama-7B": TransformerShape(32, 32, 8, 128, 4096, 14_336, 8192),
    "llama-400M": TransformerShape(4, 8, 4, 384, 3072, 8192, 2048),
}


def known_flavors(config: Mapping[str, Any]) -> dict[str, TransformerShape]:
    """The released sizes, and those a config.json brings itself. Raises ModelBroken."""
    own = config.get("flavors")
    if own is None:
        return dict(FLAVORS)
    if not isinstance(own, Mapping):
        raise ModelBroken("config.json: flavors holds no sizes by name")
    return {**FLAVORS, **{str(name): _own(str(name), said) for name, said in own.items()}}


def _own(name: str, said: Any) -> TransformerShape:
    try:
        sizes = {f.name: int(said[f.name]) for f in fields(TransformerShape)}
    except (KeyError, TypeError, ValueError) as error:
        wanted = ", ".join(f.name for f in fields(TransformerShape))
        raise ModelBroken(f"config.json: flavor {name!r} needs whole numbers for {wanted}: {error}") from None
    size = TransformerShape(**sizes)
    if min(sizes.values()) < 1 or size.heads % size.key_heads or size.head_size % 2:
        raise ModelBroken(f"config.json: flavor {name!r} has sizes that do not go together: {sizes}")
    return size
