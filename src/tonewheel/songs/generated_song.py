"""jen1's GeneratedSong: the form in which the song planner on port 4001 has always answered.

Its fields are kept exactly (title … seed, and `verse_1`, `verse_2`, `chorus`, `bridge`, `outro` for older
readers). What it lacks of a song plan is added beside them, never in their place, so that a plan goes there
and back unchanged; a foreign song that has only the contract's fields, or only the older keys, is read too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tonewheel.errors import InvalidPlan
from tonewheel.explain import explain
from tonewheel.seeds import MAX_DRAWN
from tonewheel.songs.plan import MAX_SEED, Instrument, Section, SongPlan
from tonewheel.songs.syllables import count_syllables
from tonewheel.styles.instruments import find_instrument

_OLDER = ("verse_1", "verse_2", "chorus", "bridge", "outro")


class _Song(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Verse(_Song):
    """A section as older readers know it."""

    lyrics: tuple[str, ...] = ()
    chords: tuple[str, ...] = ()


class GeneratedSection(_Song):
    """A section; from `energy` on, what the contract lacks."""

    id: str | None = None
    label: str
    start_s: float | None = Field(default=None, ge=0)
    duration_s: float | None = Field(default=None, gt=0)
    lyrics: tuple[str, ...] = ()
    chords: tuple[str, ...] = ()
    energy: float | None = None
    positive_styles: tuple[str, ...] = ()
    negative_styles: tuple[str, ...] = ()


class GeneratedSong(_Song):
    """A song as jen1 tells it; from `duration_s` on, what the contract lacks."""

    title: str
    artist: str = "Tonewheel"
    genre: str = "pop"
    tempo: float
    time_signature: str = "4/4"
    key: str = "C major"
    mood: str = ""
    instrumentation: tuple[str, ...] = ()
    sections: tuple[GeneratedSection, ...] = ()
    lyrics: str = ""
    syllableCount: int | None = None  # noqa: N815  (the contract's names)
    wordCount: int | None = None  # noqa: N815
    model: str | None = None
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    verse_1: Verse | None = None
    verse_2: Verse | None = None
    chorus: Verse | None = None
    bridge: Verse | None = None
    outro: Verse | None = None
    duration_s: float | None = None
    language: str | None = None
    moods: tuple[str, ...] | None = None
    instruments: tuple[Instrument, ...] | None = None
    narrative: str | None = None
    notes: tuple[str, ...] = ()


# ── plan → song ─────────────────────────────────────────────────────────────────────────────────


def to_generated_song(plan: SongPlan) -> dict[str, Any]:
    """The plan as GeneratedSong, in plain JSON types; fields without a value are left out."""
    lines = [line for s in plan.sections for line in s.lyrics]
    song = GeneratedSong(
        title=plan.title,
        artist=plan.artist,
        genre=plan.genre,
        tempo=plan.tempo,
        time_signature=plan.time_signature,
        key=plan.key,
        mood=", ".join(plan.moods),
        instrumentation=tuple(dict.fromkeys(i.instrument for i in plan.instrumentation)),
        sections=_sections(plan),
        lyrics=flat_lyrics(plan),
        syllableCount=sum(count_syllables(line) for line in lines),
        wordCount=sum(len(line.split()) for line in lines),
        model=plan.planner,
        seed=plan.seed,
        duration_s=plan.duration_s,
        language=plan.language,
        moods=plan.moods,
        instruments=plan.instrumentation,
        narrative=plan.narrative,
        notes=plan.notes,
        **_older_keys(plan),
    )
    return song.model_dump(mode="json", exclude_none=True)


def _sections(plan: SongPlan) -> tuple[GeneratedSection, ...]:
    out, start = [], 0.0
    for s in plan.sections:
        out.append(GeneratedSection(start_s=round(start, 6), **s.model_dump()))
        start += s.duration_s
    return tuple(out)


def flat_lyrics(plan: SongPlan) -> str:
    """All lyrics under `[Section]` heads, sections without words as a head alone."""
    return "\n\n".join("\n".join((f"[{s.label}]", *s.lyrics)) for s in plan.sections)


def _older_keys(plan: SongPlan) -> dict[str, Verse]:
    by_role: dict[str, list[Section]] = {}
    for s in plan.sections:
        by_role.setdefault(s.role, []).append(s)
    verses = by_role.get("verse", [])
    picked = dict(zip(("verse_1", "verse_2"), verses, strict=False))
    picked |= {role: by_role[role][0] for role in ("chorus", "bridge", "outro") if role in by_role}
    return {name: Verse(lyrics=s.lyrics, chords=s.chords) for name, s in picked.items()}


# ── song → plan ─────────────────────────────────────────────────────────────────────────────────


def is_generated_song(value: object) -> bool:
    """Whether a mapping is a GeneratedSong rather than a song plan."""
    if not isinstance(value, dict):
        return False
    if any(key in value for key in (*_OLDER, "syllableCount", "wordCount")):
        return True
    sections = value.get("sections")
    first = sections[0] if isinstance(sections, list) and sections else None
    return "mood" in value or (isinstance(first, dict) and "start_s" in first)


def from_generated_song(value: object, where: str = "song") -> SongPlan:
    """A GeneratedSong (a mapping of JSON types) as a plan.

    What it does not say is filled in plainly: lengths from the starts, the chords (a bar each) or the lines
    (two bars each), the seed from its text. Raises InvalidPlan naming the field.
    """
    try:
        song = GeneratedSong.model_validate(value)
        sections = _timed(song, song.sections or _from_older(song))
        if not sections:
            raise InvalidPlan(f"{where}: sections: there are none: give at least one", param="sections")
        return SongPlan(
            title=song.title,
            artist=song.artist,
            language=song.language or "en",
            genre=song.genre,
            moods=song.moods if song.moods is not None else _split(song.mood),
            tempo=song.tempo,
            time_signature=song.time_signature,
            key=song.key,
            instrumentation=song.instruments if song.instruments is not None else _instruments(song.instrumentation),
            duration_s=song.duration_s or round(sum(s.duration_s for s in sections), 6),
            sections=sections,
            seed=_seed_of(song) if song.seed is None else song.seed,
            narrative=song.narrative,
            planner=song.model,
            notes=song.notes,
        )
    except ValidationError as e:
        raise explain(e, InvalidPlan, where, tuple(GeneratedSong.model_fields)) from None


def _from_older(song: GeneratedSong) -> tuple[GeneratedSection, ...]:
    """Sections of a song that has only the older keys, the chorus after each verse."""
    verses = [(label, v) for label, v in (("Verse 1", song.verse_1), ("Verse 2", song.verse_2)) if v]
    order: list[tuple[str, Verse]] = []
    for label, verse in verses:
        order += [(label, verse), *([("Chorus", song.chorus)] if song.chorus else [])]
    if not verses and song.chorus:
        order.append(("Chorus", song.chorus))
    if song.bridge:
        order += [("Bridge", song.bridge), *([("Chorus", song.chorus)] if song.chorus else [])]
    if song.outro:
        order.append(("Outro", song.outro))
    return tuple(GeneratedSection(label=label, lyrics=v.lyrics, chords=v.chords) for label, v in order)


def _timed(song: GeneratedSong, sections: Sequence[GeneratedSection]) -> tuple[Section, ...]:
    lengths = _lengths(song, sections)
    ids = _ids(sections)
    out = []
    for s, length, section_id in zip(sections, lengths, ids, strict=True):
        given = s.model_dump(exclude={"start_s", "duration_s", "id"}, exclude_none=True)
        out.append(Section(id=section_id, duration_s=length, **given))
    return tuple(out)


def _lengths(song: GeneratedSong, sections: Sequence[GeneratedSection]) -> list[float]:
    """Seconds of each section: as given; to the next start; else by chords or lines, scaled to the length."""
    given = [s.duration_s for s in sections]
    for i, s in enumerate(sections[:-1]):
        after = sections[i + 1].start_s
        if given[i] is None and s.start_s is not None and after is not None and after > s.start_s:
            given[i] = after - s.start_s
    if all(length is not None for length in given):
        return [length for length in given if length is not None]
    bar_s = 60.0 * _beats(song.time_signature) / max(song.tempo, 1.0)
    guess = [(len(s.chords) or 2 * len(s.lyrics) or 4) * bar_s for s in sections]
    known = sum(length for length in given if length is not None)
    open_s = sum(g for g, length in zip(guess, given, strict=True) if length is None)
    scale = (song.duration_s - known) / open_s if song.duration_s and song.duration_s > known else 1.0
    return [g * scale if length is None else length for g, length in zip(guess, given, strict=True)]


def _beats(time_signature: str) -> int:
    m = re.match(r"^(\d{1,2})/", time_signature)
    return int(m[1]) if m and int(m[1]) else 4


def _ids(sections: Sequence[GeneratedSection]) -> list[str]:
    from tonewheel.songs.planner import section_ids  # noqa: PLC0415  (the planner needs the whole house)

    minted = section_ids([s.label for s in sections])
    taken = {s.id for s in sections if s.id}
    out: list[str] = []
    for s, name in zip(sections, minted, strict=True):
        fresh = name
        while not s.id and fresh in taken:
            fresh += "-b"
        out.append(s.id or fresh)
        taken.add(out[-1])
    return out


def _split(mood: str) -> tuple[str, ...]:
    return tuple(m.strip() for m in mood.split(",") if m.strip())


_FAMILY_ROLES = {"drums": "drums", "bass": "bass", "lead": "lead", "pad": "pad", "strings": "pad", "effects": "effects"}


def _instruments(names: Sequence[str]) -> tuple[Instrument, ...]:
    """Names as instruments, each with the role its family usually plays."""
    out = []
    for name in names:
        info = find_instrument(name)
        family = info.family if info else "drums" if "drum" in name.casefold() else ""
        role = _FAMILY_ROLES.get(family, "bass" if "bass" in name.casefold() else "chords")
        out.append(Instrument.model_validate({"instrument": name, "role": role}))
    return tuple(out)


def _seed_of(song: GeneratedSong) -> int:
    """The same text, the same seed: a file without one still renders the same each time."""
    text = json.dumps(song.model_dump(mode="json"), sort_keys=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") & MAX_DRAWN
