"""The models as the gateway shows them, and the way to their services. Blocking."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tonewheel.errors import NotFound, UnknownName
from tonewheel.models import registry
from tonewheel.settings import service_key, service_url, settings

if TYPE_CHECKING:
    from tonewheel.fleet.client import Fleet


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a model's service is now, and what it wants to see."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    private: tuple[str, ...] = ()  # what must not be told outside: the address of a service elsewhere


class Models:
    """All models this server can use. The fleet of this process is made when a service is first asked for."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self.data_dir = data_dir or settings().data_dir
        self._fleet: Fleet | None = None
        self._lock = threading.Lock()

    def list(self) -> list[dict[str, Any]]:
        """Every model with its state, by id."""
        from tonewheel.fleet.catalogue import catalogue  # noqa: PLC0415  (the fleet is loaded on first use)
        from tonewheel.fleet.records import Records  # noqa: PLC0415

        return [_shown(e.to_dict()) for e in catalogue(Records(self.data_dir))]

    def get(self, name: str) -> dict[str, Any]:
        """One model, by its id or its service's name. Raises NotFound."""
        from tonewheel.fleet.catalogue import entry  # noqa: PLC0415
        from tonewheel.fleet.records import Records  # noqa: PLC0415

        try:
            return _shown(entry(name, Records(self.data_dir), probe=False).to_dict())
        except UnknownName as e:
            raise NotFound(e.message, param="id") from None

    @contextlib.contextmanager
    def using(self, name: str, check: Callable[[], None], keep_alive: str | None = None) -> Iterator[ServiceAddress]:
        """The service of a model or service name; its process is started if need be, kept meanwhile and for
        `keep_alive` afterwards.

        Raises InvalidRequest, NotFound, CannotFit, ModelFailed, NotReady, NotPulled …
        """
        url = service_url(name)
        if url is not None:
            key = service_key(name)
            yield ServiceAddress(url, {"authorization": f"Bearer {key}"} if key else {}, (url,))
            return
        from tonewheel.fleet import probe  # noqa: PLC0415
        from tonewheel.fleet.consent import require_consent  # noqa: PLC0415
        from tonewheel.fleet.pull import require_pulled  # noqa: PLC0415
        from tonewheel.fleet.room import Need  # noqa: PLC0415
        from tonewheel.keep_alive import parse_keep_alive  # noqa: PLC0415

        try:
            family, card = registry.resolve(name)
        except UnknownName as e:
            raise NotFound(e.message, param="name") from None
        require_consent(card)
        require_pulled(card)
        idle = family.memory_bytes(card, None)
        need = Need(card.id, getattr(card, "devices", ("cpu",)), idle)
        kept_s = parse_keep_alive(keep_alive, parse_keep_alive(settings().keep_alive))
        with self.fleet.processes.using(
            need, idle, service=family.service, keep_alive_s=kept_s, check=check
        ) as record:  # fmt: skip
            yield ServiceAddress(record.address, dict(probe.headers()))

    @property
    def fleet(self) -> Fleet:
        with self._lock:
            if self._fleet is None:
                from tonewheel.fleet.client import Fleet  # noqa: PLC0415

                self._fleet = Fleet(self.data_dir)
            return self._fleet

    def close(self) -> None:
        with self._lock:
            if self._fleet is not None:
                self._fleet.close()


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """Without where it lies on this machine; the last words of a crash are for `tonewheel models`."""
    hidden = ("folder", "last_words")
    return {k: v for k, v in entry.items() if k not in hidden} | {"url": f"/v1/models/{entry['id']}"}
