"""A service as a process: its socket, its signals, its graceful end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from tonewheel import __version__, telemetry
from tonewheel.announcement import announce, say
from tonewheel.errors import BindRefused
from tonewheel.models import registry
from tonewheel.serving.address import BACKLOG, is_loopback, tcp_socket
from tonewheel.serving.app import create_app
from tonewheel.serving.edge import Access
from tonewheel.serving.host import Host
from tonewheel.settings import Settings, service_place, settings
from tonewheel.threads import limit_threads

log = logging.getLogger(__name__)

_STOP_S = 5.0  # for work that was told to stop after the grace period


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What `tonewheel service` was asked; port 0 = any free one.

    Host and port that are None are those of the settings, else 127.0.0.1 and the card's own.
    """

    name: str
    host: str | None = None
    port: int | None = None
    uds: Path | None = None
    as_json: bool = False
    public_without_key: bool = False


def run_service(options: ServiceOptions) -> int:
    """Serve one model until SIGTERM or SIGINT. Returns the exit code: 0 after a graceful end.

    Raises UnknownName for the model, BindRefused for the address.
    """
    family, card = registry.resolve(options.name)
    wishes = settings()
    limit_threads(card.id)
    key = wishes.api_key.get_secret_value() if wishes.api_key else None
    host_name, port = _place(options, family.service, card.default_port)
    access = _access(options, host_name, key, wishes)
    listening = _unix_socket(options.uds) if options.uds is not None else tcp_socket(host_name, port)
    socket_file = None if options.uds is None else _file_of(options.uds)
    telemetry.configure(family.service)
    host = Host(family, card)
    app = create_app(host, access=access, least_deadline_s=wishes.deadline_s)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_keep_alive=75, lifespan="on",
        timeout_graceful_shutdown=10,
    )  # fmt: skip
    server = _Server(config, host, wishes.drain_s, lambda: _announce(options, host, listening))
    server.run(sockets=[listening])
    app.state.spool.close()  # not in the lifespan: a second signal skips its end
    clean = host.close()
    if options.uds is not None and _file_of(options.uds) == socket_file:
        options.uds.unlink(missing_ok=True)  # ours still: another service may have taken the place
    telemetry.shutdown()
    if not clean:
        log.error("work did not stop in time: the process ends without it")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # a thread stuck in a C library would crash a regular end
    return 0


def _announce(options: ServiceOptions, host: Host, listening: socket.socket) -> None:
    """Tell where it listens: the first line on standard output, for people or for the program that started it."""
    about: dict[str, Any] = {"service": host.family.service, "model": host.card.id}
    about |= {"version": __version__, "pid": os.getpid()}
    if options.uds is not None:
        about["uds"] = str(options.uds)
    else:
        name, port = listening.getsockname()[:2]
        about["url"] = f"http://{f'[{name}]' if ':' in name else name}:{port}"
    if options.as_json:
        announce(about)
    else:
        say(f"{about['service']} ({about['model']}) listens at {about.get('url') or about['uds']}")


# ── the address ─────────────────────────────────────────────────────────────────────────────────


def _place(options: ServiceOptions, service: str, card_port: int) -> tuple[str, int]:
    """Host and port: as asked, else as set for this service, else its card's."""
    host, port = service_place(service)
    found = [p for p in (options.port, port, card_port) if p is not None]
    return options.host or host, found[0]


def _access(options: ServiceOptions, host: str, key: str | None, wishes: Settings) -> Access:
    """Who may ask at that address. Raises BindRefused for a public one that nothing protects."""
    if options.uds is not None:
        return Access.anywhere(None)  # the file's permissions say who may
    if is_loopback(host):
        return Access.loopback(key, wishes.allowed_hosts.split(","))
    if key is None and not options.public_without_key:
        raise BindRefused(
            f"{host} can be reached from other machines and no API key is set: set TONEWHEEL_API_KEY, bind "
            "127.0.0.1, or say --public-without-key if something else protects it",
            param="host",
        )
    return Access.anywhere(key)


def _unix_socket(path: Path) -> socket.socket:
    """The bound socket. Raises BindRefused in one line, before anything is loaded."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            if _answers(path):
                raise OSError(errno.EADDRINUSE, "another process listens there: end it, or choose another path")
            path.unlink()  # left behind by a process that was killed
        before = os.umask(0o077)  # nobody else may connect, from the first moment on
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(BACKLOG)  # at once: to others one that does not is dead
    except OSError as e:
        listening.close()
        raise BindRefused(f"the socket {path} cannot be made: {e.strerror or e}", param="uds") from None
    return listening


def _answers(path: Path) -> bool:
    """Whether a living process listens at a socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(5.0)
        try:
            asking.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # full, or not ours to ask: somebody is there
            return True
    return True


def _file_of(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever name it has; None = there is none."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


# ── signals and the end ─────────────────────────────────────────────────────────────────────────


class _Server(uvicorn.Server):
    """uvicorn that drains: after the first signal it still answers (503 to work) until what runs has ended."""

    def __init__(self, config: uvicorn.Config, host: Host, drain_s: float, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._host, self._drain_s, self._on_listening = host, drain_s, on_listening
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: end now. Not kept for uvicorn to raise again: a drained end is a good one."""
        self._signals += 1
        if self._loop is None or self._signals > 1:
            self.should_exit = True
            self.force_exit = self._signals > 1
        if self._loop is not None:  # in the loop: what both take locks for must not be done in a signal's frame
            again = self._signals > 1
            self._loop.call_soon_threadsafe(self._host.stop_all if again else partial(self._begin_drain, sig))

    def _begin_drain(self, sig: int) -> None:
        if self._draining is None:
            log.info("%s: no more work is taken", signal.Signals(sig).name)
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        self._host.begin_drain()
        if not await self._host.idle(self._drain_s):
            log.warning("the running request did not end in %.0f s: it is stopped", self._drain_s)
            self._host.stop_all()
            self.force_exit = not await self._host.idle(_STOP_S)
        self.should_exit = True
