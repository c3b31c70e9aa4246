"""A song plan in HeartMuLa's words: tags, and lyrics under the six marks it knows."""

from __future__ import annotations

from typing import Any

from tonewheel.songs.plan import SectionRole, SongPlan

# Marks of its training data (its README); other words in brackets are sung.
_MARKS: dict[SectionRole, str] = {
    "intro": "Intro", "verse": "Verse", "pre-chorus": "Prechorus", "chorus": "Chorus", "drop": "Chorus",
    "bridge": "Bridge", "instrumental": "Bridge", "solo": "Bridge", "break": "Bridge", "build": "Prechorus",
    "outro": "Outro",
}  # fmt: skip
_TEMPI = ((72.0, "slow"), (104.0, "mid-tempo"), (136.0, "upbeat"), (float("inf"), "fast"))  # below so many a minute


def from_plan(plan: SongPlan) -> dict[str, Any]:
    """The fields of a request that say what a plan says."""
    return {"tags": tags_of(plan), "lyrics": lyrics_of(plan)}


def tags_of(plan: SongPlan) -> list[str]:
    """Genre, moods, instruments, tempo in a word (figures are hardly followed), and whether anybody sings."""
    tempo = next(word for below, word in _TEMPI if plan.tempo < below)
    instruments = [i.instrument for i in plan.instrumentation]
    tags = [plan.genre, *plan.moods, *instruments, tempo, *(["instrumental"] if plan.is_instrumental else [])]
    return list(dict.fromkeys(tag.replace(",", " ").lower() for tag in tags))


def lyrics_of(plan: SongPlan) -> str:
    """Every section under its mark, a blank line between; those without words are a mark alone."""
    return "\n\n".join("\n".join((f"[{_MARKS[s.role]}]", *s.lyrics)) for s in plan.sections)
