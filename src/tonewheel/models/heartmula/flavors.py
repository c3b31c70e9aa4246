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
class Flavor:
    """A Llama-3.2 transformer's size."""

    layers: int
    heads: int
    kv_heads: int  # of keys and values; each serves heads / kv_heads queries
    dim: int
    hidden: int  # width of the feed-forward part
    max_positions: int

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def parameters(self) -> int:
        """Without embeddings and heads."""
        attention = 2 * self.dim * self.dim + 2 * self.dim * self.kv_heads * self.head_dim
        return self.layers * (attention + 3 * self.dim * self.hidden + 2 * self.dim) + self.dim


# As heartlib builds them (src/heartlib/heartmula/modeling_heartmula.py, March 2026). 7B and 400M were never released.
FLAVORS: Mapping[str, Flavor] = {
    "llama-3B": Flavor(28, 24, 8, 3072, 8192, 8192),
    "llama-300M": Flavor(3, 8, 4, 3072, 8192, 2048),
    "llama-7B": Flavor(32, 32, 8, 4096, 14_336, 8192),
    "llama-400M": Flavor(4, 8, 4, 3072, 8192, 2048),
}


def flavor(name: object, config: Mapping[str, Any]) -> Flavor:
    """The flavor of that name: the checkpoint's own, or a known one. Raises ModelBroken."""
    own = config.get("flavors") or {}
    if isinstance(own, Mapping) and isinstance(said := own.get(name), Mapping):
        return _own(str(name), said)
    if not isinstance(name, str) or name not in FLAVORS:
        raise ModelBroken(f"config.json: flavor {name!r} is not known; known are {', '.join(FLAVORS)}")
    return FLAVORS[name]


def _own(name: str, said: Mapping[str, Any]) -> Flavor:
    try:
        sizes = {f.name: int(said[f.name]) for f in fields(Flavor)}
    except (KeyError, TypeError, ValueError) as error:
        wanted = ", ".join(f.name for f in fields(Flavor))
        raise ModelBroken(f"config.json: flavor {name!r} needs whole numbers for {wanted}: {error}") from None
    size = Flavor(**sizes)
    if min(sizes.values()) < 1 or size.dim % size.heads or size.heads % size.kv_heads or size.head_dim % 2:
        raise ModelBroken(f"config.json: flavor {name!r} has sizes that do not go together: {sizes}")
    return size
