"""What every score promises, whatever the style, the length and the seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from itertools import pairwise

import pytest
from arranged import ALL_STYLES, CHORUS, VERSE, in_key_share, notes_of, pitched, plan_for, score_for, style, within

from tonewheel.composer.arrange import arrange, style_for
from tonewheel.composer.genre import _KIN
from tonewheel.composer.score import Score
from tonewheel.errors import InvalidPlan
from tonewheel.songs.plan import Instrument, Section, SongPlan
from tonewheel.styles.instruments import DRUM_VOICES, INSTRUMENTS
from tonewheel.theory import parse_key

CASES = [(name, duration, seed) for name in ALL_STYLES for duration, seed in ((15, 1), (45, 2), (120, 3))]


@cache
def scores_of(name: str, duration_s: float, seed: int) -> list[Score]:
    key = f"{['A', 'Eb', 'F#'][seed % 3]} {list(style(name).modes)[seed % len(style(name).modes)]}"
    return [arrange(plan_for(name, duration_s=duration_s, seed=seed, sung=sung, key=key)) for sung in (True, False)]


@pytest.mark.parametrize(("name", "duration_s", "seed"), CASES)
def test_every_note_lies_in_the_song_and_in_its_instruments_range(name: str, duration_s: float, seed: int) -> None:
    for score in scores_of(name, duration_s, seed):
        end = score.duration_s / score.quarter_s
        assert score.duration_s == duration_s
        for part in score.parts:
            info = INSTRUMENTS[part.instrument]
            keys = set(DRUM_VOICES.values()) if part.role == "drums" else range(info.low, info.high + 1)
            assert list(part.notes) == sorted(part.notes)
            for n in part.notes:
                assert n.start >= 0 and n.duration > 0 and n.end <= end + 1e-6
                assert 1 <= n.velocity <= 127
                assert n.pitch in keys, (part.id, n)


@pytest.mark.parametrize(("name", "duration_s", "seed"), CASES)
def test_tune_and_bass_have_one_voice_and_no_pitch_sounds_twice(name: str, duration_s: float, seed: int) -> None:
    for score in scores_of(name, duration_s, seed):
        for part in score.parts:
            if part.role == "effects":
                continue
            groups = [part.notes] if part.role in ("melody", "bass") else _by_pitch(part.notes)
            for group in groups:
                assert all(a.end <= b.start + 1e-6 for a, b in pairwise(group)), part.id


def _by_pitch(notes):  # type: ignore[no-untyped-def]
    return [[n for n in notes if n.pitch == pitch] for pitch in {n.pitch for n in notes}]


@pytest.mark.parametrize(("name", "duration_s", "seed"), CASES)
def test_the_planned_key_is_heard(name: str, duration_s: float, seed: int) -> None:
    for score in scores_of(name, duration_s, seed):
        assert in_key_share(score, pitched(score)) >= 0.9


@pytest.mark.parametrize("name", ALL_STYLES)
def test_sections_are_whole_bars_in_the_plans_order(name: str) -> None:
    plan, score = plan_for(name, duration_s=90), score_for(name, duration_s=90)
    assert [s.id for s in score.sections] == [s.id for s in plan.sections]
    assert score.sections[0].start == 0
    for a, b in pairwise(score.sections):
        assert a.start + a.quarters == b.start
        assert a.quarters % score.quarters_per_bar == 0
    for s, planned in zip(score.sections, plan.sections, strict=True):
        assert s.quarters == pytest.approx(planned.duration_s / score.quarter_s, abs=0.01)


@pytest.mark.parametrize("name", ALL_STYLES)
def test_the_last_bar_rings_out(name: str) -> None:
    """Something is struck on the last downbeat, and nothing after it."""
    score = score_for(name)
    last_bar = score.duration_s / score.quarter_s - score.quarters_per_bar
    starts = [n.start for p in score.parts for n in p.notes if n.start > last_bar - 0.2]
    assert starts
    assert max(starts) < last_bar + 0.75
    assert score.chords[-1].start + score.chords[-1].duration >= last_bar + score.quarters_per_bar - 0.01
    # Without chords in the plan the song ends at home.
    assert in_key_share(score, [n for n in pitched(score) if n.start > last_bar - 0.2]) == 1
    assert score.chords[-1].symbol.startswith(parse_key(score.key).names[parse_key(score.key).tonic])


@pytest.mark.parametrize("name", ALL_STYLES)
def test_the_chorus_is_denser_louder_and_brighter_than_the_verse(name: str) -> None:
    score = score_for(name, duration_s=120, seed=4)
    notes = [n for p in score.parts for n in p.notes if p.role != "effects"]
    per_quarter = {}
    for role in ("verse", "chorus"):
        length = sum(s.quarters for s in score.sections if s.role == role)
        per_quarter[role] = sum(n.velocity for n in within(score, notes, role)) / length
    assert per_quarter["chorus"] > per_quarter["verse"]
    middle = {s.role: s.start + s.quarters / 2 for s in score.sections}
    part = score.parts[0]
    assert _at(part.brightness, middle["chorus"]) > _at(part.brightness, middle["verse"])


def _at(points: tuple[tuple[float, float], ...], quarter: float) -> float:
    return [v for q, v in points if q <= quarter][-1]


@pytest.mark.parametrize("name", ALL_STYLES)
def test_curves_rise_in_time_and_stay_in_range(name: str) -> None:
    score = score_for(name, duration_s=120)
    for part in score.parts:
        for points, low, high in ((part.brightness, 0, 1), (part.level, -3, 3)):
            assert all(a[0] < b[0] for a, b in pairwise(points))
            assert all(low <= value <= high for _, value in points)


def test_a_long_chorus_is_not_the_same_loop_twice() -> None:
    for name in ALL_STYLES:
        score = score_for(name, duration_s=120, seed=4)
        section = next(
            (s for s in score.sections if s.role == "chorus" and s.quarters == 8 * score.quarters_per_bar), None
        )
        if section is None:
            continue
        half = section.quarters / 2
        rest = [p for p in score.parts if p.role not in ("melody", "effects")]
        halves = [
            {
                (p.id, round((n.start - start) * 4), n.pitch)
                for p in rest
                for n in p.notes
                if start <= n.start + 0.1 < start + half
            }
            for start in (section.start, section.start + half)
        ]
        assert halves[0] != halves[1], name


def test_another_seed_is_another_score_and_the_same_is_the_same() -> None:
    for name in ALL_STYLES:
        one, again, other = (arrange(plan_for(name, seed=s)) for s in (5, 5, 6))
        assert one == again
        assert [p.notes for p in one.parts] != [p.notes for p in other.parts]
        assert notes_of(one, "melody") != notes_of(other, "melody")


def test_another_process_with_another_hash_seed_writes_the_same_midi() -> None:
    program = (
        "import sys, json, hashlib; from tonewheel.composer.arrange import arrange; "
        "from tonewheel.composer.midi import to_midi; from tonewheel.songs.plan import SongPlan; "
        "plans = json.load(sys.stdin); "
        "print([hashlib.sha256(to_midi(arrange(SongPlan.model_validate(p)))).hexdigest() for p in plans])"
    )
    plans = [plan_for(name, duration_s=30, seed=11).to_dict() for name in ALL_STYLES[::3]]
    answers = {
        subprocess.run(
            [sys.executable, "-c", program], input=json.dumps(plans), env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "4242")
    }  # fmt: skip
    assert len(answers) == 1


# ── the user's edits ────────────────────────────────────────────────────────────────────────────────


def test_planned_chords_are_played_bar_by_bar() -> None:
    plan = plan_for("folk", duration_s=60, key="C major")
    chords = ("C", "Am|F", "G7", "C/E")
    edited = plan.model_copy(update={"sections": tuple(s.model_copy(update={"chords": chords}) for s in plan.sections)})
    score = arrange(edited)
    first = [c.symbol for c in score.chords[:5]]
    assert first == ["C", "Am", "F", "G7", "C/E"]
    assert [c.duration for c in score.chords[:5]] == [4, 2, 2, 4, 4]
    low = [n for n in notes_of(score, "bass") if n.start < 64]
    assert low and {n.pitch % 12 for n in low} <= set(parse_key("C major").scale)


def test_a_removed_role_is_silent_and_a_named_instrument_plays() -> None:
    of = style("synth-pop")
    instruments = (
        Instrument(instrument="electric bass", role="bass"),
        Instrument(instrument="harp", role="chords"),
        Instrument(instrument="flute", role="lead"),
        Instrument(instrument="a singing saw", role="pad"),
    )
    score = arrange(plan_for("synth-pop", instrumentation=instruments))
    by_role = {p.role: p.instrument for p in score.parts if p.id not in ("melody_double", "melody_chorus", "riser")}
    assert "drums" not in by_role
    assert by_role["bass"] == "electric_bass"
    assert by_role["chords"] == "harp"
    assert by_role["melody"] == "flute"
    assert by_role["pad"] == next(c.instrument for c in of.comps if c.role == "pad")


def test_a_role_the_style_lacks_gets_a_part() -> None:
    lacking = next(n for n in ALL_STYLES if style(n).drums is None or not any(c.role == "pad" for c in style(n).comps))
    instruments = (
        Instrument(instrument="brushes", role="drums"), Instrument(instrument="choir", role="pad"),
        Instrument(instrument="harp", role="arpeggio"),
    )  # fmt: skip
    score = arrange(plan_for(lacking, instrumentation=instruments, duration_s=90))
    assert {p.role for p in score.parts} >= {"drums", "pad", "arpeggio"}


def test_without_instrumentation_the_styles_own_band_plays() -> None:
    for name in ALL_STYLES:
        own = {style(name).bass.instrument, style(name).melody.instrument, *(c.instrument for c in style(name).comps)}
        played = {p.instrument for p in score_for(name, duration_s=180).parts}
        assert len(own & played) >= min(3, len(own)), name


@pytest.mark.parametrize(
    ("positive", "negative", "silent"),
    [(("no drums",), (), "drums"), ((), ("drums",), "drums"), (("without bass",), (), "bass"), ((), ("pads",), "pad")],
)
def test_words_of_a_section_silence_a_role_there_only(positive, negative, silent) -> None:  # type: ignore[no-untyped-def]
    plan = plan_for("house", duration_s=90, sung=False)
    changed = [
        s.model_copy(update={"positive_styles": positive, "negative_styles": negative}) if s.role == "verse" else s
        for s in plan.sections
    ]
    before, after = arrange(plan), arrange(plan.model_copy(update={"sections": tuple(changed)}))
    assert not within(after, notes_of(after, silent), "verse")
    assert within(after, notes_of(after, silent), "chorus")
    assert silent == "pad" or within(before, notes_of(before, silent), "verse")


def test_only_piano_leaves_the_piano_alone() -> None:
    plan = plan_for("house", duration_s=90, sung=False)
    changed = [
        s.model_copy(update={"positive_styles": ("only piano",)}) if s.role == "verse" else s for s in plan.sections
    ]
    score = arrange(plan.model_copy(update={"sections": tuple(changed)}))
    playing = {p.instrument for p in score.parts if within(score, p.notes, "verse") and p.role != "effects"}
    assert playing == {"fm_piano"}


def test_sparse_and_full_change_how_much_is_played() -> None:
    plan = plan_for("rock", duration_s=60)
    counts = []
    for word in ("sparse", "", "full"):
        sections = tuple(
            s.model_copy(update={"positive_styles": (word,) if word else (), "energy": 0.5}) for s in plan.sections
        )
        score = arrange(plan.model_copy(update={"sections": sections}))
        counts.append(len(notes_of(score, "drums", "chords", "bass")))
    assert counts[0] < counts[1] < counts[2]


def test_half_time_moves_the_backbeat() -> None:
    plan = plan_for("rock", duration_s=60)
    changed = tuple(s.model_copy(update={"positive_styles": ("half-time feel",)}) for s in plan.sections)
    score = arrange(plan.model_copy(update={"sections": changed}))
    verse = next(s for s in score.sections if s.role == "verse")
    beats = [
        round(n.start) % 4
        for n in within(score, notes_of(score, "drums"), "verse")
        if n.pitch == 38 and n.start < verse.start + 8
    ]
    assert beats and set(beats) == {2}


def test_sections_of_odd_length_are_rounded_without_drifting() -> None:
    plan = plan_for("folk", duration_s=60)
    bar = plan.bar_s
    lengths = [bar * 3.4] * 6
    lengths.append(60 - sum(lengths))
    sections = tuple(Section(id=f"s{i}", label="Verse", duration_s=d) for i, d in enumerate(lengths))
    score = arrange(plan.model_copy(update={"sections": sections}))
    assert score.sections[-1].start + score.sections[-1].quarters == pytest.approx(60 / score.quarter_s, abs=0.01)
    starts = [s.start * score.quarter_s for s in score.sections]
    assert all(abs(start - sum(lengths[:i])) <= bar / 2 + 0.01 for i, start in enumerate(starts))


def test_more_sections_than_bars_is_a_plan_error() -> None:
    sections = [{"id": f"s{i}", "label": "Verse", "duration_s": 0.25} for i in range(40)]
    plan = SongPlan(title="x", genre="folk", tempo=60, key="C", duration_s=10, sections=sections, seed=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidPlan, match="40 sections"):
        arrange(plan)


@pytest.mark.parametrize("time_signature", ["2/4", "3/4", "4/4", "5/4", "7/4", "5/8", "6/8", "7/8", "9/8", "12/8"])
@pytest.mark.parametrize("name", ["rock", "waltz", "bossa-nova"])
def test_every_metre_plays_whatever_the_styles_own(name: str, time_signature: str) -> None:
    upper = int(time_signature.split("/", maxsplit=1)[0])
    bars = 12
    tempo = bars * upper * 60 / 40
    plan = plan_for(name, duration_s=40, time_signature=time_signature, tempo=tempo)
    score = arrange(plan)
    assert {p.role for p in score.parts} >= {"bass", "chords", "melody"}
    assert score.quarters_per_bar == upper * 4 / int(time_signature.split("/")[1])
    downbeats = {round(n.start / score.quarters_per_bar, 1) for n in notes_of(score, "drums", "chords", "bass")}
    assert sum(float(i) in downbeats for i in range(bars)) >= bars * 0.6


# ── genres from elsewhere ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("genre", "near"),
    [
        ("dark techno with acid lines", {"house", "drum-and-bass"}),
        ("orchestral film score", {"cinematic"}),
        ("alternative metal", {"rock"}),
        ("bebop and swing jazz", {"jazz-ballad", "bossa-nova"}),
        ("90s hip hop", {"lofi-hip-hop", "trap"}),
    ],
)
def test_a_foreign_genre_finds_its_nearest_style_and_says_so(genre: str, near: set[str]) -> None:
    plan = plan_for("folk").model_copy(update={"genre": genre})
    found, note = style_for(plan)
    assert found.id in near
    assert note and genre in note and found.title in note


def test_any_genre_renders() -> None:
    for genre in ("🦑", "ｘ", "la la la", "1", "no genre whatsoever"):
        plan = plan_for("folk").model_copy(update={"genre": genre})
        found, note = style_for(plan)
        assert note
        assert arrange(plan).style == found.id


def test_the_kin_of_genres_are_styles_that_exist() -> None:
    assert {kin for near in _KIN.values() for kin in near} <= set(ALL_STYLES)


def test_a_known_genre_needs_no_note() -> None:
    for name in ALL_STYLES:
        assert style_for(plan_for(name)) == (style(name), None)


def test_own_lyrics_are_all_sung() -> None:
    for name in ALL_STYLES:
        plan = plan_for(name, duration_s=75)
        score = arrange(plan)
        sung = "".join(s.text for s in score.syllables).casefold()
        wanted = "".join("".join(s.lyrics) for s in plan.sections).replace(" ", "").casefold()
        assert sung == wanted
        assert any(line in VERSE + CHORUS for s in plan.sections for line in s.lyrics)
