"""Who asks, and what they may: API keys and their scopes."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, Request
from starlette.datastructures import Headers

from tonewheel.errors import Forbidden, Unauthorized
from tonewheel.gateway.keys import ApiKey, Keys, Scope

ANYONE = "local"  # who asks a server that has no keys
ENVIRONMENT = "environment"  # who has the key of TONEWHEEL_API_KEY


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the id of their key."""

    id: str
    key: ApiKey | None = None


class Guard:
    """Checks keys. `always` = a key is needed even when none was ever made (a public address)."""

    def __init__(self, keys: Keys, *, always: bool = False, environment_key: str | None = None) -> None:
        self._keys = keys
        self._always = always or bool(environment_key)
        self._environment_key = environment_key

    async def admit(self, headers: Headers, scope: Scope) -> Principal:
        """Raises Unauthorized or Forbidden."""
        given = _given(headers)
        if given and self._environment_key and hmac.compare_digest(given.encode(), self._environment_key.encode()):
            return Principal(ENVIRONMENT)
        return await asyncio.to_thread(self._look_up, given, scope)

    def _look_up(self, given: str, scope: Scope) -> Principal:
        key = self._keys.known(given) if given else None
        if key is None:
            if not self._always and not self._keys.any():
                return Principal(ANYONE)
            raise Unauthorized(
                "this API key is not one of ours, or was revoked" if given else
                "an API key is needed: send it as 'Authorization: Bearer KEY'; `tonewheel keys create` makes one"
            )  # fmt: skip
        if not key.may(scope):
            raise Forbidden(
                f"this API key may {' and '.join(key.scopes)}, and this needs {scope}: use another key", param="scope"
            )
        return Principal(key.id, key)


def _given(headers: Headers) -> str:
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return bearer.strip()
    return headers.get("x-api-key") or headers.get("xi-api-key") or ""


def needs(scope: Scope) -> Any:
    """What a route says to be open only to keys of that scope."""

    async def check(request: Request) -> None:
        guard: Guard = request.app.state.backend.guard
        request.state.principal = await guard.admit(request.headers, scope)

    return Depends(check)


Check = Callable[[Request], Awaitable[None]]


def principal(request: Request) -> Principal:
    """Who asks, within a route that `needs` a scope."""
    found: Principal = request.state.principal
    return found
