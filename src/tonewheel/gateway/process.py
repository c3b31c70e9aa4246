"""The gateway as a process: its warm-up, its signals, its graceful end."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from tonewheel import telemetry
from tonewheel.announcement import announce
from tonewheel.errors import BindRefused
from tonewheel.gateway.access import gate
from tonewheel.gateway.app import create_app
from tonewheel.gateway.backend import Backend
from tonewheel.serving.address import is_loopback, url_of
from tonewheel.settings import Settings, settings

# A thread that plans a song hands the interpreter over this soon when the event loop asks for it.
_SWITCH_INTERVAL_S = 0.0005
_END_S = 10  # for answers that are being sent
_LEAST_KEY = 16  # characters of a key a person chose, on a public address


def run_gateway(host: str, listening: socket.socket) -> int:
    """Serve on a bound socket until SIGTERM or SIGINT. Raises BindRefused for a public one without a key."""
    wishes = settings()
    public = not is_loopback(host)
    backend = Backend.open(wishes, public=public)
    if public:
        _check_keys(backend, wishes, host)
    telemetry.configure("gateway")
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    app = create_app(backend, gate(public=public, more_hosts=wishes.allowed_hosts, origins=wishes.cors_origins))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=75, lifespan="on",
        timeout_graceful_shutdown=_END_S,
    )  # fmt: skip
    threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
    _Server(config, backend, lambda: announce({"url": url_of(listening), "pid": os.getpid()})).run(sockets=[listening])
    telemetry.shutdown()
    return 0


def _check_keys(backend: Backend, wishes: Settings, host: str) -> None:
    key = wishes.api_key.get_secret_value() if wishes.api_key else ""
    if key and len(key) < _LEAST_KEY:
        raise BindRefused(
            f"TONEWHEEL_API_KEY has {len(key)} characters and {host} can be reached from other machines: choose at "
            f"least {_LEAST_KEY}, or unset it and use `tonewheel keys create`", param="host",
        )  # fmt: skip
    if not key and not backend.keys.any_valid():
        raise BindRefused(
            f"{host} can be reached from other machines and there is no API key: make one with `tonewheel keys create "
            "NAME`, set TONEWHEEL_API_KEY, or serve 127.0.0.1 only", param="host",
        )  # fmt: skip


def _warm_up() -> None:
    """Load what the first plan and the first list of models need, before somebody waits for it."""
    from tonewheel.fleet import catalogue  # noqa: F401, PLC0415
    from tonewheel.models import registry  # noqa: PLC0415
    from tonewheel.songs import planner  # noqa: F401, PLC0415
    from tonewheel.styles.library import styles  # noqa: PLC0415

    registry.catalogue()
    styles()


class _Server(uvicorn.Server):
    """uvicorn that ends event streams when it is asked to end, since they would go on for ever."""

    def __init__(self, config: uvicorn.Config, backend: Backend, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._backend, self._on_listening = backend, on_listening
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: end gracefully. Second: now. Not kept for uvicorn to raise again: a good end is exit code 0."""
        self.force_exit = self.should_exit
        self.should_exit = True
        # Not in the signal's frame: starting a thread takes a lock which the frame that is interrupted may hold.
        if self._loop is not None:  # before, nobody follows anything
            self._loop.call_soon_threadsafe(self._stop_streams)

    def _stop_streams(self) -> None:
        threading.Thread(target=self._backend.stop, name="stop", daemon=True).start()
