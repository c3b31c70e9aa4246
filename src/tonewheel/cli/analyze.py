"""`tonewheel analyze`: what is in an audio file, and what it sounds like."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tonewheel.errors import InvalidRequest, TonewheelError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from tonewheel.audio.report import Report
    from tonewheel.audio.rhythm import Rhythm
    from tonewheel.audio.sound import Audio
    from tonewheel.audio.tags import Tags

_MARKS = {"fault": "[red]✗[/red]", "warning": "[yellow]![/yellow]", "info": "[dim]·[/dim]"}
_LONG = 200  # a plan of 100 kB in the tags is mentioned, not shown


@dataclass(frozen=True, slots=True)
class _Inspected:
    path: Path
    size: int
    audio: Audio
    report: Report
    rhythm: Rhythm
    tags: Tags
    heard: dict[str, Any] | None  # genre and mood, where they were asked for
    lyrics: dict[str, Any] | None  # and words


def analyze(
    files: Annotated[list[Path], typer.Argument(help="Audio files: WAV, FLAC, MP3, Ogg, Opus, AIFF; M4A with PyAV.")],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Also draw waveform, spectrum, beats and sections to this PNG (one file)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array; nothing else on standard output.")
    ] = False,
    genre: Annotated[
        bool, typer.Option("--genre", help="Also tell genre and mood, by a model that was pulled (CLAP).")
    ] = False,
    lyrics: Annotated[
        bool,
        typer.Option("--lyrics", help="Also write down what is sung, by a model that was pulled (HeartTranscriptor)."),
    ] = False,
    language: Annotated[
        str | None, typer.Option("--language", help="What is sung, for --lyrics: en, zh, ja … Default: as it is heard.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing plot.")] = False,
) -> None:
    """Analyse audio files: length, loudness, peaks, silence, tempo, beats, key, balance, and their tags.

    A file that cannot be read is said so, the others are still reported; the exit code is then 2.

    Examples:

      tonewheel analyze song.mp3

      tonewheel analyze song.mp3 --plot song.png

      tonewheel analyze song.mp3 --lyrics

      tonewheel analyze *.flac --json
    """
    from rich.console import Console

    from tonewheel.cli.failures import report as say
    from tonewheel.files import check_target, whole_file

    if plot is not None:
        if len(files) > 1:
            raise InvalidRequest("--plot draws one file: give one, or call analyze once for each", param="plot")
        check_target(plot, force)
    if language is not None and not lyrics:
        raise InvalidRequest("--language is for --lyrics: add it", param="language")
    tagger = _ear("embed", "--genre", {"tasks": ["genre", "mood"]}, ("genre", "mood")) if genre else None
    sung = {"language": language} if language else {}
    writer = _ear("transcribe", "--lyrics", sung, ("language", "text", "segments")) if lyrics else None
    console = Console(highlight=False)
    rows: list[dict[str, Any]] = []
    exit_code = 0
    for path in files:
        try:
            found = _examine(path, tagger, writer)
        except TonewheelError as error:
            exit_code = max(exit_code, say(error))
            rows.append({"file": _encodable(path), "error": {"type": error.type, "message": error.message}})
            continue
        rows.append(_as_json(found))
        if not as_json:
            console.print(_view(found))
        if plot is not None:
            from tonewheel.audio.plot import plot as draw

            title = found.tags.title or path.name
            picture = draw(found.audio.samples, found.audio.rate, found.report, title,
                           marks=_sections(found.tags), beats=found.rhythm)  # fmt: skip
            with whole_file(plot, force=force) as file:
                file.write(picture)
            if not as_json:
                console.print(f"Plot: {plot}", markup=False)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    if exit_code:
        sys.exit(exit_code)  # typer.Exit would only be returned by an app that is not standalone


_Ear = Callable[[bytes], dict[str, Any]]


def _examine(path: Path, tagger: _Ear | None, writer: _Ear | None) -> _Inspected:
    from tonewheel.audio.beats import track_beats
    from tonewheel.audio.checks import check
    from tonewheel.audio.read import decode, load_bytes
    from tonewheel.audio.report import Finding
    from tonewheel.audio.tags import read_tags

    data = load_bytes(path)
    with _quiet_libraries():
        audio = decode(data, repr(str(path)))
    tags = read_tags(data)
    report = check(audio.samples, audio.rate)
    if _cut_off(data):
        cut = Finding("warning", "it is cut off: the file ends before the length it tells")
        report = replace(report, findings=(cut, *report.findings))
    rhythm = track_beats(audio.samples, audio.rate)
    heard = tagger(data) if tagger is not None else None
    lyrics = writer(data) if writer is not None else None
    return _Inspected(path, len(data), audio, report, rhythm, tags, heard, lyrics)


def _cut_off(data: bytes) -> bool:
    """Whether a file that could be decoded ends too soon; a person's own file is told of all the same."""
    from tonewheel.audio.incoming.container import is_cut_off, recognise
    from tonewheel.errors import UnreadableAudio

    try:
        return is_cut_off(recognise(data, ""), data, declared=0, decoded=0)
    except UnreadableAudio:  # of a kind that only comes from this machine, such as CAF
        return False


