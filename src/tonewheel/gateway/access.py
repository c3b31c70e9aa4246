"""Whose requests are heard at all: hosts, and origins of web pages (against DNS rebinding and forged forms)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers

from tonewheel.errors import InvalidRequest
from tonewheel.serving.edge import Access


@dataclass(frozen=True, slots=True)
class Gate(Access):
    """`Access` of a service, and the origins whose pages may use the server (CORS)."""

    origins: frozenset[str] = frozenset()

    def check(self, method: str, path: str, headers: Headers) -> None:
        """Raises Forbidden. API keys are asked for by each route (`auth`), since they have scopes."""
        if headers.get("origin") in self.origins:
            headers = Headers(raw=[(k, v) for k, v in headers.raw if k != b"origin"])
        Access.check(self, method, path, headers)


def gate(*, public: bool, more_hosts: str = "", origins: str = "") -> Gate:
    """The gate of an address. A public one is known by names we cannot know: there the key protects, unless
    TONEWHEEL_ALLOWED_HOSTS names them. Raises InvalidRequest for an origin that is none."""
    loopback = Access.loopback(None, _listed(more_hosts))
    hosts = None if public and not more_hosts.strip() else loopback.hosts
    return Gate(None, hosts, frozenset(_origin(o) for o in _listed(origins)))


def _listed(text: str) -> Iterable[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _origin(text: str) -> str:
    scheme, _, host = text.partition("://")
    if scheme not in ("http", "https") or not host or "/" in host or "*" in host:
        raise InvalidRequest(
            f"TONEWHEEL_CORS_ORIGINS: {text[:80]!r} is no origin: write https://NAME or http://NAME:PORT, one by one",
            param="cors_origins",
        )
    return text.lower()
