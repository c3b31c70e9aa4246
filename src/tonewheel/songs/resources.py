"""Data files of this room (`songs/data/*.yaml`), read once."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=16)
def data(name: str) -> Any:
    """The parsed file `songs/data/<name>.yaml`. Shared: do not change it."""
    text = (resources.files("tonewheel.songs") / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=_Loader)
