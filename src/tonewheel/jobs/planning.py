"""The planner of a worker: the template planner, in a helper process."""

from __future__ import annotations

from collections.abc import Callable

from tonewheel.jobs.children import Children
from tonewheel.jobs.request import SongRequest
from tonewheel.songs.plan import SongPlan

_TAKES_PLANS = "composer"


class TemplatePlanner:
    """The template planner, in a helper process."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def plan(
        self, request: SongRequest, *, job_id: str, deadline_s: float, cancelled: Callable[[], bool]
    ) -> SongPlan | None:
        if request.model != _TAKES_PLANS and request.narrative is None and request.lyrics is None:
            return None  # a prompt for a model that takes one
        asked = request.plan_request().model_dump(mode="json", exclude_none=True)
        made = self._children.call("plan", {"request": asked}, deadline_s=deadline_s, cancelled=cancelled)
        return SongPlan.model_validate(made["plan"])
