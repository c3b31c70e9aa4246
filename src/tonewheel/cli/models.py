"""`tonewheel models`, `pull`, `rm`, `ps`, `stop`: which models there are, where they lie, which run."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tonewheel.cli.options import complete_model

if TYPE_CHECKING:
    from tonewheel.fleet.catalogue import Entry, Running
    from tonewheel.fleet.records import Records
    from tonewheel.models.base import Card, CardFile

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_WIDE = 110  # characters of a terminal that has room for what a model is
_Name = Annotated[
    str,
    typer.Argument(
        help="A model, such as composer; or a service, for its default model.", autocompletion=complete_model
    ),
]


def models(
    name: Annotated[str | None, typer.Argument(help="Show one model in full.", autocompletion=complete_model)] = None,
    as_json: _Json = False,
) -> None:
    """List the models with their state, size and licence, or show one.

    Examples:

      tonewheel models

      tonewheel models composer --json
    """
    if name is not None:
        show(name, as_json)
        return
    from tonewheel.fleet.catalogue import catalogue
    from tonewheel.models import registry

    entries = catalogue(_records())
    faults = {source: fault.message for source, fault in registry.faults().items()}
    if as_json:
        _print({"models": [e.to_dict() for e in entries], "faults": faults})
        return
    rows = [(e.id, _state(e), _size(e), _licence(e), e.card.title if e.card else "elsewhere") for e in entries]
    wide = shutil.get_terminal_size().columns >= _WIDE
    heads = ("model", "state", "size", "licence", "what it is")
    _table(heads if wide else heads[:-1], [row if wide else row[:-1] for row in rows])
    if any(not e.consent for e in entries):
        typer.echo(
            "* restricts what may be done with it; `tonewheel pull NAME --accept-license` says yes to it", err=True
        )
    for message in faults.values():
        typer.echo(f"Left out: {message}", err=True)


def show(name: _Name, as_json: _Json = False) -> None:
    """Show all that is known of a model: what it does, its licence, its files, its state.

    Examples:

      tonewheel show musicgen-small
    """
    from tonewheel.fleet.catalogue import entry

    found = entry(name, _records())
    if as_json:
        _print(found.to_dict())
        return
    rows = {"model": found.id, "state": _state(found)}
    if found.card is not None:
        card = found.card
        rows |= {
            "title": card.title,
            "description": card.description,
            "tasks": ", ".join(card.tasks),
            "code licence": card.code_license,
            "weight licence": card.weight_license or "no weights",
            "forbids": card.forbids,
            "consent": ("given" if found.consent else "needed") if card.consent_required else "not needed",
            "source": f"{card.source} {card.revision}".strip(),
            "with": "; ".join(f"{p.folder} from {p.source} {p.revision}".strip() for p in card.parts),
            "audio": f"{card.sample_rate} Hz, {card.channels} channels" if card.sample_rate else "none",
            "longest": f"{card.max_duration_s:g} s" if card.max_duration_s else "",
            "at once": str(card.concurrency),
            "port alone": str(card.default_port),
            "size": _size(found),
            "folder": str(found.folder or ""),
        }
    rows["health"] = found.health or ""
    rows["last words"] = " | ".join(found.last_words)
    _table(("", ""), [(key, value) for key, value in rows.items() if value])


def pull(
    name: _Name,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="Folder, or s3://BUCKET/FOLDER, to take the files from instead of the card's source."
        ),
    ] = None,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Agree to the licence of weights that restrict their use.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and their sizes, fetch nothing.")] = False,
    as_json: _Json = False,
) -> None:
    """Fetch the weights of a model; one that was cut off goes on where it stopped.

    Files that another model here has already are shared with it, not fetched again.

    Examples:

      tonewheel pull musicgen-small

      tonewheel pull musicgen-small --from /media/stick/musicgen-small

      tonewheel pull musicgen-small --dry-run
    """
    from tonewheel.fleet.consent import record_consent
    from tonewheel.fleet.pull import pull as fetch
    from tonewheel.models import registry

    card = registry.card(name)
    if dry_run:
        _show_plan(card, source, as_json)
        return
    shared = _Shared(as_json)
    if accept_license:
        record_consent(card)
        if card.forbids and not as_json:
            typer.echo(f"{card.weight_license}: {card.forbids}", err=True)
    if as_json:
        folder = fetch(card, source=source, progress=_JsonLines().tell, shared=shared.tell)
    else:
        with _Bars() as bars:
            folder = fetch(card, source=source, progress=bars.tell, shared=shared.tell)
    shared.sum_up()
    if as_json:
        _print({"event": "pulled", "model": card.id, "folder": str(folder), "size_bytes": card.size_bytes}, indent=None)
    else:
        typer.echo(f"{card.id} is in {folder}")


def _show_plan(card: Card, source: str | None, as_json: bool) -> None:
    from tonewheel.fleet.memory import readable
    from tonewheel.fleet.pull import folder_of, plan_pull

    plan = plan_pull(card, source=source)
    fetch_bytes = sum(p.file.size_bytes for p in plan if p.to_fetch)
    if as_json:
        files = [{"path": p.file.path, "size_bytes": p.file.size_bytes, "here": p.here, "shared_with": p.shared_with}
                 for p in plan]  # fmt: skip
        _print({"model": card.id, "folder": str(folder_of(card)), "files": files, "fetch_bytes": fetch_bytes})
        return
    rows: list[tuple[str, ...]] = []
    for p in plan:
        state = "here" if p.here else f"shared with {p.shared_with}" if p.shared_with else "to fetch"
        rows.append((state, readable(p.file.size_bytes), p.file.path))
    _table(("", "size", "file"), rows)
    typer.echo(f"{readable(fetch_bytes) if fetch_bytes else 'nothing'} to fetch into {folder_of(card)}")


def rm(name: _Name, as_json: _Json = False) -> None:
    """Delete the pulled weights of a model.

    Examples:

      tonewheel rm musicgen-small
    """
    from tonewheel.fleet.catalogue import remove_model
    from tonewheel.fleet.memory import readable
    from tonewheel.models import registry

    card = registry.card(name)
    freed = remove_model(card, _records())
    if as_json:
        _print({"model": card.id, "freed_bytes": freed})
    else:
        typer.echo(f"{card.id} is removed: {readable(freed)} freed")


def ps(as_json: _Json = False) -> None:
    """List the model processes that run: device, memory, what they do, how long they stay.

    Examples:

      tonewheel ps

      tonewheel ps --json
    """
    from tonewheel.fleet.catalogue import running
    from tonewheel.fleet.memory import read_devices, readable

    records = _records()
    records.clean()
    found, devices = running(records), read_devices()
    if as_json:
        about = [
            {"device": d.label, "name": d.name, "total_bytes": d.total_bytes, "free_bytes": d.free_bytes}
            for d in devices
        ]
        _print({"models": [r.to_dict() for r in found], "devices": about})
        return
    _table(
        ("model", "pid", "device", "memory", "state", "idle until"),
        [(r.model, str(r.pid), r.device, readable(r.device_bytes or r.memory_bytes), _doing(r), _ends(r))
         for r in found],
    )  # fmt: skip
    for d in devices:
        typer.echo(f"{d.label} ({d.name}): {readable(d.free_bytes)} of {readable(d.total_bytes)} free")


def stop(
    name: _Name,
    force: Annotated[bool, typer.Option("--force", help="Do not wait for what it is doing.")] = False,
    as_json: _Json = False,
) -> None:
    """End a model's process; it finishes what it is doing first. Also forgives earlier crashes.

    Examples:

      tonewheel stop musicgen-small

      tonewheel stop musicgen-small --force
    """
    from dataclasses import asdict

    from tonewheel.fleet.client import default_limits
    from tonewheel.fleet.memory import readable
    from tonewheel.fleet.processes import Processes
    from tonewheel.models import registry

    card = registry.card(name)
    unload = Processes(_records(), default_limits()).stop(card.id, force=force)
    if as_json:
        _print(asdict(unload) if unload else {"model": card.id, "reason": "it was not running"})
    elif unload is None:
        typer.echo(f"{card.id} was not running")
    else:
        typer.echo(
            f"{card.id} has ended: it held {readable(unload.held_bytes)}, "
            f"{readable(unload.returned_bytes)} of {unload.device} came back"
        )


# ── how it looks ────────────────────────────────────────────────────────────────────────────────


def _records() -> Records:
    from tonewheel.fleet.records import Records
    from tonewheel.settings import settings

    return Records(settings().data_dir)


def _print(value: Any, indent: int | None = 2) -> None:
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=any(heads))
    for i, head in enumerate(heads):
        table.add_column(head, no_wrap=i < len(heads) - 1)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _state(entry: Entry) -> str:
    return f"{entry.state} ({entry.health})" if entry.health and entry.health != "unknown" else entry.state


def _size(entry: Entry) -> str:
    from tonewheel.fleet.memory import readable

    if entry.card is None or not entry.card.size_bytes:  # the card names no files: what is here is what is known
        return readable(entry.disk_bytes) if entry.disk_bytes else "-"
    if entry.state == "partly pulled":
        return f"{readable(entry.disk_bytes)} of {readable(entry.card.size_bytes)}"
    return readable(entry.card.size_bytes)


def _licence(entry: Entry) -> str:
    if entry.card is None:
        return "-"
    licence = entry.card.weight_license or entry.card.code_license
    return licence if entry.consent else f"{licence} *"


def _doing(running: Running) -> str:
    return f"busy ({running.requests})" if running.busy and running.state == "ready" else running.state


def _ends(running: Running) -> str:
    if running.busy or running.state != "ready":
        return "-"
    if running.ends_in_s is None:
        return "always"
    minutes, seconds = divmod(round(running.ends_in_s), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


class _JsonLines:
    """One line of JSON twice a second, and one at the end of each file."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def tell(self, file: str, here: int, total: int) -> None:
        if here == total or time.monotonic() - self._told_at > 0.5:
            self._told_at = time.monotonic()
            _print({"event": "progress", "file": file, "here_bytes": here, "size_bytes": total}, indent=None)


class _Shared:
    """Files that another model had already: a line of JSON each, or for the eye one line a model."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._files: dict[str, list[int]] = {}

    def tell(self, file: CardFile, model: str) -> None:
        self._files.setdefault(model, []).append(file.size_bytes)
        if self._as_json:
            _print({"event": "shared", "file": file.path, "with": model, "size_bytes": file.size_bytes}, indent=None)

    def sum_up(self) -> None:
        from tonewheel.fleet.memory import readable

        for model, sizes in self._files.items() if not self._as_json else ():
            subject = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
            typer.echo(f"Shared with {model}, which is here already: {subject}, {readable(sum(sizes))}", err=True)


class _Bars:
    """One bar a file, on a terminal; nothing where nobody watches."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, file: str, here: int, total: int) -> None:
        if file not in self._tasks:
            self._tasks[file] = self._progress.add_task(file, total=total)
        self._progress.update(self._tasks[file], completed=here)
