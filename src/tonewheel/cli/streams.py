"""Standard streams that can be written whatever they are."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO


def usable_streams() -> None:
    """Closed ones become empty ones; what an encoding lacks (`♪` in ASCII) no longer ends the command: a person sees
    `?` for it, a program JSON's `\\u266a`."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:  # closed by whoever called us
            setattr(sys, name, open(os.devnull, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif number and isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace" if stream.isatty() else _ESCAPED)


_ESCAPED = "tonewheel.escaped"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)), error.end


codecs.register_error(_ESCAPED, _escaped)
