"""What every shipped style promises: enough to play with, in key, in range, growing, and its own."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tonewheel.composer.arrange import arrange
from tonewheel.composer.score import Score
from tonewheel.songs.plan import Section, SongPlan
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.library import styles
from tonewheel.styles.schema import LEVELS, Comp, Groove, Style
from tonewheel.theory import Key, bar_chords, parse_key, roman_chord

SHIPPED = (
    "ambient", "bossa-nova", "cinematic", "drum-and-bass", "folk", "funk", "house", "jazz-ballad", "lofi-hip-hop",
    "reggae", "rock", "soul-organ", "synth-pop", "trap", "waltz",
)  # fmt: skip
MOODS = {
    "happy", "sad", "angry", "peaceful", "exciting", "scary", "tense", "melancholic", "upbeat", "calm", "romantic",
    "triumphant", "hopeful", "nostalgic",
}  # fmt: skip
KINDS = ("intro", "verse", "pre-chorus", "chorus", "bridge", "instrumental", "outro")


@pytest.fixture(params=SHIPPED)
def style(request: pytest.FixtureRequest) -> Style:
    return styles()[request.param]


def parts(style: Style) -> dict[str, object]:
    named = {"bass": style.bass, "melody": style.melody} | {c.id: c for c in style.comps}
    return named | ({"drums": style.drums} if style.drums else {})


def playing(style: Style, kind: str) -> set[str]:
    energy = style.energy[kind]  # type: ignore[index]
    return {
        name
        for name, part in parts(style).items()
        if part.enter <= energy <= part.leave and (not part.sections or kind in part.sections)  # type: ignore[attr-defined]
    }


def hits(groove: Groove, steps: int) -> float:
    """Strength of a groove a bar."""
    return sum(sum(int(c) for c in row if c != ".") / (len(row) / steps) for row in groove.values())


def onsets(row: str, steps: int) -> float:
    return sum(c not in ".-" for c in row) / (len(row) / steps)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_promised_styles_are_there() -> None:
    assert set(SHIPPED) <= set(styles())


# ── enough to play with ─────────────────────────────────────────────────────────────────────────


def test_there_are_variants_enough_and_no_two_alike(style: Style) -> None:
    assert style.drums
    assert 3 <= len(style.comps) <= 5
    assert len(style.drums.fills) >= 4
    for level in LEVELS:
        groups = [style.drums.levels[level], style.bass.levels[level], *(c.levels[level] for c in style.comps)]
        for group, least in zip(groups, (4, 4, *(3 for _ in style.comps)), strict=True):
            assert len(group) >= least
            assert len({json.dumps(v, sort_keys=True) for v in group}) == len(group)


def test_grooves_are_one_and_two_bars_long(style: Style) -> None:
    assert style.drums
    lengths = {len(row) // style.steps_per_bar for g in style.drums.levels.values() for v in g for row in v.values()}
    assert {1, 2} <= lengths


def test_the_main_mode_has_four_verses_and_choruses_the_others_two(style: Style) -> None:
    main = max(style.modes.values())
    assert sum(style.modes.values()) == pytest.approx(1)
    for mode, weight in style.modes.items():
        least = 4 if weight == main else 2
        assert len(style.progressions[mode]["verse"]) >= least
        assert len(style.progressions[mode]["chorus"]) >= least
        assert style.progressions[mode]["cadence"]
    assert any("bridge" in style.progressions[m] for m in style.modes)


def test_progressions_are_phrases_of_four_or_eight_bars(style: Style) -> None:
    for by_kind in style.progressions.values():
        for kind, alternatives in by_kind.items():
            assert len(set(alternatives)) == len(alternatives)
            for bars in alternatives:
                assert len(bars) in ((1, 2) if kind == "cadence" else (4, 8))


def test_every_section_has_an_energy(style: Style) -> None:
    assert set(style.energy) == set(KINDS)
    assert style.energy["intro"] < style.energy["verse"] < style.energy["chorus"]
    assert all(style.energy["chorus"] >= e for e in style.energy.values())


# ── in key, in range ────────────────────────────────────────────────────────────────────────────


def diatonic_share(bars: tuple[str, ...], key: Key) -> float:
    inside = total = 0.0
    for bar in bars:
        for numeral in (numerals := bar_chords(bar)):
            tones = roman_chord(numeral, key).pitch_classes
            weight = 1 / len(numerals) / len(tones)
            total += weight * len(tones)
            inside += weight * sum(pc in key.scale for pc in tones)
    return inside / total


def test_progressions_stay_in_their_key(style: Style) -> None:
    for mode, by_kind in style.progressions.items():
        for kind, alternatives in by_kind.items():
            for bars in alternatives:
                assert diatonic_share(bars, Key(0, mode)) >= 0.9, (mode, kind, bars)


def test_cadences_come_home(style: Style) -> None:
    for mode, by_kind in style.progressions.items():
        for bars in by_kind["cadence"]:
            assert roman_chord(bar_chords(bars[-1])[-1], Key(0, mode)).root == 0


def test_registers_lie_where_the_instruments_sound_well(style: Style) -> None:
    named = [("bass", style.bass.instrument, style.bass.low, style.bass.high)]
    named += [(c.id, c.instrument, c.low, c.high) for c in style.comps]
    tune = style.melody
    named += [("melody", i, tune.low, tune.high) for i in (tune.instrument, tune.chorus_instrument) if i]
    for name, instrument, low, high in named:
        info = INSTRUMENTS[instrument]
        assert info.low <= low < high <= info.high, (name, instrument)


def top_digit_note(comp: Comp, row: str) -> int:
    """The highest note a row of digits can ask for, when the voicing lies as high as it may."""
    digits = [int(c) for c in row if c.isdigit()]
    return max((comp.high + 12 * ((d - 1) // comp.voices) for d in digits), default=comp.high)


def test_arpeggios_that_go_on_an_octave_up_stay_in_range(style: Style) -> None:
    for comp in style.comps:
        limit = INSTRUMENTS[comp.instrument].high
        for row in (row for group in comp.levels.values() for row in group):
            # A digit past the voicing is its lowest notes an octave up, a sixth or more below the top.
            assert top_digit_note(comp, row) - (9 if top_digit_note(comp, row) > comp.high else 0) <= limit, comp.id


def test_the_low_end_belongs_to_the_bass(style: Style) -> None:
    assert style.bass.low >= 24
    assert style.bass.high <= 48
    assert style.bass.high - style.bass.low >= 12  # every root has a place
    for comp in style.comps:
        assert comp.low >= 43, comp.id
        assert comp.mix.highpass >= 100, comp.id


def test_voicings_have_room_for_their_voices(style: Style) -> None:
    for comp in style.comps:
        assert comp.high - comp.low >= 12 + 1, comp.id


def test_the_tune_leads(style: Style) -> None:
    tune = style.melody
    assert tune.mix.loudness >= -2
    assert all(tune.mix.loudness - c.mix.loudness >= 2.5 for c in style.comps)
    assert tune.high - tune.low >= 16
    assert not tune.sections
    assert tune.enter == 0
    middle = (tune.low + tune.high) / 2
    chords = [c for c in style.comps if c.role == "chords"]
    assert all((c.low + c.high) / 2 < middle - 3 for c in chords)


# ── patterns ────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_always_holds_something(style: Style) -> None:
    rows = [*(r for g in style.bass.levels.values() for r in g)]
    rows += [r for c in style.comps for g in c.levels.values() for r in g]
    for row in rows:
        assert ".-" not in row, row
        assert not row.startswith("-"), row


def test_bass_patterns_say_the_root_and_never_run_over_it(style: Style) -> None:
    for group in style.bass.levels.values():
        for row in group:
            assert re.search("[Rr]", row), row


def test_more_energy_plays_more(style: Style) -> None:
    steps = style.steps_per_bar
    assert style.drums
    drums = [mean([hits(g, steps) for g in style.drums.levels[level]]) for level in LEVELS]
    bass = [mean([onsets(r, steps) for r in style.bass.levels[level]]) for level in LEVELS]
    assert drums[0] * 1.2 < drums[1]
    assert drums[1] * 1.1 < drums[2]
    assert bass[0] < bass[1] < bass[2]
    for comp in style.comps:
        low, mid, high = (mean([onsets(r, steps) for r in comp.levels[level]]) for level in LEVELS)
        assert low <= mid <= high or comp.role == "pad", comp.id
        assert low < high or comp.role == "pad", comp.id


def test_parts_join_from_intro_to_verse_to_chorus(style: Style) -> None:
    intro, verse, chorus = (playing(style, k) for k in ("intro", "verse", "chorus"))
    assert 3 <= len(intro) < len(verse) < len(chorus)
    assert {"melody", "bass", "drums"} <= verse & chorus
    assert len(chorus) >= 6
    assert all(any(c.id in playing(style, k) for k in KINDS) for c in style.comps)


def test_an_intro_is_not_far_under_the_body(style: Style) -> None:
    steady = [c.id for c in style.comps if c.role in ("chords", "pad", "arpeggio")]
    assert playing(style, "intro") & set(steady)


def test_fills_are_not_grooves(style: Style) -> None:
    assert style.drums
    grooves = {json.dumps(g, sort_keys=True) for group in style.drums.levels.values() for g in group}
    assert all(json.dumps(f, sort_keys=True) not in grooves for f in style.drums.fills)


# ── its words ───────────────────────────────────────────────────────────────────────────────────


def test_words_are_as_a_reader_of_narratives_expects(style: Style) -> None:
    assert set(style.moods) <= MOODS
    assert len(style.keywords) >= 10
    assert all(k == k.casefold().strip() for k in (*style.keywords, *style.aliases))
    assert style.description.endswith(".")


def test_every_mood_has_several_styles() -> None:
    count = Counter(m for s in styles().values() for m in s.moods)
    assert all(count[m] >= 3 for m in MOODS), count


# ── as it is played ─────────────────────────────────────────────────────────────────────────────


def _score(style: Style, seed: int) -> Score:
    """Four bars of intro, eight of verse and chorus, without words."""
    bar = style.beats_per_bar * 60 / style.tempo.default
    sections = [(kind, bars * bar) for kind, bars in (("intro", 4), ("verse", 8), ("chorus", 8), ("outro", 2))]
    mode = max(style.modes, key=lambda m: style.modes[m])
    plan = SongPlan(
        title="A test", genre=style.id, tempo=style.tempo.default, time_signature=style.time_signature,
        key=str(Key(seed % 12, mode)), duration_s=sum(s for _, s in sections), seed=seed,
        sections=tuple(
            Section(id=k, label=k.capitalize(), duration_s=s, energy=style.energy[k]) for k, s in sections  # type: ignore[index]
        ),
    )  # fmt: skip
    return arrange(plan, style)


@pytest.mark.parametrize("seed", [1, 5])
def test_what_is_played_is_in_key_and_in_range(style: Style, seed: int) -> None:
    score = _score(style, seed)
    scale = parse_key(score.key).scale
    inside = total = 0.0
    for part in score.parts:
        if part.role in ("drums", "effects"):
            continue
        info = INSTRUMENTS[part.instrument]
        assert all(info.low <= n.pitch <= info.high for n in part.notes), part.id
        total += sum(n.duration for n in part.notes)
        inside += sum(n.duration for n in part.notes if n.pitch % 12 in scale)
    assert inside / total >= 0.95


@pytest.mark.parametrize("seed", [1, 5])
def test_what_is_played_grows_from_intro_to_verse_to_chorus(style: Style, seed: int) -> None:
    score = _score(style, seed)

    def notes(label: str) -> tuple[int, float]:
        s = next(s for s in score.sections if s.id == label)
        # Upbeats and risers into the next section belong to that one.
        stop = s.start + s.quarters - 1
        here = {p.id: sum(s.start <= n.start < stop for n in p.notes) for p in score.parts if p.role != "effects"}
        players = {"tune" if name.startswith("melody") else name for name, count in here.items() if count}
        return len(players), sum(here.values()) / s.quarters

    parts, density = zip(*(notes(k) for k in ("intro", "verse", "chorus")), strict=True)
    assert parts[0] < parts[1] < parts[2]
    assert density[0] < density[1] < density[2]
