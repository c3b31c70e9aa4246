"""`tonewheel song`: from a narrative to a finished song."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tonewheel.cli import options as o
from tonewheel.errors import InvalidRequest


def song(
    narrative: o.Narrative = None,
    file: o.NarrativeFile = None,
    from_file: o.FromFile = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="What makes the sound: composer, or a model of `tonewheel models`.",
            autocompletion=o.complete_music_model,
        ),
    ] = "composer",
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
    output: o.Output = None,
    fmt: o.Format = None,
    midi: o.Midi = False,
    lrc: o.Lrc = False,
    stems: o.Stems = False,
    soundfont: o.SoundFont = None,
    plan_file: Annotated[bool, typer.Option("--plan", help="Also write the plan (.plan.json).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and the files; make nothing.")] = False,
    force: o.ForceRender = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
    server: o.Server = None,
) -> None:
    """Make a song from your own sentences: planned, composed, mixed and mastered on this machine.

    Examples:

      tonewheel song "An old lighthouse keeper hums to the sea"

      tonewheel song "Neon rain" --style synth-pop --duration 90 -o neon.flac --stems --midi

      tonewheel song --lyrics mine.txt --style folk --seed 7

      tonewheel song --from neon.flac -o again.flac

      tonewheel song "Neon rain" --model musicgen-small --duration 30
    """
    from tonewheel.cli.make import Wanted, make

    if fmt is None and output is None:
        fmt = "mp3"
    words = {
        "duration_s": duration_s, "style": style, "moods": moods, "tempo": tempo, "key": key, "language": language,
        "seed": seed, "title": title, "artist": artist, "instrumental": instrumental,
    }  # fmt: skip
    wanted = Wanted(
        output=output, fmt=fmt, midi=midi, lrc=lrc, stems=stems, plan=plan_file, soundfont=soundfont, dry_run=dry_run,
        force=force, as_json=as_json, quiet=quiet,
    )  # fmt: skip
    plan = o.plan_inside(from_file) if from_file else None
    if plan and (narrative or file or lyrics):
        raise InvalidRequest("--from says what to make: give no narrative or lyrics beside it")
    if (url := o.server_url(server)) is not None:
        from tonewheel.cli.server_client import song_from

        given: dict[str, Any] = {"plan": plan.to_dict()} if plan else o.words_from(narrative, file, lyrics, **words)
        if model != "composer":
            given["model"] = model
            given |= _forced(model, force)
        song_from(url, given, wanted)
        return
    if model != "composer":
        from tonewheel.cli.render import render

        render(plan or o.plan_from(narrative, file, lyrics, **words), model, wanted)
        return
    make(plan or o.plan_from(narrative, file, lyrics, **words), wanted)


def _forced(model: str, force: bool) -> dict[str, Any]:
    """The option that says --force to a server's model, where it has one."""
    from tonewheel.models import registry
    from tonewheel.models.clock import takes_force

    card = registry.cards().get(model) if force else None
    return {"options": {"force": True}} if card and takes_force(registry.families()[card.family]) else {}
