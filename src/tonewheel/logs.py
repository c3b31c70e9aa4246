"""What the processes of the server write to their logs, and what they do not.

Narratives, prompts, lyrics and keys are in no line. The messages of unforeseen exceptions may quote them (pydantic
shows the input it refused), so a traceback is written with its places and types but without messages, unless
TONEWHEEL_DEBUG=1 asks for them.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from types import TracebackType


def set_up() -> None:
    """Log to standard error, with TONEWHEEL_DEBUG=1 our own details too; once a process, at its start."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if os.environ.get("TONEWHEEL_DEBUG"):
        logging.getLogger("tonewheel").setLevel(logging.DEBUG)


class _Formatter(logging.Formatter):
    def formatException(  # noqa: N802  (logging's name)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if os.environ.get("TONEWHEEL_DEBUG") or ei[1] is None:
            return super().formatException(ei)
        return "\n".join(_lines(ei[1]))


def _lines(error: BaseException) -> Iterator[str]:
    """The places an exception came by, with those of what it was raised from, first what came first."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _lines(before)
        yield "and from there:"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip()
    yield f"{type(error).__module__}.{type(error).__qualname__} (TONEWHEEL_DEBUG=1 shows its message)"
