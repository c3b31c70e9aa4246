"""How the command line says that something went wrong."""

from __future__ import annotations

import errno
import signal
import sys

import typer

from tonewheel.errors import TonewheelError

# Typer carries its own copy of click in some versions: take the base class from what it exports.
_UsageBase = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def report(error: BaseException) -> int:
    """Print `error` as one line on standard error; returns the exit code."""
    if isinstance(error, TonewheelError):
        _say(error.message)
        return error.exit_code
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]  # not a mistake: the help was wanted
        return 0
    if isinstance(error, _UsageBase):
        _say(f"{_usage(error)} (try --help)")
        return 2
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return interrupted()
    if isinstance(error, BrokenPipeError):
        return 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # files of ours say so themselves
        _say(f"no room left for what was to be written ({error.strerror}): free some space")
        return 1
    _say(f"{type(error).__name__}: {error}: a fault of Tonewheel; run again with TONEWHEEL_DEBUG=1 for the details")
    return 1


def _usage(error: BaseException) -> str:
    """Typer's message, with what pydantic found wrong in our words."""
    from pydantic import ValidationError

    from tonewheel.errors import InvalidRequest
    from tonewheel.explain import explained

    text = str(error.format_message())  # type: ignore[attr-defined]
    if isinstance(error.__cause__, ValidationError):
        fault = error.__cause__.errors(include_url=False)[0]
        text = text.replace(fault["msg"], explained([{**fault, "loc": ()}], InvalidRequest).message)
    return text


def interrupted() -> int:
    """Say that Ctrl-C was heard; returns the exit code."""
    _say("stopped: nothing was written")
    return 128 + signal.SIGINT  # as shells expect


def _say(message: str) -> None:
    print(f"tonewheel: {' '.join(message.split())}", file=sys.stderr)
