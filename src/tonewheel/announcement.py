"""The line in which a process tells the program that started it where it listens.

`{"event": "listening", "url": "http://127.0.0.1:2006", …}` on standard output, in one write: `print` writes a
text and its line's end apart when Python does not buffer, and what another thread says comes between them.
The reader allows for others' halves of lines all the same: a library may print without a line's end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

_BEGINS = '{"event": "listening"'


def announce(about: Mapping[str, Any]) -> None:
    """Tell where this process listens: `url` or `uds` among `about`."""
    say(json.dumps({"event": "listening", **about}))


def say(line: str) -> None:
    """One line on standard output, whole whatever other threads write."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def announced(said: str) -> dict[str, Any] | None:
    """What a process announced in `said` (a line or a whole log), None = nothing yet, or not all of it."""
    at = said.find(_BEGINS)
    if at < 0:
        return None
    try:
        about, _ = json.JSONDecoder().raw_decode(said, at)
    except ValueError:  # cut off: it is still being written
        return None
    return dict(about)
