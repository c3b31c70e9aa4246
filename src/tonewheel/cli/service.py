"""`tonewheel service`: one model behind HTTP, alone on its own port."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tonewheel.cli.options import complete_model


def service(
    name: Annotated[
        str, typer.Argument(help="A service or a model, such as composer or jen1.", autocompletion=complete_model)
    ],
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: 127.0.0.1, or as set for it.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=0, max=65535, help="Port; 0 = any free one. Default: its own.")
    ] = None,
    uds: Annotated[Path | None, typer.Option("--uds", help="A Unix socket instead of host and port.")] = None,
    path: Annotated[
        Path | None, typer.Option("--path", help="A folder with its weights, used as it is (TONEWHEEL_<MODEL>_PATH).")
    ] = None,
    public_without_key: Annotated[
        bool, typer.Option("--public-without-key", help="Serve other machines although no TONEWHEEL_API_KEY is set.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Tell where it listens as one line of JSON.")] = False,
) -> None:
    """Serve one model over HTTP until Ctrl-C (the planner jen1: port 4001; the composer: 8901).

    Examples:

      tonewheel service composer

      tonewheel service jen1 --port 4100

      tonewheel service musicgen-small --path /models/musicgen-small
    """
    import os

    from tonewheel import logs
    from tonewheel.fleet.consent import require_consent
    from tonewheel.fleet.pull import require_pulled
    from tonewheel.models import registry
    from tonewheel.serving.server import ServiceOptions, run_service
    from tonewheel.settings import path_variable

    logs.set_up()
    card = registry.card(name)
    if path is not None:
        os.environ[path_variable(card.id)] = str(path.absolute())
    require_consent(card)
    require_pulled(card)
    options = ServiceOptions(
        name=name, host=host, port=port, uds=uds, as_json=as_json, public_without_key=public_without_key,
    )  # fmt: skip
    code = run_service(options)
    if code:
        raise typer.Exit(code)