def _ear(task: str, option: str, asked: dict[str, Any], told: tuple[str, ...]) -> _Ear:
    """What tells `told` of a file's bytes. Raises NotPulled when no model is here that could."""
    import atexit
    import base64

    from tonewheel.errors import NotPulled
    from tonewheel.fleet.client import Fleet
    from tonewheel.fleet.pull import is_pulled
    from tonewheel.models import registry
    from tonewheel.settings import service_url

    able = [card for card in registry.cards().values() if task in card.tasks]
    card = next((card for card in able if is_pulled(card) or service_url(card.id) is not None), None)
    if card is None:
        raise NotPulled(
            f"{option} needs a model that is not here: run `tonewheel pull {able[0].id}`", param=option.strip("-")
        )
    model, fleet = card.id, Fleet()
    atexit.register(fleet.close)

    def tell(data: bytes) -> dict[str, Any]:
        answer = fleet.call(model, {"audio": base64.b64encode(data).decode(), **asked}).fields
        return {"model": model} | {name: answer[name] for name in told}

    return tell


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps libmpg123 from telling on standard error what it thinks of a broken file; we tell it ourselves."""
    try:
        kept = os.dup(2)
    except OSError:  # closed by whoever called us: nothing to keep quiet
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _sections(tags: Tags) -> list[tuple[float, str]]:
    """Start and label of each section, when the file carries a plan of ours; nothing when it is another's."""
    marks: list[tuple[float, str]] = []
    at = 0.0
    try:
        for section in json.loads(tags.extra.get("tonewheel_plan", "{}"))["sections"]:
            marks.append((at, str(section["label"])[:40]))
            at += float(section["duration_s"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return marks


def _as_json(found: _Inspected) -> dict[str, Any]:
    from tonewheel.audio.beats import NAME as ONSET

    tags = {name: value for name, value in asdict(found.tags).items() if value not in (None, {})}
    return {
        "file": _encodable(found.path),
        "bytes": found.size,
        "format": found.audio.format,
        "tags": tags,
        **found.report.to_dict(),
        "beats": {"model": ONSET, **found.rhythm.to_dict()},
        **({"heard": found.heard} if found.heard is not None else {}),
        **({"lyrics": found.lyrics} if found.lyrics is not None else {}),
    }


def _view(found: _Inspected) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_printable(str(found.path)), style="bold"), _measures(found)]
    parts += [Text.from_markup(f"{_MARKS[f.severity]} ").append(f.message) for f in found.report.findings]
    if found.lyrics is not None:
        parts += [Text(""), _lyrics(found.lyrics)]
    tags = _tag_table(found.tags)
    if tags.row_count:
        parts += [Text(""), tags]
    return Group(*parts, Text(""))


