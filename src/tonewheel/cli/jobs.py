"""`tonewheel jobs`: what was ordered, how far it is, and stopping it; in the database itself, or at a server."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import typer

from tonewheel.cli.commands import Commands
from tonewheel.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import Console

    from tonewheel.jobs.types import Job, JobEvent, JobPage, JobState

app = Commands(help="Songs that were ordered: list, show, watch and cancel them.", no_args_is_help=True)

Server = Annotated[
    str | None, typer.Option("--server", help="Ask a running server (TONEWHEEL_SERVER), not the database.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data folder of the server.")]
DatabaseUrl = Annotated[str | None, typer.Option("--database", help="sqlite:///FILE or postgresql://…")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(help="Id of a job, as `tonewheel jobs list` tells it.")]
State = Annotated[
    Literal["queued", "running", "done", "failed", "cancelled", "poisoned"] | None,
    typer.Option("--state", help="Only jobs in this state; poisoned ones were set aside after three starts."),
]


@app.command("list")
def list_jobs(
    state: State = None,
    model: Annotated[str | None, typer.Option("--model", help="Only jobs for this model.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, 1 to 200.")] = 20,
    after: Annotated[str | None, typer.Option("--after", help="Go on after this job: the next page.")] = None,
    as_json: AsJson = False,
    server: Server = None,
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """List jobs, newest first.

    Examples:

      tonewheel jobs list

      tonewheel jobs list --state poisoned --json

      tonewheel jobs list --server http://studio:8900
    """
    with _jobs(server, data_dir, database) as store:
        if after is not None:
            store.get(after)  # a wrong id would look like the end of the list
        page = store.find(state=state, model=model, limit=limit, after=after)
    if as_json:
        typer.echo(page.model_dump_json(indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("job", "state", "model", "done", "left", "what"):
        table.add_column(heading, no_wrap=heading != "what")
    for job in page.jobs:
        table.add_row(
            job.id, _state(job), job.model, f"{100 * job.fraction:.0f} %", _seconds(job.eta_s), Text(_what(job))
        )
    console = Console()
    console.print(table if page.jobs else "no jobs")
    if page.next:
        console.print(f"more: tonewheel jobs list --after {page.next}", style="dim")


@app.command("show")
def show(
    job_id: JobId,
    as_json: AsJson = False,
    server: Server = None,
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """Show one job: request, state, error, times and what happened.

    Examples:

      tonewheel jobs show job_4Xo0…
    """
    with _jobs(server, data_dir, database) as store:
        job, events = store.get(job_id), store.events(job_id)
    if as_json:
        told = job.model_dump(mode="json") | {"events": [e.model_dump(mode="json") for e in events]}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold]{job.id}[/bold]  {_state(job)}  {job.model}  attempts {job.attempts}")
    console.print(_what(job), markup=False)
    if job.song_id:
        console.print(f"song {job.song_id}")
    if job.error:
        console.print(f"{job.error.type}: {job.error.message}", style="red", markup=False)
    for event in events:
        _say(console, event, events[0].at)


@app.command("watch")
def watch(
    job_id: JobId,
    as_json: AsJson = False,
    server: Server = None,
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """Follow a job until it has ended; the exit code is 0 when it is done, 1 otherwise. Ctrl-C leaves it alone.

    Examples:

      tonewheel jobs watch job_4Xo0…

      tonewheel jobs watch job_4Xo0… --server http://studio:8900 --json
    """
    from rich.console import Console

    console = Console(highlight=False)
    began: float | None = None
    with _jobs(server, data_dir, database) as store:
        if store.get(job_id).state == "queued" and store.nobody_works():
            typer.echo("no worker is alive: it waits until `tonewheel serve` or `tonewheel worker` runs", err=True)
        try:
            for event in store.watch(job_id):
                if event is None:
                    continue
                began = event.at if began is None else began
                if as_json:
                    typer.echo(event.model_dump_json())
                else:
                    _say(console, event, began)
        except KeyboardInterrupt:
            typer.echo(f"no longer watched; the job goes on: `tonewheel jobs cancel {job_id}` stops it", err=True)
            raise typer.Exit(128 + signal.SIGINT) from None
        job = store.get(job_id)
    if job.state != "done":
        raise typer.Exit(1)


@app.command("cancel")
def cancel(
    job_ids: Annotated[list[str], typer.Argument(help="Ids of jobs.")],
    as_json: AsJson = False,
    server: Server = None,
    data_dir: DataDir = None,
    database: DatabaseUrl = None,
) -> None:
    """Cancel jobs: queued ones never start, running ones stop at their next step; ended ones stay as they are.

    Examples:

      tonewheel jobs cancel job_4Xo0… job_9sZ2…
    """
    with _jobs(server, data_dir, database) as store:
        ended = [store.cancel(job_id) for job_id in job_ids]
    if as_json:
        typer.echo(json.dumps([{"id": j.id, "state": j.state} for j in ended], indent=2))
        return
    for job in ended:
        typer.echo(f"{job.id} {job.state}")


class Jobs(Protocol):
    """What the commands ask of a database or of a server."""

    def find(self, *, state: JobState | None, model: str | None, limit: int, after: str | None) -> JobPage: ...

    def get(self, job_id: str) -> Job: ...

    def events(self, job_id: str) -> list[JobEvent]: ...

    def watch(self, job_id: str) -> Iterator[JobEvent | None]: ...

    def cancel(self, job_id: str) -> Job: ...

    def nobody_works(self) -> bool: ...


@contextmanager
def _jobs(server: str | None, data_dir: Path | None, database: str | None) -> Iterator[Jobs]:
    """Those of the server named here or in the environment, unless a database is named here."""
    from tonewheel.cli.options import server_url

    here = data_dir is not None or database is not None
    if server is not None and here:
        raise InvalidRequest("a server has a database of its own: give --server, or --data-dir and --database")
    if not here and (url := server_url(server)) is not None:
        from tonewheel.cli.server_client import Server
        from tonewheel.cli.server_jobs import ServerJobs

        with Server(url) as asked:
            yield ServerJobs(asked)
        return
    from tonewheel.jobs.opening import open_jobs
    from tonewheel.settings import settings

    given: dict[str, Any] = {"data_dir": data_dir, "database_url": database}
    chosen = settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    store, _ = open_jobs(chosen, create=False)
    try:
        yield store
    finally:
        store.database.close()


def _state(job: Job) -> str:
    colours = {"done": "green", "running": "cyan", "failed": "red", "poisoned": "red", "cancelled": "yellow"}
    text = f"queued ({job.position})" if job.position else job.state
    colour = colours.get(job.state)
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _what(job: Job) -> str:
    request = job.request
    text = request.get("title") or request.get("narrative") or request.get("prompt") or request.get("lyrics")
    text = text or (request.get("plan") or {}).get("title") or ""
    line = " ".join(str(text).split())
    return line if len(line) <= 60 else line[:59] + "…"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.0f} s"


def _say(console: Console, event: JobEvent, began: float) -> None:
    data = event.data
    if event.type == "progress":
        left = f", {data['eta_s']:.0f} s left" if "eta_s" in data else ""
        text = f"{data['stage']} {100 * data['fraction']:.0f} %{left}"
    elif "error" in data:
        text = f"{event.type}: {data['error']['message']}"
    else:
        more = ", ".join(f"{k} {v}" for k, v in data.items())
        text = f"{event.type}{f' ({more})' if more else ''}"
    console.print(f"{event.at - began:7.1f} s  {text}", markup=False)
