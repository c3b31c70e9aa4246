"""The template planner: a request becomes a song plan.

No network, no model; the same request and seed give the same plan.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tonewheel.errors import InvalidRequest
from tonewheel.seeds import derive, draw, stream
from tonewheel.songs.forms import Form, FormSection, bar_counts, energies, solve_form, tempo_note
from tonewheel.songs.harmony import Harmony
from tonewheel.songs.imagery import english_content, rank_styles, read_moods, read_themes
from tonewheel.songs.language import detect_language, is_english, language_name
from tonewheel.songs.narrative import Reading, read_narrative
from tonewheel.songs.own_lyrics import LyricSection, form_for_lyrics, parse_lyrics
from tonewheel.songs.plan import Instrument, Section, SongPlan
from tonewheel.songs.request import PlanRequest
from tonewheel.songs.text import clip, sentences
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.library import get_style, styles
from tonewheel.styles.schema import Style
from tonewheel.theory import MODES, Key, parse_key

_SUNG = frozenset({"verse", "pre-chorus", "chorus", "bridge", "build"})
_LEAST_LINE_S = 2.4
_MOST_LINE_S = 7.5
_MAX_LINES = 8

_MINOR_MOODS = frozenset({"sad", "angry", "scary", "tense", "melancholic"})
_MAJOR_MOODS = frozenset({"happy", "peaceful", "upbeat", "romantic", "hopeful"})
_QUICK_MOODS = frozenset({"angry", "exciting", "upbeat", "happy", "triumphant"})
_SLOW_MOODS = frozenset({"sad", "peaceful", "melancholic", "calm", "romantic", "nostalgic", "scary"})


@dataclass(frozen=True, slots=True)
class _Brief:
    """What the planner decided before any bar is counted."""

    request: PlanRequest
    reading: Reading
    seed: int
    root: int  # seed of this song's streams: two stories with one seed are two songs
    style: Style
    moods: tuple[str, ...]
    language: str
    notes: tuple[str, ...] = ()


def make_plan(request: PlanRequest) -> SongPlan:
    """A plan whose sections fill `request.duration_s` exactly.

    Deterministic by the request and its seed; without a seed one is drawn and told in the plan. Raises
    InvalidRequest (one line) when lyrics do not fit, a label or style is unknown, or no bars fit a tempo.
    """
    brief = _brief(request)
    if request.lyrics is not None:
        return _with_own_lyrics(brief, parse_lyrics(request.lyrics))
    return _with_written_lyrics(brief)


# ── reading ─────────────────────────────────────────────────────────────────────────────────────


def _brief(request: PlanRequest) -> _Brief:
    seed = draw() if request.seed is None else request.seed
    sung = _sung_text(request.lyrics) if request.lyrics else ""
    text = request.narrative or sung
    root = derive(seed, "plan", text, sung)
    chosen = get_style(request.style) if request.style else None
    library: Mapping[str, Style] = {chosen.id: chosen} if chosen else styles()
    reading = read_narrative(text, library) if request.narrative else Reading(text)
    language = request.language or detect_language(sung or reading.subject, english_content())
    reading = _imagery(reading, sung, language)
    moods = request.moods or reading.moods
    style = chosen or _choose_style(reading, moods, library, stream(root, "style"))
    moods = moods or (style.moods[0],)
    notes: tuple[str, ...] = ()
    if not chosen and reading.nearest_to:
        notes = (f"There is no style called {reading.nearest_to!r} here; {style.title} is the nearest.",)
    return _Brief(request, reading, seed, root, style, moods, language, notes)


def _imagery(reading: Reading, sung: str, language: str) -> Reading:
    """The reading with what own lyrics tell; of other languages than English only the signs can be read."""
    if not is_english(language):  # "die" is no death in German
        signs = "".join(c for c in f"{reading.subject} {sung}" if not c.isalpha())
        return replace(reading, moods=read_moods(signs), themes=read_themes(signs))
    if sung:
        told = f"{reading.subject}\n{sung}"
        moods = tuple(dict.fromkeys((*reading.moods, *read_moods(told))))[:3]
        return replace(reading, moods=moods, themes=read_themes(told))
    return reading


def _sung_text(lyrics: str) -> str:
    return re.sub(r"(?m)^\[[^\]\n]*\]$", "", lyrics).strip() or lyrics


def _choose_style(reading: Reading, moods: Sequence[str], library: Mapping[str, Style], rng: random.Random) -> Style:
    if reading.style:
        return library[reading.style]
    if not library:
        raise InvalidRequest("there are no styles: add style files to TONEWHEEL_STYLES_DIR", param="style")
    ranked = rank_styles(reading.subject, moods, library)
    best = ranked[0][0]
    near = [style_id for score, style_id in ranked if score >= best - max(0.35, 0.15 * best)]
    return library[rng.choice(near)]


# ── tempo and key ───────────────────────────────────────────────────────────────────────────────


def _wanted_tempo(brief: _Brief) -> float:
    tempo = brief.style.tempo
    lean = {True: 0.25, False: 0.0}[brief.moods[0] in _QUICK_MOODS] - 0.2 * (brief.moods[0] in _SLOW_MOODS)
    lean += 0.5 * brief.reading.pace + stream(brief.root, "tempo").uniform(-0.25, 0.25)
    side = tempo.max - tempo.default if lean > 0 else tempo.default - tempo.min
    return tempo.default + min(max(lean, -0.9), 0.9) * side


def _asked_tempo(brief: _Brief) -> tuple[float | None, tuple[str, ...]]:
    """The tempo insisted on. One read from the narrative that cannot be had is dropped, and said so."""
    if brief.request.tempo is not None:
        return brief.request.tempo, ()
    tempo = brief.reading.tempo
    if tempo is None:
        return None, ()
    try:
        bar_counts(brief.style, brief.request.duration_s, tempo)
    except InvalidRequest as e:
        return None, (f"The tempo of the narrative is not kept: {e}.",)
    return tempo, ()


def _choose_key(brief: _Brief) -> Key:
    asked = brief.request.key or brief.reading.key
    if asked:
        return parse_key(asked)
    rng = stream(brief.root, "key")
    modes = sorted(brief.style.modes)
    weights = [max(brief.style.modes[mode], 0.0) * _mode_fit(mode, brief.moods) for mode in modes]
    mode = rng.choices(modes, weights)[0] if sum(weights) > 0 else modes[0]
    return Key(rng.randrange(12), mode)


def _mode_fit(mode: str, moods: Sequence[str]) -> float:
    minor = MODES[mode][2] == 3
    fit = 1.0
    for rank, mood in enumerate(moods[:2]):
        strength = (4.0, 1.5)[rank]
        if mood in _MINOR_MOODS:
            fit *= strength if minor else 1 / strength
        elif mood in _MAJOR_MOODS:
            fit *= 1 / strength if minor else strength
    return fit


# ── sections ────────────────────────────────────────────────────────────────────────────────────

_LABELS = {"pre-chorus": "Pre-Chorus"}
_NUMBERED = frozenset({"verse"})


def _labels(sections: Sequence[FormSection]) -> list[str]:
    out = []
    roles = [s.role for s in sections]
    for i, role in enumerate(roles):
        label = _LABELS.get(role, role.capitalize())
        out.append(f"{label} {roles[: i + 1].count(role)}" if role in _NUMBERED else label)
    return out


def section_ids(labels: Sequence[str]) -> list[str]:
    """An id for each label, unique in the song: `verse-1`, `chorus-1`, `chorus-2`."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", label.casefold()).strip("-")[:40] or "section" for label in labels]
    out: list[str] = []
    for i, slug in enumerate(slugs):
        name = slug if slugs.count(slug) == 1 else f"{slug}-{slugs[: i + 1].count(slug)}"
        while name in out or (name != slug and name in slugs):
            name += "-b"
        out.append(name)
    return out


