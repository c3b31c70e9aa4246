"""`tonewheel compose`: from a plan to a finished song."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tonewheel.cli import options as o


def compose(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan (.json, .yaml) or a jen1 GeneratedSong.")],
    style: o.StyleName = None,
    seed: o.Seed = None,
    output: o.Output = None,
    fmt: o.Format = None,
    midi: o.Midi = False,
    lrc: o.Lrc = False,
    stems: o.Stems = False,
    soundfont: o.SoundFont = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and the files; make nothing.")] = False,
    force: o.Force = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Render an edited song plan with the built-in composer.

    Examples:

      tonewheel plan "A paper boat sails to the sea" -o boat.yaml

      tonewheel compose boat.yaml -o boat.mp3 --stems
    """
    from tonewheel.audio.formats import ENDINGS
    from tonewheel.cli.make import Wanted, make
    from tonewheel.errors import InvalidRequest
    from tonewheel.songs.files import load_plan
    from tonewheel.styles.library import get_style

    if plan_file.suffix.lower() in ENDINGS:
        raise InvalidRequest(f"{plan_file} is a song, not a plan: `tonewheel song --from {plan_file}` makes it again")
    plan = load_plan(plan_file)
    changes: dict[str, object] = {}
    if style is not None:
        changes |= {"genre": get_style(style).title, "instrumentation": ()}
    if seed is not None:
        changes["seed"] = seed
    if changes:
        plan = type(plan).model_validate(plan.to_dict() | changes)
    wanted = Wanted(
        output=output, fmt=fmt, midi=midi, lrc=lrc, stems=stems, soundfont=soundfont, dry_run=dry_run, force=force,
        as_json=as_json, quiet=quiet,
    )  # fmt: skip
    make(plan, wanted)
