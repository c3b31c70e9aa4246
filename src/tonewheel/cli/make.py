"""What `song` and `compose` share: names of the files, progress, the result."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tonewheel.cli.show import clock, plan_view
from tonewheel.songs.plan import SongPlan

if TYPE_CHECKING:
    from tonewheel.composer.produce import Made, Outputs, Progress

# Share of a whole render that each stage takes, measured on 60 s songs: the bar moves evenly.
_WEIGHTS = {"arrange": 5, "stems": 50, "mix": 15, "master": 15, "check": 2, "encode": 12, "write": 1}
DOING = {
    "arrange": "writing the notes", "stems": "playing the parts", "mix": "mixing", "master": "mastering",
    "check": "checking", "encode": "encoding", "write": "writing",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which files a command makes of a song, and how it tells of them."""

    output: Path | None
    fmt: str | None
    midi: bool
    lrc: bool
    stems: bool
    plan: bool = False
    soundfont: Path | None
    dry_run: bool
    force: bool
    as_json: bool
    quiet: bool

    def song(self, title: str) -> Path:
        """The song's own file."""
        return self.output or Path(f"{slug(title)}.{self.fmt or 'mp3'}")

    def plan_beside(self, song: Path) -> Path | None:
        return song.with_suffix(".plan.json") if self.plan else None

    def chat(self) -> Console:
        """What a person is told: standard output carries the result alone."""
        return Console(stderr=True, quiet=self.quiet)


def make(plan: SongPlan, wanted: Wanted) -> None:
    """Render `plan` to the files asked for and tell what was made."""
    from tonewheel.composer.produce import produce
    from tonewheel.files import check_target

    song = wanted.song(plan.title)
    outputs, beside = _outputs(song, wanted), wanted.plan_beside(song)
    outputs.check()
    if beside:
        check_target(beside, wanted.force)
    chat = wanted.chat()
    chat.print(plan_view(plan))
    if wanted.dry_run:
        files = [path for path in (song, outputs.midi, outputs.lrc, outputs.stems, beside) if path]
        tell_dry(plan, files, wanted.as_json)
        return
    with _bar(chat) as progress:
        made = produce(plan, outputs, progress)
    _tell(made, [*made.files, *write_plan(plan, beside, wanted.force)], wanted.as_json, chat)


def _outputs(song: Path, wanted: Wanted) -> Outputs:
    from tonewheel.composer.produce import Outputs
    from tonewheel.settings import settings

    return Outputs(
        song=song,
        midi=song.with_suffix(".mid") if wanted.midi else None,
        lrc=song.with_suffix(".lrc") if wanted.lrc else None,
        stems=song.with_name(f"{song.stem}-stems") if wanted.stems else None,
        soundfont=wanted.soundfont or settings().soundfont,
        force=wanted.force,
    )


def slug(title: str) -> str:
    """A file name from a title: letters and digits of any script, hyphens between words."""
    text = unicodedata.normalize("NFKC", title).casefold()
    words = re.findall(r"[^\W_]+", text)
    return "-".join(words)[:60].strip("-") or "song"


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, float], None]]:
    """A bar that is gone when the block ends; tell it what is being done and the share that is done, 0-1."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("planning", total=1.0)
        yield lambda doing, fraction: bar.update(task, completed=fraction, description=doing)


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    total = sum(_WEIGHTS.values())
    with progress_bar(console) as show:

        def tell(stage: str, fraction: float) -> None:
            before = 0
            for name, weight in _WEIGHTS.items():
                if name == stage:
                    show(DOING[stage], (before + weight * fraction) / total)
                    return
                before += weight

        yield tell


def write_plan(plan: SongPlan, path: Path | None, force: bool) -> list[Path]:
    """The plan in a file of its own, where one is wanted; the files written."""
    from tonewheel.files import write_set
    from tonewheel.songs.files import dump_plan

    if path is None:
        return []
    write_set({path: dump_plan(plan, "json").encode()}, force=force)
    return [path]


def tell_dry(plan: SongPlan, files: Iterable[Path], as_json: bool, **more: Any) -> None:
    """What a dry run would have written; `more` is told in JSON."""
    names = [str(path) for path in files]
    if as_json:
        told = {"dry_run": True, **more, "files": names, "plan": plan.to_dict()}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print(f"dry run: would write {', '.join(names)}")


def _tell(made: Made, files: list[Path], as_json: bool, chat: Console) -> None:
    seconds = sum(made.seconds.values())
    if as_json:
        answer: dict[str, Any] = {
            "files": [str(f) for f in files],
            "title": made.plan.title,
            "duration_s": made.report.duration_s,
            "seed": made.plan.seed,
            "style": made.score.style,
            "elapsed_s": round(seconds, 3),
            "real_time_factor": round(made.real_time_factor, 4),
            "seconds": {k: round(v, 3) for k, v in made.seconds.items()},
            "loudness_lufs": made.report.lufs,
            "true_peak_dbtp": made.report.true_peak_dbtp,
            "plan": made.plan.to_dict(),
        }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    chat.print(
        f"[bold]{made.plan.title}[/bold]: {clock(made.report.duration_s)} in {seconds:.1f} s, "
        f"{made.report.lufs:.1f} LUFS, seed {made.plan.seed}",
        highlight=False,
    )
    for path in files:
        print(path)
