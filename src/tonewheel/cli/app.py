"""All commands of `tonewheel`. They import what they need when they run: `--help` must stay quick."""

from __future__ import annotations

from typing import Annotated

import typer

from tonewheel import __version__
from tonewheel.cli.commands import Commands

app = Commands(
    name="tonewheel",
    help="The self-hosted music AI server: songs from sentences, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # errors are one line; a traceback is asked for with TONEWHEEL_DEBUG=1
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tonewheel {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    pass


def _register() -> None:
    from tonewheel.cli.analyze import analyze
    from tonewheel.cli.compose import compose
    from tonewheel.cli.doctor import doctor
    from tonewheel.cli.generate import generate
    from tonewheel.cli.jobs import app as jobs
    from tonewheel.cli.keys import app as keys
    from tonewheel.cli.models import models, ps, pull, rm, show, stop
    from tonewheel.cli.plan import plan
    from tonewheel.cli.serve import serve
    from tonewheel.cli.service import service
    from tonewheel.cli.song import song
    from tonewheel.cli.styles import styles
    from tonewheel.cli.validate import validate
    from tonewheel.cli.worker import worker

    making = (song, plan, compose, generate, styles, analyze)
    running = (serve, worker, service, doctor, validate)
    keeping = (models, show, pull, rm, ps, stop)
    for command in (*making, *running, *keeping):
        app.command()(command)
    app.command("inspect", hidden=True)(analyze)  # its name in the first version
    app.add_typer(jobs, name="jobs")
    app.add_typer(keys, name="keys")


_register()
