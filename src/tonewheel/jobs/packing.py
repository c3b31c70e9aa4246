"""What a finished song says of itself: title, tags, media types."""

from __future__ import annotations

import json
from typing import Any

from tonewheel import __version__
from tonewheel.audio.formats import INFO, Format
from tonewheel.jobs.request import SongRequest
from tonewheel.songs.plan import SongPlan

_TITLE_CHARACTERS = 80


def media_type_of(format: Format) -> str:
    return INFO[format].media_type


def title_of(request: SongRequest, plan: SongPlan | None) -> str:
    """As the user or the plan calls it, else the first words of what was asked."""
    if request.title:
        return request.title
    if plan is not None:
        return plan.title
    first = (request.prompt or request.narrative or request.lyrics or "Untitled").strip().split("\n")[0]
    return first if len(first) <= _TITLE_CHARACTERS else first[: _TITLE_CHARACTERS - 1].rstrip() + "…"


def tags_for(request: SongRequest, plan: SongPlan | None, rendered: dict[str, Any]) -> dict[str, Any]:
    """Fields of `audio.tags.Tags`: those the model made, or ours; enough to make the song again."""
    if rendered["tags"] is not None:
        made: dict[str, Any] = rendered["tags"]
        return made
    extra = {
        "tonewheel_seed": str(rendered["seed"]),
        "tonewheel_model": rendered["model"],
        "tonewheel_version": __version__,
        "tonewheel_request": json.dumps(request.to_dict(), ensure_ascii=False, separators=(",", ":")),
    }
    if rendered["revision"]:
        extra["tonewheel_revision"] = rendered["revision"]
    tags: dict[str, Any] = {
        "title": title_of(request, plan), "artist": request.artist or "Tonewheel",
        "comment": f"Made by Tonewheel {__version__} with {rendered['model']}", "extra": extra,
    }  # fmt: skip
    if rendered["licence"]:
        tags["license"] = rendered["licence"]
    if plan is not None:
        extra["tonewheel_plan"] = json.dumps(plan.to_dict(), ensure_ascii=False, separators=(",", ":"))
        tags |= {"artist": plan.artist, "genre": plan.genre, "bpm": plan.tempo, "key": plan.key}
        lyrics = "\n\n".join("\n".join([f"[{s.label}]", *s.lyrics]) for s in plan.sections if s.lyrics)
        tags["lyrics"] = lyrics or None
    elif request.lyrics:
        tags["lyrics"] = request.lyrics
    return tags
