"""The renderer and the planner a worker has without a fleet: both in helper processes of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tonewheel.errors import InvalidRequest
from tonewheel.jobs.children import Children
from tonewheel.jobs.rendering import RenderedSong, RenderRequest, Tell
from tonewheel.jobs.request import SongRequest
from tonewheel.songs.plan import SongPlan

MODEL = "composer"


class ComposerRenderer:
    """The built-in composer, one helper process a song."""

    def __init__(self, children: Children | None = None, *, at_once: int | None = None) -> None:
        self._children = children or Children()
        self._at_once = at_once or max(1, (os.cpu_count() or 2) // 2)  # one core a song, half for the rest

    def slots(self) -> Mapping[str, int]:
        return {MODEL: self._at_once}

    def render(
        self,
        request: RenderRequest,
        *,
        job_id: str,
        progress: Tell,
        deadline_s: float,
        cancelled: Callable[[], bool],
    ) -> RenderedSong:
        if request.plan is None:
            raise InvalidRequest("the composer renders song plans: give a plan, or words to make one of", param="plan")
        args: dict[str, Any] = {
            "plan": request.plan.to_dict(), "folder": str(request.scratch), "midi": request.midi, "lrc": request.lrc,
            "stems": request.stems,
        }  # fmt: skip
        made = self._children.call(
            "compose", args, deadline_s=deadline_s, cancelled=cancelled,
            progress=lambda stage, fraction: progress(stage, fraction, None),
        )  # fmt: skip
        return RenderedSong(
            audio=Path(made["audio"]), seed=request.plan.seed, model=MODEL, revision=made["revision"], mastered=True,
            tags=made["tags"], midi=_bytes(made.get("midi")), lrc=_bytes(made.get("lrc")),
            stems={part: Path(path) for part, path in made["stems"].items()}, details={"style": made["style"]},
        )  # fmt: skip

    def close(self) -> None:
        self._children.close()


class TemplatePlanner:
    """The template planner, in a helper process."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def plan(
        self, request: SongRequest, *, job_id: str, deadline_s: float, cancelled: Callable[[], bool]
    ) -> SongPlan | None:
        if request.model != MODEL and request.narrative is None and request.lyrics is None:
            return None  # a prompt for a model that takes one
        asked = request.plan_request().model_dump(mode="json", exclude_none=True)
        made = self._children.call("plan", {"request": asked}, deadline_s=deadline_s, cancelled=cancelled)
        return SongPlan.model_validate(made["plan"])


def _bytes(path: str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()
