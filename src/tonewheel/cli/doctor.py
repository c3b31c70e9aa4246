"""`tonewheel doctor`: what this machine has, what is wrong with it, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

_LEAST_FREE_GB = 2.0
_ANSWER_S = 5.0  # for whoever listens at a port of ours
_PROBE_S = 120  # importing torch from a cold disk can take a minute


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `do` says what to do about a `warning` or a `fault`."""

    name: str
    state: Literal["ok", "warning", "fault"]
    found: str
    do: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at this machine: Python, SQLite, torch, memory, disk, database, ports. Exit code 1 when something is
    broken; each finding says what to do.

    Examples:

      tonewheel doctor

      tonewheel doctor --json
    """
    findings = list(examine())
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        _show(findings)
    if any(f.state == "fault" for f in findings):
        sys.exit(1)


def examine() -> Iterator[Finding]:
    """Everything doctor looks at, in the order it is shown."""
    yield _python()
    yield _sqlite()
    yield from _torch()
    yield from _memory()
    yield from disk()
    yield database()
    yield from _traces()
    yield from _ports()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        return Finding("Python", "fault", version, "use Python 3.11, 3.12 or 3.13")
    return Finding("Python", "ok", f"{version} at {sys.executable}")


def _sqlite() -> Finding:
    from tonewheel.errors import NotSupported
    from tonewheel.library.sqlite import LEAST, driver

    try:
        module = driver()
    except NotSupported as e:
        return Finding("SQLite", "fault", e.message, "see the line above: jobs cannot be kept without it")
    return Finding("SQLite", "ok", f"{module.sqlite_version} (at least {'.'.join(map(str, LEAST))} is needed)")


def _torch() -> Iterator[Finding]:
    if find_spec("torch") is None:
        yield Finding("torch", "ok", "not installed: the built-in composer and planner need none")
        return
    code = (
        "import torch; cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available();"
        "d = 'cuda' if cuda else 'mps' if mps else 'cpu';"
        "print(torch.__version__, 'on', d, torch.cuda.get_device_name() if d == 'cuda' else '')"
    )
    said, fault = _try_import(code)
    if fault:
        yield Finding("torch", "fault", fault, "reinstall torch: its own message is the line above")
    else:
        yield Finding("torch", "ok", said)
    yield from _kernels()
    if find_spec("torchaudio") is not None:
        _, fault = _try_import("import torchaudio")
        # transformers imports torchaudio whenever it is installed, and then fails with it.
        if fault:
            yield Finding("torchaudio", "fault", fault, "pip uninstall torchaudio: Tonewheel does not use it")


def _kernels() -> Iterator[Finding]:
    if find_spec("tonewheel_kernels") is None:
        yield Finding(
            "kernels",
            "ok",
            "plain torch; `pip install ./kernels` in a clone of Tonewheel makes CPUs several times faster",
        )
        return
    said, fault = _try_import(
        "import tonewheel_kernels as k; print('native', k.chosen(), 'of', ', '.join(k.available()))"
    )
    if fault:
        yield Finding(
            "kernels", "fault", fault, "pip uninstall tonewheel-kernels, or build it again: pip install ./kernels"
        )
    else:
        yield Finding("kernels", "ok", said)


def _try_import(code: str) -> tuple[str, str]:
    """(what it printed, why it failed): in a child, since a broken library may end its process."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {_PROBE_S} s"
    last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
    return (done.stdout.strip(), "") if done.returncode == 0 else ("", last[:300])


def _memory() -> Iterator[Finding]:
    from tonewheel.fleet.memory import read_devices, readable

    for device in read_devices():
        free, total = readable(device.free_bytes), readable(device.total_bytes)
        yield Finding("memory", "ok", f"{device.label}: {free} free of {total}")


def disk() -> Iterator[Finding]:
    """The data folder, and the room that is left for it."""
    from tonewheel.settings import settings

    folder = settings().data_dir
    there: Path = next(p for p in (folder, *folder.parents) if p.exists())
    other = "set TONEWHEEL_DATA_DIR to a folder that this user may write"
    if not there.is_dir():
        yield Finding("data folder", "fault", f"{folder}: {there} is no folder", other)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield Finding("data folder", "fault", f"{folder}: {there} may not be written by this user", other)
    else:
        yield Finding("data folder", "ok", f"{folder}{'' if folder.exists() else ' (made when it is needed)'}")
    free = shutil.disk_usage(there).free / 1e9
    found = f"{free:.1f} GB free for {folder}"
    if free < _LEAST_FREE_GB:
        yield Finding("disk", "warning", found, "free some space, or set TONEWHEEL_DATA_DIR to a larger disk")
    else:
        yield Finding("disk", "ok", found)


def database() -> Finding:
    """Whether it answers; nothing is made."""
    import sqlalchemy as sa

    from tonewheel.errors import TonewheelError
    from tonewheel.jobs.opening import check_file, database_url
    from tonewheel.library.database import Database
    from tonewheel.settings import settings

    try:
        opened = Database.open(database_url(settings().data_dir, settings().database_url), patience_s=2.0)
    except TonewheelError as e:
        return Finding("database", "fault", e.message, "correct TONEWHEEL_DATABASE_URL")
    try:
        if opened.file is not None:
            check_file(opened.file)
            if not opened.file.exists():
                return Finding("database", "ok", f"{opened.file} (made when it is needed)")
        opened.read(lambda c: c.scalar(sa.select(sa.literal(1))))
    except (TonewheelError, sa.exc.SQLAlchemyError) as e:
        said = e.message if isinstance(e, TonewheelError) else f"it cannot be used ({type(e).__name__})"
        return Finding("database", "fault", f"{opened.shown_url}: {said}", "start it, or see TONEWHEEL_DATABASE_URL")
    finally:
        opened.close()
    return Finding("database", "ok", f"{opened.shown_url} answers")


def _traces() -> Iterator[Finding]:
    if any(os.environ.get(f"OTEL_EXPORTER_OTLP{part}_ENDPOINT") for part in ("", "_TRACES")):
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            yield Finding("traces", "warning", "an OTLP endpoint is set, but traces cannot be sent",
                          "pip install 'tonewheel[telemetry]'")  # fmt: skip
        else:
            yield Finding("traces", "ok", "sent over OTLP")


def _ports() -> Iterator[Finding]:
    from tonewheel.models.registry import services
    from tonewheel.settings import settings

    wanted = {"server": settings().port} | {name: f.default_port for name, f in services().items()}
    for name, port in wanted.items():
        with socket.socket() as probe:
            probe.settimeout(0.3)
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if not taken:
            yield Finding(f"port {port}", "ok", f"free ({name})")
        elif version := _tonewheel_at(port, "gateway" if name == "server" else name):
            yield Finding(f"port {port}", "ok", f"Tonewheel's own {name} runs there ({version})")
        else:
            do = f"end what uses it, or let Tonewheel's {name} have another with --port"
            yield Finding(f"port {port}", "warning", f"in use, not by Tonewheel's {name}", do)


def _tonewheel_at(port: int, service: str) -> str | None:
    """The version of our service at a port; None when something else is there."""
    import httpx

    try:
        said = httpx.get(f"http://127.0.0.1:{port}/health", timeout=_ANSWER_S, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
    ours = isinstance(said, dict) and said.get("service") == service
    return str(said.get("version", "?")) if ours else None


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "warning": "yellow", "fault": "red"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column()
    for f in findings:
        text = f.found + (f"\n→ {f.do}" if f.do else "")
        table.add_row(f"[{colours[f.state]}]{f.state}[/]", f.name, text)
    Console().print(table)
