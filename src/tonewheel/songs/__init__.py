"""The song plan, lyrics, planners, and conversions to and from each model's prompt.

The few names others need are here, loaded when they are asked for: `import tonewheel.songs` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tonewheel.songs.files import dump_plan, load_plan, parse_plan
    from tonewheel.songs.generated_song import from_generated_song, to_generated_song
    from tonewheel.songs.plan import Section, SongPlan
    from tonewheel.songs.planner import make_plan
    from tonewheel.songs.request import PlanRequest, plan_request

__all__ = [
    "PlanRequest",
    "Section",
    "SongPlan",
    "dump_plan",
    "from_generated_song",
    "load_plan",
    "make_plan",
    "parse_plan",
    "plan_request",
    "to_generated_song",
]

_HOMES = {
    "PlanRequest": "request",
    "Section": "plan",
    "SongPlan": "plan",
    "dump_plan": "files",
    "from_generated_song": "generated_song",
    "load_plan": "files",
    "make_plan": "planner",
    "parse_plan": "files",
    "plan_request": "request",
    "to_generated_song": "generated_song",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