def lines_in(bars: int, bar_s: float, bars_per_line: int) -> int:
    """How many lines a section of `bars` bars sings: four in a verse even at slow tempi, never breathless."""
    lines = max(bars // bars_per_line, 1)
    seconds = bars * bar_s
    if lines < 4 <= bars and seconds / 4 >= _LEAST_LINE_S:
        lines = 4
    while lines * 2 <= bars and seconds / lines > _MOST_LINE_S:
        lines *= 2
    while lines > 1 and seconds / lines < 0.75 * _LEAST_LINE_S:
        lines //= 2
    while lines > _MAX_LINES:
        lines //= 2
    return lines


def _durations(form: Form, duration_s: float) -> list[float]:
    """Section lengths, in microseconds' precision, that add up to `duration_s`."""
    ends, bars = [0.0], 0
    for section in form.sections:
        bars += section.bars
        ends.append(round(duration_s * bars / form.bars, 6))
    ends[-1] = duration_s
    return [round(b - a, 9) for a, b in pairwise(ends)]


@dataclass(frozen=True, slots=True)
class _Words:
    """Names and lines of the form's sections, and the title."""

    title: str
    labels: tuple[str, ...]
    ids: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def _with_written_lyrics(brief: _Brief) -> SongPlan:
    asked, notes = _asked_tempo(brief)
    rng = stream(brief.root, "form")
    form = solve_form(brief.style, brief.request.duration_s, _wanted_tempo(brief), rng, asked=asked)
    words = _write(brief, form) if is_english(brief.language) else _silent_words(brief, form)
    return _assemble(brief, form, words, (*notes, *form.notes, *tempo_note(asked, form.tempo, brief.style)))


def _write(brief: _Brief, form: Form) -> _Words:
    from tonewheel.songs.lyrics import write_lyrics  # noqa: PLC0415  (couplets load when needed)

    labels = _labels(form.sections)
    ids = section_ids(labels)
    per_line = brief.style.lyric_bars or brief.style.melody.bars_per_line
    bar_s = brief.request.duration_s / form.bars
    slots = [
        (section_id, "pre-chorus" if section.role == "build" else section.role, lines_in(section.bars, bar_s, per_line))
        for section_id, section in zip(ids, form.sections, strict=True)
        if section.role in _SUNG
    ]
    reading, title = brief.reading, brief.request.title
    silent = brief.request.instrumental or reading.instrumental
    seed = derive(brief.root, "lyrics")
    written = write_lyrics(reading.subject, [] if silent else slots, brief.moods, reading.themes, seed, title=title)
    lines = tuple(tuple(written.lines.get(i, ())) for i in ids)
    return _Words(title or written.title, tuple(labels), tuple(ids), lines)


def _silent_words(brief: _Brief, form: Form) -> _Words:
    """A narrative no lyrics can be written for: an instrumental, said openly."""
    labels = _labels(form.sections)
    title = brief.request.title or _foreign_title(brief.reading.subject)
    note = (
        f"The narrative is in {language_name(brief.language)}; lyrics are written in English only, so the song is "
        "instrumental and the narrative is kept in the plan. Give your own lyrics to have words."
    )
    notes = () if brief.request.instrumental or brief.reading.instrumental else (note,)
    return _Words(title, tuple(labels), tuple(section_ids(labels)), tuple(() for _ in labels), notes)


def _with_own_lyrics(brief: _Brief, own: Sequence[LyricSection]) -> SongPlan:
    request, style = brief.request, brief.style
    asked, notes = _asked_tempo(brief)
    built = form_for_lyrics(own, style, request.duration_s, _wanted_tempo(brief), asked)
    added = _labels(built.form.sections)
    labels = [c.label if c else label for c, label in zip(built.carries, added, strict=True)]
    if not is_english(brief.language):
        notes += (
            f"The lyrics are in {language_name(brief.language)} and are kept word for word; the built-in composer "
            "knows English syllables only and plays their melody instrumental.",
        )
    words = _Words(
        request.title or _title_of_lyrics(own),
        tuple(labels),
        tuple(section_ids(labels)),
        tuple(c.lines if c else () for c in built.carries),
    )
    return _assemble(brief, built.form, words, (*notes, *built.form.notes, *tempo_note(asked, built.form.tempo, style)))


def _assemble(brief: _Brief, form: Form, words: _Words, notes: tuple[str, ...]) -> SongPlan:
    request, style = brief.request, brief.style
    key = _choose_key(brief)
    columns = zip(
        words.ids,
        words.labels,
        _durations(form, request.duration_s),
        energies([s.role for s in form.sections], style),
        words.lines,
        Harmony(style, key, brief.root).of_song(form.sections),
        strict=True,
    )
    return SongPlan(
        title=words.title,
        artist=request.artist or "Tonewheel",
        language=brief.language,
        genre=style.id,
        moods=brief.moods,
        tempo=form.tempo,
        time_signature=style.time_signature,
        key=str(key),
        instrumentation=_instrumentation(style),
        duration_s=request.duration_s,
        sections=tuple(
            Section(id=i, label=label, duration_s=length, energy=energy, lyrics=sung, chords=bars)
            for i, label, length, energy, sung, bars in columns
        ),
        seed=brief.seed,
        narrative=request.narrative,
        planner="template",
        notes=(*brief.notes, *words.notes, *notes),
    )


def _instrumentation(style: Style) -> tuple[Instrument, ...]:
    rows = [("drums", style.drums.kit)] if style.drums else []
    rows += [("bass", style.bass.instrument), *((c.role, c.instrument) for c in style.comps)]
    rows.append(("melody", style.melody.instrument))
    if style.melody.chorus_instrument:
        rows.append(("lead", style.melody.chorus_instrument))
    unique = dict.fromkeys(rows)
    return tuple(
        Instrument.model_validate({"instrument": INSTRUMENTS[name].title, "role": role}) for role, name in unique
    )


# ── titles ──────────────────────────────────────────────────────────────────────────────────────


def _foreign_title(text: str) -> str:
    """The first clause of a text in any script, short enough for a title."""
    first = re.split(r"[.!?…,;:。！？、，；：।؟،\n]", sentences(text)[0])[0].strip() or text
    return clip(first, 40) if " " in first else first[:16]


def _title_of_lyrics(own: Sequence[LyricSection]) -> str:
    chorus = next((s for s in own if s.role == "chorus" and s.lines), None)
    first = (chorus or next(s for s in own if s.lines)).lines[0]
    return clip(first.strip(" ,.;:!?-–—\"'“”‘’") or first, 60)
