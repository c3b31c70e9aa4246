"""Ports for servers that a test starts, stops and starts again."""

from __future__ import annotations

import contextlib
import random
import socket


def free_port() -> int:
    """A free port of this machine that stays free while its server is away.

    None of those that the system gives to whoever connects (32768 and up on Linux): another client could get it
    meanwhile, or one that tries to reach the absent server would be connected with itself.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
