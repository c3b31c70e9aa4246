"""`tonewheel plan`: from a narrative to an editable song plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tonewheel.cli import options as o


def plan(
    narrative: o.Narrative = None,
    file: o.NarrativeFile = None,
    duration_s: o.Duration = 60.0,
    style: o.StyleName = None,
    moods: o.Mood = None,
    tempo: o.Tempo = None,
    key: o.KeyName = None,
    language: o.Language = None,
    seed: o.Seed = None,
    title: o.Title = None,
    artist: o.Artist = None,
    lyrics: o.Lyrics = None,
    instrumental: o.Instrumental = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the plan here (.json, .yaml).")] = None,
    layout: Annotated[
        Literal["auto", "json", "yaml", "jen1", "table"],
        typer.Option("--as", help="How to print it; jen1 = GeneratedSong."),
    ] = "auto",
    as_json: o.AsJson = False,
    force: o.Force = False,
    server: o.Server = None,
) -> None:
    """Plan a song: title, sections, lyrics, chords, instrumentation, tempo and key.

    Examples:

      tonewheel plan "A paper boat sails down the gutter to the sea" -o boat.yaml

      tonewheel plan "Neon rain over the harbour" --style synth-pop --as table
    """
    from tonewheel.files import check_target, whole_file
    from tonewheel.songs.files import dump_plan

    if output is not None:
        check_target(output, force=force)
    words = {
        "duration_s": duration_s, "style": style, "moods": moods, "tempo": tempo, "key": key, "language": language,
        "seed": seed, "title": title, "artist": artist, "instrumental": instrumental,
    }  # fmt: skip
    if (url := o.server_url(server)) is not None:
        from tonewheel.cli.server_client import plan_from_server

        made = plan_from_server(url, o.words_from(narrative, file, lyrics, **words))
    else:
        made = o.plan_from(narrative, file, lyrics, **words)
    if layout == "auto":
        layout = "json" if as_json or not sys.stdout.isatty() else "table"
    if output is not None:
        fmt: Literal["json", "yaml"] = "yaml" if output.suffix in (".yaml", ".yml") else "json"
        with whole_file(output, force=force) as handle:
            handle.write(dump_plan(made, fmt).encode())
        if not as_json:
            typer.echo(f"{output}: {made.title!r}, {made.genre}, {made.tempo:.1f} bpm, {made.key}. "
                       f"Edit it, then: tonewheel compose {output}")  # fmt: skip
            return
    if layout == "jen1":
        import json

        from tonewheel.songs.generated_song import to_generated_song

        typer.echo(json.dumps(to_generated_song(made), indent=2, ensure_ascii=False))
    elif layout == "table":
        from rich.console import Console

        from tonewheel.cli.show import plan_view

        Console().print(plan_view(made))
    else:
        typer.echo(dump_plan(made, layout))
