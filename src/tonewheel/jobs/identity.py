"""Who a worker is: an id that is unique while it lives and the same when it is started again.

`HOST-NODE-SLOT`: the host's name, a random number kept in the data folder, and the first slot no living
worker of this folder holds. The slot is a file lock, which the system lets go of when its holder dies:
a worker that was killed and is started again gets its old id and takes up its work at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
from pathlib import Path

from tonewheel.errors import TonewheelError
from tonewheel.files import whole_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_SLOTS = 256


class Identity:
    """Held for as long as the process lives."""

    def __init__(self, data_dir: Path) -> None:
        folder = data_dir / "workers"
        folder.mkdir(parents=True, exist_ok=True)
        self.host = re.sub(r"[^A-Za-z0-9.]+", "", socket.gethostname())[:40] or "host"
        self._lock, slot = _take_slot(folder)
        self.id = f"{self.host}-{_node(folder)}-{slot}"
        self.incarnation = secrets.token_hex(8)
        self.pid = os.getpid()

    def release(self) -> None:
        """Let the next worker have the slot."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _take_slot(folder: Path) -> tuple[int | None, str]:
    if fcntl is None:
        return None, secrets.token_hex(4)  # unique, but not the same again: others take up what it leaves
    for slot in range(_SLOTS):
        descriptor = os.open(folder / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        return descriptor, str(slot)
    raise TonewheelError(f"{_SLOTS} workers use this data folder already: stop some, or use another folder")


def _node(folder: Path) -> str:
    """A random number of this data folder, made once."""
    path = folder / "node"
    if not path.exists():
        with contextlib.suppress(TonewheelError), whole_file(path) as out:  # somebody may be quicker
            out.write(secrets.token_hex(4).encode())
    return path.read_text()[:8]