def _measures(found: _Inspected) -> Table:
    r = found.report
    table = _two_columns()
    layout = {1: "mono", 2: "stereo"}.get(r.channels, f"{r.channels} channels")
    table.add_row("format", f"{found.audio.format}, {r.rate} Hz, {layout}, {found.size / 1e6:.2f} MB")
    table.add_row("length", f"{int(r.duration_s) // 60}:{r.duration_s % 60:05.2f} ({r.duration_s:.2f} s)")
    loudness = _level(r.lufs, "LUFS")
    if r.loudness_range_lu is not None:
        loudness += f", range {r.loudness_range_lu:.1f} LU"
    table.add_row("loudness", loudness)
    table.add_row("peak", f"{_level(r.peak_dbfs, 'dBFS')}, true peak {_level(r.true_peak_dbtp, 'dBTP')}")
    table.add_row("crest", f"{r.crest_db:.1f} dB")
    table.add_row(
        "silence",
        f"{100 * r.silence_share:.1f} % (head {r.silence_head_s:.2f} s, tail {r.silence_tail_s:.2f} s)",
    )
    if r.stereo_correlation is not None:
        table.add_row("stereo", f"correlation {r.stereo_correlation:.2f}")
    if r.balance is not None:
        table.add_row("balance", ", ".join(f"{n.replace('_', '-')} {v:.0f} %" for n, v in r.balance.items()))
    if r.tempo is not None:
        table.add_row("tempo", f"{r.tempo.bpm:.1f} bpm (confidence {r.tempo.confidence:.2f})")
    if found.rhythm.tempo is not None:
        table.add_row("beats", _beats(found.rhythm))
    if r.key is not None:
        table.add_row(
            "key", f"{r.key.key} (confidence {r.key.confidence:.2f}, {100 * r.key.inside:.0f} % of tones inside)"
        )
    for name in ("genre", "mood") if found.heard else ():
        best = (found.heard or {})[name]["predictions"][:3]
        table.add_row(name, ", ".join(f"{p['label']} {100 * p['score']:.0f} %" for p in best))
    return table


def _lyrics(lyrics: dict[str, Any]) -> Table:
    from rich.text import Text

    table = _two_columns()
    table.add_row("language", str(lyrics["language"] or "-"))
    for segment in lyrics["segments"]:
        minutes, seconds = divmod(float(segment["start_s"]), 60)
        table.add_row(f"{int(minutes)}:{seconds:05.2f}", Text(_printable(str(segment["text"]))))
    if not lyrics["segments"]:
        table.add_row("lyrics", "no words were heard")
    return table


def _beats(rhythm: Rhythm) -> str:
    assert rhythm.tempo is not None
    said = [f"{len(rhythm.beats)} at {rhythm.tempo.bpm:.1f} bpm, from {rhythm.beats[0]:.2f} s"]
    if rhythm.meter is not None:
        said.append(f"{rhythm.meter.beats_per_bar} a bar")
    if abs(rhythm.tempo.drift_percent) >= 1:
        said.append(f"drifting by {rhythm.tempo.drift_percent:+.1f} %")
    return ", ".join(said)


def _tag_table(tags: Tags) -> Table:
    from rich.text import Text

    table = _two_columns()
    fields = asdict(tags)
    pairs = {name: value for name, value in fields.items() if name not in ("extra", "lyrics")}
    pairs |= fields["extra"] | {"lyrics": fields["lyrics"]}
    for name, value in pairs.items():
        if value in (None, ""):
            continue
        text = f"{value:g}" if isinstance(value, float) else str(value)
        if name != "lyrics" and len(text) > _LONG:
            text = f"({len(text)} characters; --json shows them)"
        table.add_row(name, Text(_printable(text)))
    return table


def _two_columns() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _level(value: float, unit: str) -> str:
    return f"{value:.1f} {unit}" if math.isfinite(value) else f"-∞ {unit}"


def _encodable(path: Path) -> str:
    """A file name need not be text: what is no UTF-8 in it is shown as `\\udcff`."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _printable(text: str) -> str:
    """Without control characters: a file's tags must not steer the terminal."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    return "".join(c if c in "\n\t" or (c.isprintable() or c == " ") else "\N{REPLACEMENT CHARACTER}" for c in text)
