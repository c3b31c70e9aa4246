"""The data files of this room, each parsed when it is first asked for."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent / "data"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml: 20 times faster than pure Python


@lru_cache(maxsize=64)
def data(name: str) -> Any:
    """The parsed file `data/<name>.yaml`. Shared: do not change it."""
    return yaml.load((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=_Loader)
