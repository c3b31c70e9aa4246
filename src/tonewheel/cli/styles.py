"""`tonewheel styles`: what the composer can play."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def styles(
    name: Annotated[str | None, typer.Argument(help="Show one style in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the styles of the built-in composer, or show one.

    Examples:

      tonewheel styles

      tonewheel styles house
    """
    from tonewheel.styles.library import get_style
    from tonewheel.styles.library import styles as all_styles

    chosen = [get_style(name)] if name else list(all_styles().values())
    if as_json:
        rows = [s.model_dump(mode="json") if name else _summary(s.id) for s in chosen]
        typer.echo(json.dumps(rows[0] if name else rows, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("style", "tempo", "metre", "moods", "what it is"):
        table.add_column(heading, no_wrap=heading in ("style", "tempo", "metre"))
    for s in chosen:
        tempo = f"{s.tempo.min:.0f}-{s.tempo.max:.0f}"
        table.add_row(s.id, tempo, s.time_signature, ", ".join(s.moods[:3]), s.description)
    console = Console()
    console.print(table)
    if name:
        _details(console, name)


def _summary(style_id: str) -> dict[str, object]:
    from tonewheel.styles.library import get_style

    s = get_style(style_id)
    return {
        "id": s.id,
        "title": s.title,
        "description": s.description,
        "aliases": list(s.aliases),
        "tempo": s.tempo.model_dump(),
        "time_signature": s.time_signature,
        "moods": list(s.moods),
    }


def _details(console: Console, name: str) -> None:
    from tonewheel.styles.instruments import INSTRUMENTS
    from tonewheel.styles.library import get_style

    s = get_style(name)
    players = [("melody", s.melody.instrument), ("bass", s.bass.instrument)]
    players += [(c.role, c.instrument) for c in s.comps]
    if s.drums:
        players.append(("drums", s.drums.kit))
    console.print("\nPlayers: " + ", ".join(f"{INSTRUMENTS[i].title} ({role})" for role, i in players))
    console.print("Modes: " + ", ".join(s.modes))
    if s.aliases:
        console.print("Also called: " + ", ".join(s.aliases))
