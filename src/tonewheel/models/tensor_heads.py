"""What safetensors files hold, from their heads alone: quick, and without torch or safetensors (memory functions run
in the gateway). Eight bytes of length, then JSON; huggingface/safetensors describes the format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_MOST = 64 << 20  # bytes of a head


def numbers_in(file: Path) -> dict[str, int]:
    """How many numbers each tensor of a file has. Raises OSError, ValueError, KeyError, TypeError, AttributeError for
    what is no such file."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        head: dict[str, Any] = json.loads(opened.read(min(length, _MOST)))
    return {name: math.prod(t["shape"]) for name, t in head.items() if name != "__metadata__"}
