"""`tonewheel inspect`: what is in an audio file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tonewheel.errors import InvalidRequest, TonewheelError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from tonewheel.audio.read import Audio
    from tonewheel.audio.report import Report
    from tonewheel.audio.tags import Tags

_MARKS = {"fault": "[red]✗[/red]", "warning": "[yellow]![/yellow]", "info": "[dim]·[/dim]"}
_LONG = 200  # a plan of 100 kB in the tags is mentioned, not shown


@dataclass(frozen=True, slots=True)
class _Inspected:
    path: Path
    size: int
    audio: Audio
    report: Report
    tags: Tags


def inspect(
    files: Annotated[list[Path], typer.Argument(help="Audio files: WAV, FLAC, MP3, Ogg, Opus, AIFF; M4A with PyAV.")],
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Also draw waveform, spectrogram and level to this PNG (one file).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array; nothing else on standard output.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing plot.")] = False,
) -> None:
    """Measure audio files: length, loudness, peaks, silence, tempo, key, balance, and read their tags.

    A file that cannot be read is said so, the others are still reported; the exit code is then 2.

    Examples:

      tonewheel inspect song.mp3

      tonewheel inspect song.mp3 --plot song.png

      tonewheel inspect *.flac --json
    """
    from rich.console import Console

    from tonewheel.cli.failures import report as say
    from tonewheel.files import check_target, whole_file

    if plot is not None:
        if len(files) > 1:
            raise InvalidRequest("--plot draws one file: give one, or call inspect once for each", param="plot")
        check_target(plot, force)
    console = Console(highlight=False)
    rows: list[dict[str, Any]] = []
    exit_code = 0
    for path in files:
        try:
            found = _examine(path)
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
            picture = draw(found.audio.samples, found.audio.rate, found.report, title, marks=_sections(found.tags))
            with whole_file(plot, force=force) as file:
                file.write(picture)
            if not as_json:
                console.print(f"Plot: {plot}", markup=False)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    if exit_code:
        sys.exit(exit_code)  # typer.Exit would only be returned by an app that is not standalone


def _examine(path: Path) -> _Inspected:
    from tonewheel.audio.checks import check
    from tonewheel.audio.read import decode, load_bytes
    from tonewheel.audio.tags import read_tags

    data = load_bytes(path)
    with _quiet_libraries():
        audio = decode(data, repr(str(path)))
    tags = read_tags(data)
    return _Inspected(path, len(data), audio, check(audio.samples, audio.rate), tags)


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
    tags = {name: value for name, value in asdict(found.tags).items() if value not in (None, {})}
    return {
        "file": _encodable(found.path),
        "bytes": found.size,
        "format": found.audio.format,
        "tags": tags,
        **found.report.to_dict(),
    }


def _view(found: _Inspected) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(_printable(str(found.path)), style="bold"), _measures(found)]
    parts += [Text.from_markup(f"{_MARKS[f.severity]} ").append(f.message) for f in found.report.findings]
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
    if r.key is not None:
        table.add_row(
            "key", f"{r.key.key} (confidence {r.key.confidence:.2f}, {100 * r.key.inside:.0f} % of tones inside)"
        )
    return table


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
