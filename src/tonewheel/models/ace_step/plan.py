"""A song plan in ACE-Step's words: a caption, lyrics under marks, and tempo, key and metre in fields of their own.

Upstream's docs/en/Tutorial.md: tempo and key belong into their fields and not into the caption; marks are short.
"""

from __future__ import annotations

from typing import Any

from tonewheel.models.ace_step.request import LANGUAGES, MAX_DURATION_S, MIN_DURATION_S
from tonewheel.songs.plan import Section, SectionRole, SongPlan
from tonewheel.styles.library import styles

# Marks for parts in which nobody sings. Under that of a sung part (a verse) the model would find words.
_WORDLESS: dict[SectionRole, str] = {
    "intro": "Intro", "solo": "Solo", "break": "Breakdown", "build": "Build", "drop": "Drop", "outro": "Outro",
}  # fmt: skip


def from_plan(plan: SongPlan) -> dict[str, Any]:
    """The fields of a request that say what a plan says."""
    fields: dict[str, Any] = {
        "prompt": caption(plan), "lyrics": lyrics_of(plan), "language": _language(plan), "bpm": _bpm(plan),
        "key": _key(plan), "duration": min(MAX_DURATION_S, max(MIN_DURATION_S, plan.duration_s)),
    }  # fmt: skip
    if plan.time_signature in ("2/4", "3/4", "4/4", "6/8"):
        fields["time_signature"] = plan.time_signature
    return {name: value for name, value in fields.items() if value is not None}


def caption(plan: SongPlan) -> str:
    """Such as `melancholic, warm lo-fi hip hop with electric piano, bass and drums, with vocals`."""
    known = styles().get(plan.genre)
    genre = plan.genre if known is None else known.title.lower()  # a style of ours goes by its name, not its id
    style = " ".join(part for part in (", ".join(plan.moods), genre) if part)
    instruments = list(dict.fromkeys(i.instrument for i in plan.instrumentation))
    if instruments:
        style += f" with {_listed(instruments)}"
    return f"{style}, {'instrumental' if plan.is_instrumental else 'with vocals'}"


def lyrics_of(plan: SongPlan) -> str:
    """Every part under its mark, a blank line between; empty for an instrumental."""
    if plan.is_instrumental:
        return ""
    return "\n\n".join("\n".join((f"[{_mark(s)}]", *s.lyrics)) for s in plan.sections)


def _mark(section: Section) -> str:
    if section.lyrics:
        return section.label.replace("[", "(").replace("]", ")")
    return _WORDLESS.get(section.role, "Instrumental")


def _language(plan: SongPlan) -> str:
    code = plan.language.split("-")[0]
    return code if code in LANGUAGES and not plan.is_instrumental else "unknown"


def _bpm(plan: SongPlan) -> int | None:
    """The beat one counts. A plan's beat is the lower figure of its metre: three of those make one in 6/8."""
    upper, lower = plan.meter
    if lower == 8:
        beats = round(plan.tempo / (3 if upper % 3 == 0 else 2))
    else:
        beats = round(plan.tempo)
    return beats if 30 <= beats <= 300 else None


def _key(plan: SongPlan) -> str:
    """Of modes it knows major and minor: the one with the same third."""
    key = plan.parsed_key
    return f"{key.names[key.tonic]} {'minor' if key.is_minor else 'major'}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
