"""A song plan as a description, in the manner of those that MusicGen was trained on: style, mood, instruments, tempo,
key (Copet et al. 2023, §4.1: text merged with the metadata of each track)."""

from __future__ import annotations

from typing import Any

from tonewheel.songs.plan import SongPlan
from tonewheel.styles.library import styles


def from_plan(plan: SongPlan) -> dict[str, Any]:
    """The fields of a request that say what a plan says. Words to be sung have no place: MusicGen does not sing."""
    unwanted = dict.fromkeys(style for section in plan.sections for style in section.negative_styles)
    return {"prompt": description(plan)} | ({"negative_prompt": ", ".join(unwanted)} if unwanted else {})


def description(plan: SongPlan) -> str:
    """Such as `melancholic, warm lo-fi hip hop with electric piano, bass and drums, 84 bpm, D minor, instrumental`."""
    known = styles().get(plan.genre)
    genre = plan.genre if known is None else known.title.lower()  # a style of ours goes by its name, not its id
    style = " ".join(part for part in (", ".join(plan.moods), genre) if part)
    instruments = list(dict.fromkeys(i.instrument for i in plan.instrumentation))
    if instruments:
        style += f" with {_listed(instruments)}"
    return f"{style}, {plan.tempo:.0f} bpm, {plan.key}, instrumental"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
