"""Models that run elsewhere: a URL in the settings, used instead of a process of ours.

`HEARTMULA_BASE_URL`, `JEN1_URL`, `TONEWHEEL_<NAME>_URL` (and `TONEWHEEL_<NAME>_KEY`). Such a URL may name hosts
inside a private network: it is never told in an answer or an error.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from tonewheel.errors import InvalidRequest, TonewheelError, Unavailable
from tonewheel.fleet import exchange
from tonewheel.fleet.exchange import Answer, Order
from tonewheel.models import registry
from tonewheel.settings import service_key, service_url, settings

Health = Literal["up", "busy", "slow", "down", "unknown"]

_PROBE_S = 2.0
_FRESH_S = 5.0  # a health answer is believed for so long
_SILENT_S = 120.0  # nothing heard for so long, and nothing of ours running there: down


@dataclass(frozen=True, slots=True)
class Contract:
    """How a service that existed before Tonewheel's is asked: one POST, perhaps with a link to its audio."""

    path: str
    audio_url: str | None = None


# contracts.md: clients and servers of these exist in the world. Others are asked as our own services are.
CONTRACTS: Mapping[str, Contract] = {
    "heartmula": Contract("/v1/music/generations", audio_url="audio_url"),
    "jen1": Contract("/generate"),
}


class RemoteService:
    """A model's service at a URL. Thread-safe."""

    def __init__(self, name: str, url: str, key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidRequest(f"the URL set for {name} is not one of a server: write http://HOST:PORT", param="url")
        self.name = name
        self.url, self._key = url, key
        # A host's name alone only where it cannot be a word of a song.
        names = {n for n in (parts.netloc, parts.hostname) if "." in n or ":" in n}
        self._secrets = tuple({url, url.rstrip("/"), *names} - {"127.0.0.1", "::1"})
        self._lock = threading.Lock()
        self._running = 0
        self._heard_at = 0.0  # time.monotonic() of the last sign of life
        self._asked_at = 0.0
        self._state: Health = "unknown"

    # ── health ──

    def health(self) -> Health:
        """`busy` while a request of ours runs there: a long render may keep `/health` silent and is no death.

        `slow` = it did not answer in time but did a while ago; `down` = nobody listens, or long silence.
        """
        with self._lock:
            if self._running:
                return "busy"
            now = time.monotonic()
            if self._state != "unknown" and now - self._asked_at < _FRESH_S:
                return self._state
            self._asked_at = now
        found = self._ask()
        with self._lock:
            self._state = found
            return "busy" if self._running else found

    def _ask(self) -> Health:
        try:
            with httpx.Client(base_url=self.url, timeout=_PROBE_S) as client:
                status = client.get("/health", headers=self.headers()).status_code
        except (httpx.ConnectError, httpx.UnsupportedProtocol):
            return "down"
        except httpx.HTTPError:
            return "slow" if time.monotonic() - self._heard_at < _SILENT_S or not self._heard_at else "down"
        self._heard()
        return "up" if status < 500 else "slow"

    def _heard(self) -> None:
        with self._lock:
            self._heard_at = time.monotonic()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """A request of ours runs there."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._asked_at = 0.0

    # ── work ──

    async def run(self, order: Order) -> Answer:
        """Do it there. Raises what the service told, without its address; Unavailable when it cannot be reached."""
        timeout = httpx.Timeout(None, connect=10.0)
        order = Order(order.body, order.accept, order.into, {**order.headers, **self.headers()}, order.progress)
        with self.running():
            try:
                async with httpx.AsyncClient(base_url=self.url, timeout=timeout) as client:
                    answer = await self._run(client, order)
            except httpx.ConnectError:
                raise Unavailable(f"the service of {self.name} cannot be reached: is it running?") from None
            except httpx.HTTPError as error:
                raise Unavailable(f"the service of {self.name} broke off ({type(error).__name__})") from None
            except TonewheelError as error:
                error.args = (self.without_url(error.message),)
                raise
        self._heard()
        return Answer(self.without_url(dict(answer.fields)), answer.files, answer.timings)

    async def _run(self, client: httpx.AsyncClient, order: Order) -> Answer:
        contract = CONTRACTS.get(self.name)
        if contract is not None:
            return await exchange.plain(client, order, contract.path, contract.audio_url)
        try:
            return await exchange.stream(client, order)
        except TonewheelError as error:
            if error.http_status not in (404, 405):
                raise
        return await exchange.plain(client, order, "/predict")

    def headers(self) -> dict[str, str]:
        """Its key."""
        return {} if self._key is None else {"authorization": f"Bearer {self._key}"}

    def without_url(self, value: Any) -> Any:
        """`value` with the service's address taken out of every text in it."""
        if isinstance(value, str):
            for secret in sorted(self._secrets, key=len, reverse=True):
                value = value.replace(secret, self.name)
            return value
        if isinstance(value, dict):
            return {k: self.without_url(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.without_url(v) for v in value]
        return value


class Remotes:
    """The services that run elsewhere, by model id or service name; looked up anew, kept for their health."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], RemoteService] = {}
        self._lock = threading.Lock()

    def of(self, *names: str) -> RemoteService | None:
        """The first of `names` that has a URL; None = it runs here."""
        for name in names:
            url = service_url(name)
            if url is None:
                continue
            with self._lock:
                if (name, url) not in self._known:
                    self._known[name, url] = RemoteService(name, url, service_key(name))
                return self._known[name, url]
        return None


def deadline_seconds(name: str, audio_seconds: float) -> float:
    """max(configured, what the model's card asks for, 5 × duration + 30 s); heartmula has a setting of its own instead
    (contracts.md)."""
    card = registry.cards().get(name)
    elsewhere = card is not None and card.service == "heartmula" and service_url("heartmula") is not None
    if name == "heartmula" or elsewhere:
        return max(settings().heartmula_timeout_sec, 5 * audio_seconds + 30)
    return max(settings().deadline_s, (card.deadline_s if card else None) or 0.0, 5 * audio_seconds + 30)
