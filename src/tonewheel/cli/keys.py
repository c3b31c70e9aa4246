"""`tonewheel keys`: who may use the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tonewheel.cli.commands import Commands

if TYPE_CHECKING:
    from tonewheel.gateway.keys import ApiKey, Keys

app = Commands(help="API keys of the server: create, list and revoke them.", no_args_is_help=True)

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data folder of the server.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database", help="sqlite:///FILE or postgresql://…")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is or what for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", "-s", help="read, generate (and read) or admin (all); may be given more than once."),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """Make a key and print it: it is shown this once, and kept as a hash only.

    From the first key on, every request needs one.

    Examples:

      tonewheel keys create laptop

      tonewheel keys create dashboard --scope read
    """
    with _keys(data_dir, database, make=True) as keys:
        key, text = keys.create(name, tuple(scope or ["generate"]))
    if as_json:
        typer.echo(json.dumps(key.model_dump(mode="json") | {"key": text}))
        return
    typer.echo(text)
    typer.echo(f"{key.name}: may {', '.join(key.scopes)}. Send it as 'Authorization: Bearer KEY', or set "
               "TONEWHEEL_API_KEY for the command line. It is not shown again.", err=True)  # fmt: skip


@app.command("list")
def list_keys(as_json: AsJson = False, data_dir: DataDir = None, database: DatabaseUrl = None) -> None:
    """List keys by name, scopes and state; never the keys themselves.

    Examples:

      tonewheel keys list
    """
    from tonewheel.errors import NotFound

    found: list[ApiKey] = []
    with suppress(NotFound), _keys(data_dir, database) as keys:
        found = keys.list()
    if as_json:
        typer.echo(json.dumps([k.model_dump(mode="json") for k in found], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "scopes", "made", "state"):
        table.add_column(heading, no_wrap=True)
    for key in found:
        table.add_row(key.id, key.name, ", ".join(key.scopes), _day(key.created_at),
                      f"revoked {_day(key.revoked_at)}" if key.revoked_at else "valid")  # fmt: skip
    Console().print(table if found else "no keys: only this machine is served, and needs none")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of a key, as `tonewheel keys list` tells it.")],
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """End a key at once.

    Examples:

      tonewheel keys revoke 3f9c0a1b2c4d
    """
    with _keys(data_dir, database) as keys:
        key = keys.revoke(key_id)
        left = keys.any_valid()
    typer.echo(f"{key.id} ({key.name}) is revoked")
    if not left:
        typer.echo("no valid key is left: every request is refused until there is a new one", err=True)


@contextmanager
def _keys(data_dir: Path | None, database: str | None, *, make: bool = False) -> Iterator[Keys]:
    """The keys of a server. Only `make` makes a database where there is none; else NotFound."""
    from tonewheel.errors import NotFound
    from tonewheel.gateway.keys import Keys
    from tonewheel.jobs.opening import check_file, database_url
    from tonewheel.library.database import Database
    from tonewheel.settings import made_folder, settings

    folder = data_dir or settings().data_dir
    opened = Database.open(database_url(folder, database or settings().database_url))
    if opened.file is not None:
        check_file(opened.file)
    if opened.file is not None and make:
        made_folder(opened.file.parent)
    elif opened.file is not None and not opened.file.exists():
        raise NotFound(f"there is no database at {opened.file} and so no key; name another place with --data-dir")
    try:
        keys = Keys(opened)
        keys.create_tables()
        yield keys
    finally:
        opened.close()


def _day(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
