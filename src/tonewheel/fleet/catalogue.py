"""All models and what is known of them now: built in, pulled, running, elsewhere, failed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tonewheel.errors import Conflict
from tonewheel.fleet.consent import has_consent
from tonewheel.fleet.memory import Device, ReadDevices, process_bytes, process_device_bytes, read_devices
from tonewheel.fleet.pull import folder_of, here_bytes, is_pulled, remove
from tonewheel.fleet.records import Record, Records
from tonewheel.fleet.remote import CONTRACTS, Health, Remotes
from tonewheel.models import registry
from tonewheel.models.base import Card

State = Literal["built-in", "not pulled", "partly pulled", "pulled", "starting", "running", "remote", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A model and its state. `card` is None for one that is known by its URL only."""

    id: str
    state: State
    card: Card | None
    folder: Path | None = None
    disk_bytes: int = 0
    consent: bool = True
    health: Health | None = None  # of one that runs elsewhere
    last_words: tuple[str, ...] = ()  # of one that failed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types. Never a URL of a remote service."""
        card = self.card.shown() if self.card else {"id": self.id, "size_bytes": 0}
        return card | {
            "state": self.state,
            "disk_bytes": self.disk_bytes,
            "folder": str(self.folder) if self.folder else None,
            "consent_given": self.consent,
            "health": self.health,
            "last_words": list(self.last_words),
        }


@dataclass(frozen=True, slots=True)
class Running:
    """A model process, as `tonewheel ps` shows it. Times are seconds from now; None = always."""

    model: str
    pid: int
    state: str
    device: str
    memory_bytes: int | None  # resident memory of the process and its helpers
    device_bytes: int | None  # of the device; the same on a CPU
    requests: int
    idle_for_s: float
    ends_in_s: float | None
    age_s: float
    load_s: float | None
    crashes: int

    @property
    def busy(self) -> bool:
        return self.requests > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__} | {"busy": self.busy}


def catalogue(records: Records, remotes: Remotes | None = None, *, probe: bool = False) -> list[Entry]:
    """Every model, by id. With `probe`, services elsewhere are asked for their health (up to 2 s each)."""
    remotes = remotes or Remotes()
    found = [_entry(card, records, remotes, probe) for card in registry.cards().values()]
    known = {entry.id for entry in found} | set(registry.services())
    for name in CONTRACTS:
        remote = remotes.of(name) if name not in known else None
        if remote is not None:
            found.append(Entry(name, "remote", None, health=remote.health() if probe else "unknown"))
    return sorted(found, key=lambda entry: entry.id)


def entry(model: str, records: Records, *, probe: bool = True) -> Entry:
    """One model, by id or service name. Raises UnknownName."""
    remotes = Remotes()
    if model in CONTRACTS and model not in {*registry.cards(), *registry.services()} and remotes.of(model):
        return next(e for e in catalogue(records, remotes, probe=probe) if e.id == model)
    return _entry(registry.card(model), records, remotes, probe)


def _entry(card: Card, records: Records, remotes: Remotes, probe: bool) -> Entry:
    family = registry.families()[card.family]
    names = (card.id, *((family.service,) if card.id == family.cards[0].id else ()))
    remote = remotes.of(*names)
    health: Health | None = None
    if remote is not None:
        health = remote.health() if probe else "unknown"
    folder = records.of(card.id)
    record, crashes = folder.live(), folder.crashes()
    here = here_bytes(card)
    state: State
    if remote is not None:
        state = "remote"
    elif record is not None:
        state = "running" if record.state == "ready" else "starting"
    elif crashes.count >= 3:
        state = "failed"
    elif card.source == "built-in":
        state = "built-in"
    elif is_pulled(card):
        state = "pulled"
    else:
        state = "partly pulled" if here else "not pulled"
    words = tuple(crashes.last_words) if state == "failed" else ()
    return Entry(card.id, state, card, folder_of(card), here, has_consent(card), health, words)


def running(records: Records, read: ReadDevices = read_devices) -> list[Running]:
    """Every model process of this data directory, whoever owns it."""
    devices = {d.label: d for d in read()}
    return [_running(record, records, devices) for record in records.live()]


def _running(record: Record, records: Records, devices: dict[str, Device]) -> Running:
    folder, now = records.of(record.model), time.time()
    use = folder.used()
    until = use.until if use is not None else now
    device = devices.get(record.device)
    return Running(
        model=record.model,
        pid=record.process.pid,
        state=record.state,
        device=record.device,
        memory_bytes=process_bytes(record.process.pid),
        device_bytes=process_device_bytes(record.process.pid, device) if device else None,
        requests=folder.leases(),
        idle_for_s=round(now - use.at, 1) if use is not None else 0.0,
        ends_in_s=None if math.isinf(until) else round(max(0.0, until - now), 1),
        age_s=round(now - record.started_at, 1),
        load_s=record.load_s,
        crashes=folder.crashes().count,
    )


def remove_model(card: Card, records: Records) -> int:
    """Delete the files of a model that does not run; returns the bytes freed. Raises Conflict, NotPulled."""
    if records.of(card.id).live() is not None:
        raise Conflict(f"{card.id} is running: end it first with `tonewheel stop {card.id}`", param="model")
    return remove(card)
