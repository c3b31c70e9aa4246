"""Randomness that is the same in every process: named streams from one seed.

`hash()` differs between processes and one shared generator makes every choice depend on all before
it; a stream named by what it is for depends on nothing else.
"""

from __future__ import annotations

import hashlib
import random
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


MAX_DRAWN = 2**53 - 1
"""The largest seed that is chosen here and told to clients: JavaScript keeps no larger integer exactly."""


def draw() -> int:
    """A seed for who gave none."""
    return secrets.randbelow(MAX_DRAWN + 1)


def derive(seed: int, *names: str | int) -> int:
    """A 64-bit seed for the stream `names` of `seed`."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def stream(seed: int, *names: str | int) -> random.Random:
    """A generator for choices (plans, scores)."""
    return random.Random(derive(seed, *names))


def noise(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for samples (synthesis)."""
    import numpy as np  # noqa: PLC0415  (plans and scores need no numpy)

    return np.random.Generator(np.random.SFC64(derive(seed, *names)))
