"""The process that forks a decoder for each file: `python -m tonewheel.audio.incoming.nursery`.

It has imported all that decoding needs and does nothing else, so a fresh process, which has seen nobody else's
file, costs milliseconds. Orders come over the socket that is its standard input: `ORDER_BYTES` of JSON with three
file descriptors, the file, where its samples go, and where the decoder reports. It ends with whoever started it.

A decoder lives under limits of the kernel: address space, CPU seconds, seconds by the clock, no further files.
What it reports is one JSON object: `{"sound": {…}}`, `{"error": type, "message": …}`, or, from here, how it
died: `{"died": signal}`.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import selectors
import signal
import socket
import sys
import traceback
from typing import Any

from tonewheel.audio.blocks import is_foreign
from tonewheel.audio.incoming.decoder import decode_into
from tonewheel.audio.incoming.limits import ORDER_BYTES, Limits, Task
from tonewheel.errors import MissingExtra, TonewheelError, UnreadableAudio

_NICE = 5  # whoever answers health checks comes first
_RESERVE = 1 << 20  # bytes given back to tell that there are no more
_NEAR = 8 << 20  # bytes, more than a library asks for at once: who came so near to the cap may have been refused some


def main() -> None:
    """Fork decoders until the socket ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then lets go of this
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    _warm_up()
    orders = socket.socket(fileno=0)
    deaths, wakeup = socket.socketpair()
    for end in (orders, deaths, wakeup):
        end.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
    children: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(orders, selectors.EVENT_READ)
        selector.register(deaths, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is orders:
                    if not _take_order(orders, children):
                        return
                else:
                    deaths.recv(4096)
                    _bury(children)


def _warm_up() -> None:
    """Decode and resample once: what is imported late is imported now."""
    import numpy as np  # noqa: PLC0415
    import soundfile  # noqa: PLC0415

    file = io.BytesIO()
    soundfile.write(file, np.zeros((2000, 2)), 8000, format="WAV")
    reader, writer = os.pipe()
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  (a descriptor is wanted)
        decode_into(file.getvalue(), Task("warm up", Limits(), 16_000, True), nowhere.fileno(), writer)
    os.close(reader)
    os.close(writer)
    gc.freeze()  # so that the children share these pages


def _take_order(orders: socket.socket, children: dict[int, int]) -> bool:
    """One order to a new child; False when there will be no more."""
    message, files, _, _ = socket.recv_fds(orders, ORDER_BYTES, 3)
    if not message:
        return False
    while len(message) < ORDER_BYTES:  # it was sent at once, so the rest is here or about to be
        orders.setblocking(True)
        message += orders.recv(ORDER_BYTES - len(message))
        orders.setblocking(False)
    source, out, report = files
    pid = os.fork()
    if pid == 0:
        _be_a_decoder(message, source, out, report)
    os.close(source)
    os.close(out)
    children[pid] = report
    return True


def _bury(children: dict[int, int]) -> None:
    """Tell of each child that ended by a signal; its reader waits for the end of `report`."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        report = children.pop(pid)
        if os.WIFSIGNALED(status):
            with contextlib.suppress(OSError):  # whoever asked has gone
                os.write(report, json.dumps({"died": os.WTERMSIG(status)}).encode())
        os.close(report)


# ── in the child ────────────────────────────────────────────────────────────────────────────────


def _be_a_decoder(message: bytes, source: int, out: int, report: int) -> None:
    """Never returns."""
    code = 1
    try:
        for number in (signal.SIGCHLD, signal.SIGALRM, signal.SIGXCPU):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        said = _decode(Task.unpacked(message), source, out, report)
        os.write(report, json.dumps(said).encode())
        code = 0
    except BrokenPipeError:  # nobody waits for it any more
        code = 0
    finally:
        os._exit(code)


def _decode(task: Task, source: int, out: int, report: int) -> dict[str, Any]:
    reserve = [bytes(_RESERVE)]
    try:
        data = os.pread(source, os.fstat(source).st_size, 0)
        if is_foreign(data):
            with contextlib.suppress(ImportError):  # then decoding says what is missing
                import av  # noqa: F401, PLC0415  (before files can no longer be opened)
        _confine(task, len(data), {source, out, report})
        return {"sound": decode_into(data, task, out, report)}
    except MissingExtra:
        message = f"{task.name} is M4A, AAC or WebM, which this server cannot read without its m4a extra: send WAV, " \
                  "FLAC, MP3 or Ogg"  # fmt: skip
        return {"error": "unreadable_audio", "message": message}
    except TonewheelError as error:
        reserve.clear()
        return {"error": error.type, "message": _short_of_memory(task, error) or error.message}
    except MemoryError:
        reserve.clear()
        return {"error": "too_large", "message": f"{task.name} takes too much memory to decode: cut it, or send WAV"}
    except BrokenPipeError:
        raise
    except Exception:
        return {"error": "internal", "message": traceback.format_exc(limit=-8)[-2000:]}


def _short_of_memory(task: Task, error: TonewheelError) -> str | None:
    """What to say instead of what a library made of memory that it was refused: "seek failed", an early end, anything.
    None where there was enough, or where it is said already."""
    cap = resource.getrlimit(resource.RLIMIT_AS)[0]
    if not isinstance(error, UnreadableAudio) or "memory" in error.message or cap == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as file:  # noqa: PTH123
        peak = next((int(line.split()[1]) << 10 for line in file if line.startswith(b"VmPeak:")), 0)
        if peak > cap - _NEAR:
            return f"{task.name} takes more memory to decode than there is for it, or is broken: cut it, or send WAV"
    return None


def _confine(task: Task, size: int, kept: set[int]) -> None:
    """From here on the kernel holds the limits, whatever the decoder does."""
    limits = task.limits
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    top = max(kept)
    for fd in range(3, top + 1):
        if fd not in kept:
            with contextlib.suppress(OSError):  # it was none
                os.close(fd)
    os.closerange(top + 1, 1024)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)
    rate, channels = task.rate or limits.rate, 1 if task.mono else limits.channels
    most = {
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: int((limits.seconds + 1) * rate * channels * 4),
        resource.RLIMIT_NOFILE: top + 1,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform.startswith("linux"):  # macOS knows the name and does not hold it
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            held = int(file.read().split()[0]) * resource.getpagesize()
        most[resource.RLIMIT_AS] = held + limits.memory_bytes + 2 * size
    for which, value in most.items():
        hard = resource.getrlimit(which)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # At the hard limit of CPU time the kernel sends SIGKILL, which would not tell why.
        resource.setrlimit(which, (soft, hard if which == resource.RLIMIT_CPU else soft))


if __name__ == "__main__":
    main()
