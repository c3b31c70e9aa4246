"""Addresses to listen on: which are only ours, and what it means when one cannot be had."""

from __future__ import annotations

import errno
import ipaddress
import socket

from tonewheel.errors import BindRefused

BACKLOG = 1024  # connections that wait for us to take them


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def tcp_socket(host: str, port: int) -> socket.socket:
    """The socket, which listens; port 0 = any free one. Raises BindRefused in one line.

    It listens at once: on Linux two that begin together may both be bound to a port, the second to listen fails.
    """
    host = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise BindRefused(f"host {host[:80]!r} is not known: use an address of this machine", param="host") from None
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as e:
        listening.close()
        raise BindRefused(_fault(host, port, e), param="port") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Such as `http://127.0.0.1:8900`."""
    name, port = listening.getsockname()[:2]
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def _fault(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken: stop what uses it, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} may not be opened by this user: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: use 127.0.0.1"
    return f"{host}:{port} cannot be served: {error.strerror}"
