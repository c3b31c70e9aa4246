"""Short questions to a service: is it ready, how far is it, what went wrong while it loaded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx

from tonewheel.errors import TonewheelError
from tonewheel.fleet.faults import from_answer
from tonewheel.settings import settings


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/readyz` says: `state` ready, loading, failed, draining; `fault` = why it will never be ready."""

    state: str
    stage: str | None = None
    fraction: float = 0.0
    fault: TonewheelError | None = None


@lru_cache(maxsize=1)
def _client() -> httpx.Client:
    # Loopback only: no proxy of the environment, no certificates to load (40 ms).
    return httpx.Client(trust_env=False, verify=False, timeout=2.0)


def headers() -> dict[str, str]:
    """What our own services ask for."""
    key = settings().api_key
    return {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}


def readiness(address: str) -> Readiness | None:
    """The answer of `/readyz`; None when there is none (it is not up yet, or too busy to say)."""
    try:
        answer = _client().get(f"{address}/readyz", headers=headers())
        said = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    if not isinstance(said, dict):
        return None
    if answer.status_code == 200:
        return Readiness("ready")
    state = str(said.get("status", "loading"))
    if state == "failed":
        return Readiness(state, fault=_fault(said))
    progress = said.get("progress")
    stage, fraction = _progress(progress if isinstance(progress, dict) else said)
    return Readiness(state, stage, fraction)


def _fault(said: dict[str, Any]) -> TonewheelError:
    told = said.get("error") or said.get("fault") or said.get("detail")
    return from_answer(503, {"detail": told if told else said.get("message", "the model could not be loaded")})


def _progress(said: dict[str, Any]) -> tuple[str | None, float]:
    stage, fraction = said.get("stage"), said.get("fraction")
    return (str(stage) if stage else None), (float(fraction) if isinstance(fraction, (int, float)) else 0.0)


def let_go(address: str, within_s: float, moved_on: Callable[[], bool]) -> bool:
    """Wait until a service that was told to stop a request has a free slot, or `moved_on` to the next request.

    False when it has not after `within_s` seconds. A service with several slots is only asked for a sign of life:
    who holds which cannot be seen from outside.
    """
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if moved_on():
            return True
        try:
            said = _client().get(f"{address}/health", headers=headers()).json()
            slots = int(said.get("slots", 1))
            if slots > 1 or int(said.get("busy", 0)) < slots:
                return True
        except httpx.ConnectError:
            return True  # it has ended
        except (httpx.HTTPError, ValueError, TypeError, AttributeError):
            pass
        time.sleep(0.1)
    return False
