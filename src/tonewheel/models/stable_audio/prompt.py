"""A song plan as a description, in the manner of the prompts that Stability gives as examples: style, mood,
instruments, tempo, key."""

from __future__ import annotations

from typing import Any

from tonewheel.models.musicgen.prompt import from_plan as described
from tonewheel.songs.plan import SongPlan


def from_plan(plan: SongPlan) -> dict[str, Any]:
    """The fields of a request that say what a plan says. Words to be sung have no place: Stable Audio does not sing."""
    return described(plan) | {"duration": plan.duration_s}
