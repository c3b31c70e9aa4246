"""Options that several commands share, and how they become a plan request."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tonewheel.errors import InvalidRequest

if TYPE_CHECKING:
    from tonewheel.songs.plan import SongPlan

_MAX_TEXT_BYTES = 64 * 1024  # far above any narrative or lyric that is accepted; bounds what is read


def complete_style(incomplete: str) -> Iterable[tuple[str, str]]:
    """Tab completion of style names."""
    from tonewheel.styles.library import styles

    return [(s.id, s.description) for s in styles().values() if s.id.startswith(incomplete)]


def complete_model(incomplete: str) -> Iterable[tuple[str, str]]:
    """Tab completion of models and services."""
    from tonewheel.models import registry

    found = {card.id: card.title for card in registry.cards().values()}
    found |= {family.service: family.title for family in registry.families().values()}
    return sorted((name, title) for name, title in found.items() if name.startswith(incomplete))


def complete_music_model(incomplete: str) -> Iterable[tuple[str, str]]:
    """Tab completion of models that make music."""
    from tonewheel.models import registry

    makers = (card for card in registry.cards().values() if {"song", "music", "sound"} & {*card.tasks})
    return sorted((card.id, card.title) for card in makers if card.id.startswith(incomplete))


Narrative = Annotated[
    str | None, typer.Argument(help="What the song is about, in your own words; '-' reads standard input.")
]
NarrativeFile = Annotated[Path | None, typer.Option("--file", "-f", help="Read the narrative from a file.")]
FromFile = Annotated[
    Path | None, typer.Option("--from", help="Make the song in this file of ours again, from the plan in its tags.")
]
Duration = Annotated[float, typer.Option("--duration", "-d", help="Length in seconds, 10 to 600.")]
StyleName = Annotated[
    str | None,
    typer.Option("--style", "-s", help="A style (see `tonewheel styles`).", autocompletion=complete_style),
]
Mood = Annotated[list[str] | None, typer.Option("--mood", "-m", help="A mood; may be given more than once.")]
Tempo = Annotated[float | None, typer.Option("--tempo", help="Beats per minute.")]
KeyName = Annotated[str | None, typer.Option("--key", help="Key, such as 'A minor'.")]
Language = Annotated[str | None, typer.Option("--language", help="Language of the words, such as 'en'.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The same seed and words give the same song.")]
Title = Annotated[str | None, typer.Option("--title", help="Title; otherwise the hook of the song.")]
Artist = Annotated[str | None, typer.Option("--artist", help="Artist in the file's tags.")]
Lyrics = Annotated[
    Path | None, typer.Option("--lyrics", help="Your own lyrics, with [Verse], [Chorus] labels; kept word for word.")
]
Instrumental = Annotated[bool, typer.Option("--instrumental", help="No lyrics.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Where to write it; the ending is the format (.mp3 .wav .flac .ogg .opus)."),
]
Format = Annotated[
    Literal["mp3", "wav", "flac", "ogg", "opus"] | None,
    typer.Option("--format", help="Format, when --output is not given."),
]
Midi = Annotated[bool, typer.Option("--midi", help="Also write the notes (.mid).")]
Lrc = Annotated[bool, typer.Option("--lrc", help="Also write the lyrics with times (.lrc).")]
Stems = Annotated[bool, typer.Option("--stems", help="Also write every part alone (a folder of FLAC files).")]
SoundFont = Annotated[
    Path | None,
    typer.Option("--soundfont", help="Play acoustic parts with this SoundFont (needs tonewheel[soundfont])."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
ForceRender = Annotated[
    bool, typer.Option("--force", help="Overwrite existing files; wait also for what a CPU takes too long for.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; nothing else on standard output.")]
Server = Annotated[
    str | None,
    typer.Option("--server", help="Have a running server do it, such as http://127.0.0.1:8900 (TONEWHEEL_SERVER)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]


def plan_from(narrative: str | None, file: Path | None, lyrics: Path | None, **options: Any) -> SongPlan:
    """The plan that the shared options ask for. Raises InvalidRequest."""
    from tonewheel.songs.planner import make_plan
    from tonewheel.songs.request import plan_request

    return make_plan(plan_request(**words_from(narrative, file, lyrics, **options)))


def words_from(narrative: str | None, file: Path | None, lyrics: Path | None, **options: Any) -> dict[str, Any]:
    """What the shared options ask for, only what was given. Raises InvalidRequest."""
    if narrative is not None and file is not None:
        raise InvalidRequest("give the narrative as an argument or with --file, not both")
    if file is not None:
        text = read_text(file, "narrative")
    elif narrative == "-" or (narrative is None and not sys.stdin.isatty() and not lyrics):
        text = _decode(sys.stdin.buffer.read(_MAX_TEXT_BYTES + 1), "standard input")
    else:
        text = narrative or ""
    given = {name: value for name, value in options.items() if value is not None}
    if lyrics is not None:
        given["lyrics"] = read_text(lyrics, "lyrics")
        text = text or str(given.get("title") or lyrics.stem)
    return {"narrative": text, **given}


def server_url(given: str | None) -> str | None:
    """The server to use: the one given, or TONEWHEEL_SERVER; None = do it here."""
    from tonewheel.settings import settings

    return given or settings().server


def plan_inside(path: Path) -> SongPlan:
    """The plan in the tags of an audio file of ours, or in a plan file. Raises InvalidRequest."""
    from tonewheel.audio.formats import ENDINGS
    from tonewheel.audio.tags import read_tags
    from tonewheel.songs.files import load_plan, parse_plan

    if path.suffix.lower() not in ENDINGS:
        return load_plan(path)
    text = read_tags(path).extra.get("tonewheel_plan")
    if text is None:
        raise InvalidRequest(f"{str(path)!r} carries no song plan: only files made by Tonewheel's planner do")
    return parse_plan(text, where=str(path))


def read_text(path: Path, what: str) -> str:
    """A small text file as a string. Raises InvalidRequest when it cannot be read, is too large or no text."""
    try:
        with path.open("rb") as handle:
            data = handle.read(_MAX_TEXT_BYTES + 1)
    except OSError as e:
        raise InvalidRequest(f"{what} file {path} cannot be read: {e.strerror}") from e
    return _decode(data, str(path))


def _decode(data: bytes, where: str) -> str:
    if len(data) > _MAX_TEXT_BYTES:
        raise InvalidRequest(
            f"{where} is larger than {_MAX_TEXT_BYTES // 1024} kB: a narrative has at most 4,000 characters"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{where} is not UTF-8 text: save it as UTF-8") from None
