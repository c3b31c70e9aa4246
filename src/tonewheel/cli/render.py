"""`tonewheel song --model`: a plan, rendered by a model of the fleet, checked and finished as a job's song is."""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tonewheel.cli.make import Wanted, progress_bar, tell_dry, write_plan
from tonewheel.cli.show import clock, plan_view
from tonewheel.errors import InvalidRequest
from tonewheel.songs.plan import SongPlan

if TYPE_CHECKING:
    from tonewheel.models.base import Card, Family

_DOING = {
    "load": "loading the model", "generate": "generating", "encode": "encoding", "wait": "waiting",
    "denoise": "generating", "decode": "decoding",
}  # fmt: skip


def render(plan: SongPlan, model: str, wanted: Wanted) -> None:
    """Have `model` make the song of a plan, and tell what was made. Raises InvalidRequest for what it has not."""
    from tonewheel.files import check_target
    from tonewheel.models import registry

    if wanted.soundfont is not None:
        raise InvalidRequest(f"{model} plays no SoundFont: leave out --soundfont", param="soundfont")
    family, card = registry.resolve(model)
    _check(plan, family, card, midi=wanted.midi, lrc=wanted.lrc, stems=wanted.stems)
    song = wanted.song(plan.title)
    beside = wanted.plan_beside(song)
    files = [path for path in (song, beside) if path]
    for path in files:
        check_target(path, wanted.force)
    if not wanted.dry_run:
        _require_usable(card)  # before a plan is shown of which nothing can be made
    chat = wanted.chat()
    chat.print(plan_view(plan))
    if wanted.dry_run:
        tell_dry(plan, files, wanted.as_json, model=card.id)
        return
    began = time.monotonic()
    made = _made(plan, family, card, song, wanted.force, chat)
    write_plan(plan, beside, wanted.force)
    _tell(plan, card, made, [str(path) for path in files], time.monotonic() - began, wanted.as_json, chat)


def _check(plan: SongPlan, family: Family, card: Card, **wishes: bool) -> None:
    known = family.request.model_fields
    if "plan" not in known and "prompt" not in known:
        raise InvalidRequest(f"{card.id} makes no songs: see `tonewheel models`", param="model")
    for name in (wish for wish, wanted in wishes.items() if wanted and wish not in known):
        raise InvalidRequest(f"{card.id} makes no {name}: leave out --{name}", param=name)
    if card.max_duration_s is not None and plan.duration_s > card.max_duration_s:
        raise InvalidRequest(f"{card.id} makes at most {card.max_duration_s:g} s: ask for less", param="duration")


def _require_usable(card: Card) -> None:
    from tonewheel.fleet.client import Fleet

    with Fleet() as fleet:
        fleet.require_usable(card.id)


def _made(plan: SongPlan, family: Family, card: Card, song: Path, force: bool, chat: Console) -> dict[str, Any]:
    from tonewheel.audio.formats import format_of
    from tonewheel.fleet.client import Fleet
    from tonewheel.jobs import craft
    from tonewheel.jobs.fleet_renderer import FleetRenderer
    from tonewheel.jobs.packing import tags_for
    from tonewheel.jobs.rendering import RenderRequest
    from tonewheel.jobs.request import song_request
    from tonewheel.models.clock import takes_force

    order = song_request(plan=plan, model=card.id)
    with progress_bar(chat) as show, tempfile.TemporaryDirectory(prefix="tonewheel-song-") as folder:
        renderer = FleetRenderer(Fleet())
        try:
            options = {"force": True} if force and takes_force(family) else {}
            asked = RenderRequest(card.id, plan.duration_s, plan.seed, plan, options=options, scratch=Path(folder))
            rendered = renderer.render(
                asked, job_id="song", deadline_s=math.inf, cancelled=lambda: False,
                progress=lambda stage, fraction, _: show(_DOING.get(stage, stage), 0.9 * fraction),
            )  # fmt: skip
        finally:
            renderer.close()
        show("finishing", 0.95)
        audio = rendered.audio if isinstance(rendered.audio, Path) else _kept(rendered.audio, Path(folder))
        craft.check({"audio": str(audio)}, _silent)
        said = {name: getattr(rendered, name) for name in ("tags", "seed", "model", "revision", "licence")}
        finished = craft.finish(
            {
                "audio": str(audio), "format": format_of(song), "mastered": rendered.mastered,
                "tags": tags_for(order, plan, said), "out": str(Path(folder) / f"finished{song.suffix}"),
            },
            _silent,
        )  # fmt: skip
        _place(Path(folder) / f"finished{song.suffix}", song, force)
    return {**finished, "seed": rendered.seed, "licence": rendered.licence, "timings": dict(rendered.timings)}


def _kept(data: bytes, folder: Path) -> Path:
    path = folder / "rendered"
    path.write_bytes(data)
    return path


def _place(made: Path, song: Path, force: bool) -> None:
    from tonewheel.files import whole_file

    with whole_file(song, force=force) as out:
        out.write(made.read_bytes())


def _tell(
    plan: SongPlan, card: Card, made: dict[str, Any], files: list[str], took_s: float, as_json: bool, chat: Console
) -> None:
    if as_json:
        answer = {
            "files": files, "title": plan.title, "model": card.id, "license": made["licence"],
            "duration_s": made["duration_s"], "seed": made["seed"], "timings": made["timings"], "plan": plan.to_dict(),
        }  # fmt: skip
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    chat.print(
        f"[bold]{plan.title}[/bold]: {clock(made['duration_s'])} by {card.id} in {took_s:.1f} s, seed {made['seed']}, "
        f"{made['licence']}",
        highlight=False,
    )
    for path in files:
        print(path)


def _silent(_stage: str, _fraction: float) -> None:
    pass
