"""`tonewheel worker`: a process that does the jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def worker(
    database: Annotated[
        str | None, typer.Option("--database", help="sqlite:///FILE or postgresql://…; default: in the data folder.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder for its data.")] = None,
    storage: Annotated[
        str | None, typer.Option("--storage", help="Where all workers see the songs: file:///FOLDER or s3://BUCKET/…")
    ] = None,
    stop_with_parent: Annotated[
        bool, typer.Option("--stop-with-parent", help="End when the process that started it ends.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="HOST:PORT where Prometheus may ask which models run here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Tell when it is ready as one line of JSON.")] = False,
) -> None:
    """Do jobs until SIGTERM or Ctrl-C: running ones may then finish for a while, the rest goes back.

    Examples:

      tonewheel worker

      tonewheel worker --database postgresql://tonewheel@db/tonewheel --storage file:///mnt/songs
    """
    import json
    import logging

    from tonewheel import logs
    from tonewheel.gateway.metrics import serve_resident
    from tonewheel.jobs.worker import Worker, WorkerSettings, end_process
    from tonewheel.settings import settings

    logs.set_up()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each call to a model says nothing to a person
    given: dict[str, Any] = {"database_url": database, "data_dir": data_dir, "storage_url": storage}
    chosen = settings().model_copy(update={k: v for k, v in given.items() if v is not None})
    told = serve_resident(chosen.data_dir, metrics) if metrics else None
    made = Worker(WorkerSettings.of(chosen))

    def ready() -> None:
        if as_json:
            typer.echo(
                json.dumps({"worker": made.identity.id, "pid": made.identity.pid, "slots": made.slots, "metrics": told})
            )

    made.run(on_ready=ready, stop_with_parent=stop_with_parent)
    end_process()
