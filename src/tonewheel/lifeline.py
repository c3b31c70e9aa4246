"""A process that dies with the one that started it, even when that one is killed with -9.

The parent starts the child with a pipe as its standard input, keeps the other end, and sets
`TONEWHEEL_LIFELINE` to its own process id. The child calls `hold()` first of all (as `python -m
tonewheel.lifeline MODULE …` does for any module):

- a thread reads the pipe; its end means that the parent is gone, on any system and in any way;
- on Linux the kernel also kills the child (PR_SET_PDEATHSIG), even if the child hangs in native code.

The kernel means the *thread* that started the child: start it from one that lives as long as the parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import runpy
import signal
import sys
import threading

VARIABLE = "TONEWHEEL_LIFELINE"
EXIT_CODE = 74  # the parent is gone; nobody will read it
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def hold() -> bool:
    """Tie this process to its parent if `TONEWHEEL_LIFELINE` asks for it; returns whether it did."""
    parent = os.environ.pop(VARIABLE, "")  # popped: it is not meant for our own children
    if not parent.isdecimal():
        return False
    _ask_the_kernel()
    if os.getppid() != int(parent):  # it died before we got here
        os._exit(EXIT_CODE)
    threading.Thread(target=_watch, name="lifeline", daemon=True).start()
    return True


def _ask_the_kernel() -> None:
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # an extra rope; the pipe holds without it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _watch() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    if os.getpgrp() == os.getpid():  # our own helpers, too: decoders, samplers
        with contextlib.suppress(OSError):
            os.killpg(0, signal.SIGKILL)
    os._exit(EXIT_CODE)


def main() -> None:
    """`python -m tonewheel.lifeline MODULE …`: run a module as a program, tied to the process that started it."""
    hold()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
