"""`tonewheel serve`: the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (127.0.0.1); a public one needs an API key.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=0, max=65535, help="Port (8900); 0 = any free one.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the database and the songs.")] = None,
    database: Annotated[
        str | None, typer.Option("--database", help="sqlite:///FILE or postgresql://…; default: in the data folder.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, max=64, help="Worker processes; 0 = they run elsewhere.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Tell where it listens as one line of JSON.")] = False,
) -> None:
    """Serve the HTTP API with its workers until Ctrl-C: order songs, follow them, fetch them.

    Examples:

      tonewheel serve

      tonewheel serve --host 0.0.0.0 --port 8900      (after: tonewheel keys create me)
    """
    from tonewheel import logs
    from tonewheel.gateway.supervise import ServeOptions, Supervisor
    from tonewheel.settings import settings

    logs.set_up()
    wishes = settings()
    options = ServeOptions(
        host=host or wishes.host, port=wishes.port if port is None else port, workers=workers,
        data_dir=data_dir or wishes.data_dir, drain_s=wishes.drain_s,
        environment={"TONEWHEEL_DATABASE_URL": database} if database else {},
    )  # fmt: skip

    def ready(server: Supervisor) -> None:
        if as_json:
            import json

            typer.echo(json.dumps(server.about()))
            return
        typer.echo(
            f"Tonewheel listens at {server.url}\n"
            f"  songs and database: {options.data_dir}\n"
            f"  order one:  curl {server.url}/v1/songs -d '"
            '{"narrative": "Neon rain over the harbour", "duration_s": 30}\'\n'
            f'  or:         tonewheel song --server {server.url} "Neon rain over the harbour"\n'
            f"  its pages:  {server.url}/docs\n"
            "  Ctrl-C ends it; what was ordered goes on next time"
        )

    code = Supervisor(options).run(ready)
    if code:
        raise typer.Exit(code)
