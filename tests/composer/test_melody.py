"""The tune: singable, on the chords, with a shape, and tied to the words."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from arranged import (
    ALL_STYLES,
    CHORUS,
    HOOK,
    VERSE,
    chord_tones,
    leaps,
    notes_of,
    phrases,
    plan_for,
    share,
    style,
    within,
)

from tonewheel.composer.arrange import arrange
from tonewheel.composer.grid import Grid
from tonewheel.composer.melody import MAX_LEAP, Cadence, Contour, Slot, pitch_line
from tonewheel.composer.rhythm import Slots, place_syllables, spoken_words
from tonewheel.composer.score import Score
from tonewheel.seeds import noise
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.syllables import syllables
from tonewheel.theory import parse_key

SEEDS = (1, 2)


@cache
def songs(name: str) -> list[Score]:
    keys = ("A", "F#", "Eb")
    modes = list(style(name).modes)
    return [
        arrange(
            plan_for(name, duration_s=110, seed=seed, sung=sung, key=f"{keys[seed % 3]} {modes[seed % len(modes)]}")
        )
        for seed in SEEDS
        for sung in (True, False)
    ]


@pytest.mark.parametrize("name", ALL_STYLES)
def test_a_tune_is_singable(name: str) -> None:
    for score in songs(name):
        tune = notes_of(score, "melody")
        assert max(n.pitch for n in tune) - min(n.pitch for n in tune) <= 16
        jumps = leaps(tune)
        assert max(jumps) <= 9
        assert share(j <= 2 for j in jumps) >= 0.45  # mostly steps and repeated notes
        assert share(j == 0 for j in jumps) <= 0.35


@pytest.mark.parametrize("name", ALL_STYLES)
def test_strong_beats_carry_chord_tones(name: str) -> None:
    for score in songs(name):
        half = score.quarters_per_bar / 2 if score.quarters_per_bar == 4 else score.quarters_per_bar
        strong = [n for n in notes_of(score, "melody") if abs(n.start - round(n.start / half) * half) < 0.12]
        on = share(n.pitch % 12 in chord_tones(score, n.start + 0.13) for n in strong)
        assert len(strong) > 10
        assert on >= 0.9


@pytest.mark.parametrize("name", ALL_STYLES)
def test_a_tune_does_not_rock_between_two_notes(name: str) -> None:
    for score in songs(name):
        triples = [
            (a.pitch, b.pitch, c.pitch)
            for p in phrases(notes_of(score, "melody"))
            for a, b, c in zip(p, p[1:], p[2:], strict=False)
        ]
        assert share(a == c != b for a, b, c in triples) <= 0.08


@pytest.mark.parametrize("name", ALL_STYLES)
def test_the_chorus_lies_higher_than_the_verse(name: str) -> None:
    for score in songs(name):
        tune = notes_of(score, "melody")
        verse, chorus = within(score, tune, "verse"), within(score, tune, "chorus")
        assert np.mean([n.pitch for n in chorus]) > np.mean([n.pitch for n in verse])
        assert [n.pitch for n in verse][:12] != [n.pitch for n in chorus][:12]


def test_chorus_notes_are_longer() -> None:
    longer = 0
    for name in ALL_STYLES:
        score = songs(name)[0]
        verse, chorus = (within(score, notes_of(score, "melody"), r) for r in ("verse", "chorus"))
        longer += np.mean([n.duration for n in chorus]) > np.mean([n.duration for n in verse])
    assert longer >= len(ALL_STYLES) - 2


@pytest.mark.parametrize("name", ALL_STYLES)
def test_each_syllable_has_its_note(name: str) -> None:
    """With room on the grid, a sung syllable starts with a note of the tune, and the words are complete."""
    plan = plan_for(name, duration_s=120, seed=3)
    score = arrange(plan)
    wanted = [s.text for section in plan.sections for line in section.lyrics for s in syllables(line)]
    assert [s.text for s in score.syllables] == wanted
    assert all(a.start < b.start for a, b in pairwise(score.syllables))
    starts = np.array([n.start for n in notes_of(score, "melody")])
    apart = [np.abs(starts - s.start).min() for s in score.syllables]
    assert max(apart) < 0.25  # micro-timing only
    lines = [s.line for s in score.syllables if s.line_start]
    assert lines == list(range(sum(len(s.lyrics) for s in plan.sections)))


def test_the_hook_has_one_melody_in_every_chorus() -> None:
    for name in ("folk", "synth-pop", "rock"):
        plan = plan_for(name, duration_s=150, seed=8)
        chords = ("C", "G", "Am", "F")
        plan = plan.model_copy(
            update={"key": "C major", "sections": tuple(s.model_copy(update={"chords": chords}) for s in plan.sections)}
        )
        score = arrange(plan)
        sung = _tunes_of_line(score, plan, HOOK)
        # Twice a chorus (lines 1 and 3), the first of each chorus is the hook as it is known.
        firsts = sung[::2]
        assert len(firsts) >= 2
        assert all(f == firsts[0] for f in firsts), name


def _tunes_of_line(score: Score, plan: SongPlan, text: str) -> list[list[int]]:
    lines = [line for s in plan.sections for line in s.lyrics]
    tune = notes_of(score, "melody")
    out = []
    for number, line in enumerate(lines):
        if line == text:
            times = [s.start for s in score.syllables if s.line == number]
            out.append([min(tune, key=lambda n, t=t: abs(n.start - t)).pitch for t in times])  # type: ignore[misc]
    return out


def test_the_last_line_of_a_verse_comes_home_and_the_second_does_not() -> None:
    home = open_ = total = 0
    for name in ALL_STYLES:
        plan = plan_for(name, duration_s=150, seed=4)
        score = arrange(plan)
        tonic = parse_key(score.key).tonic
        tune = notes_of(score, "melody")
        first_verse = [i for i, line in enumerate(line for s in plan.sections for line in s.lyrics) if line in VERSE][
            :4
        ]
        ends = [max((s for s in score.syllables if s.line == i), key=lambda s: s.start).start for i in first_verse]
        pitches = [min(tune, key=lambda n, t=t: abs(n.start - t)).pitch % 12 for t in ends]  # type: ignore[misc]
        total += 1
        scale = parse_key(score.key).scale
        home += pitches[3] in (tonic, scale[2], scale[4])
        open_ += pitches[1] != tonic
    assert home >= 0.8 * total
    assert open_ >= 0.9 * total


def test_other_words_give_another_rhythm_and_another_story_another_tune() -> None:
    plan = plan_for("folk", duration_s=60, seed=5)
    other_words = tuple(
        s.model_copy(update={"lyrics": ("Seven silver engines are sleeping in the station",) * 4 if s.lyrics else ()})
        for s in plan.sections
    )
    starts = [
        [round(s.start, 2) for s in arrange(p).syllables][:20]
        for p in (plan, plan.model_copy(update={"sections": other_words}))
    ]
    assert starts[0] != starts[1]
    quiet = plan_for("folk", duration_s=60, seed=5, sung=False)
    other_story = quiet.model_copy(update={"narrative": "A whole other story."})
    assert [n.pitch for n in notes_of(arrange(quiet), "melody")] != [
        n.pitch for n in notes_of(arrange(other_story), "melody")
    ]


def test_openings_differ_between_seeds() -> None:
    openings = {
        tuple(
            (n.pitch, round(n.start * 2)) for n in notes_of(arrange(plan_for("folk", seed=s, sung=False)), "melody")[:8]
        )
        for s in range(20)
    }
    assert len(openings) >= 18


def test_a_crowded_line_keeps_all_its_words() -> None:
    plan = plan_for("house", duration_s=30)
    long_line = " ".join(["everything everywhere remembers"] * 9)
    lyrics = (long_line[:290],) * 30
    crowded = tuple(s.model_copy(update={"lyrics": lyrics}) for s in plan.sections)
    score = arrange(plan.model_copy(update={"sections": crowded}))
    wanted = sum(len(syllables(line)) for _ in crowded for line in lyrics)
    assert len(score.syllables) == wanted
    assert all(a.start <= b.start + 1e-6 for a, b in pairwise(score.syllables))
    assert all(s.start + s.duration <= score.duration_s / score.quarter_s + 1e-3 for s in score.syllables)


def test_a_song_of_one_bar_sections_sings_its_words() -> None:
    plan = plan_for("folk", duration_s=30)
    bars = round(30 / plan.bar_s)
    sections = tuple(
        plan.sections[0].model_copy(
            update={"id": f"b{i}", "label": "Verse", "duration_s": 30 / bars, "lyrics": (CHORUS[i % 4],)}
        )
        for i in range(bars)
    )
    score = arrange(plan.model_copy(update={"sections": sections}))
    assert len({s.line for s in score.syllables}) == bars


# ── the two searches by themselves ──────────────────────────────────────────────────────────────────


def test_stressed_syllables_fall_on_stronger_places() -> None:
    strong: list[float] = []
    weak: list[float] = []
    grid = Grid(4, 4, 0.5)
    for n, line in enumerate(VERSE + CHORUS):
        words = syllables(line)
        slots = Slots(np.array([grid.strength((k - 2) / 2) for k in range(18)]), 2, 2, 2)
        rng = noise(n, "test")
        spoken = spoken_words([s.stressed for s in words], [s.word_start for s in words], rng)
        places = place_syllables(spoken, slots, syncopation=0.2, rng=rng)
        assert places == sorted(set(places))
        for s, p in zip(words, places, strict=True):
            (strong if s.stressed else weak).append(grid.strength((p - 2) / 2))
    assert np.mean(strong) > np.mean(weak) + 0.25


def test_a_line_echoes_the_rhythm_it_answers() -> None:
    grid = Grid(4, 4, 0.5)
    slots = Slots(np.array([grid.strength(k / 2) for k in range(16)]), 0, 2, 2)
    words = spoken_words([True, False] * 4, [True] * 8, noise(1, "words"))
    motif = [0, 1, 3, 4, 6, 8, 9, 12]
    free = place_syllables(words, slots, rng=noise(2, "a"))
    echo = place_syllables(words, slots, motif=motif, motif_weight=2.0, rng=noise(2, "a"))
    assert len(set(echo) & set(motif)) > len(set(free) & set(motif))


def test_a_full_line_uses_every_step_and_a_single_syllable_has_a_place() -> None:
    slots = Slots(np.linspace(1, 0.1, 8), 0, 2, 2)
    assert place_syllables(spoken_words([True] * 8, [True] * 8, noise(1, "x")), slots, rng=noise(1, "x")) == list(
        range(8)
    )
    assert len(place_syllables(spoken_words([True], [True], noise(1, "x")), slots, rng=noise(1, "x"))) == 1


def test_the_pitch_search_takes_chord_tones_and_its_cadence() -> None:
    pitches = [p for p in range(60, 77) if p % 12 in (0, 2, 4, 5, 7, 9, 11)]
    slots = [Slot(1.0 if i % 4 == 0 else 0.35, 0.5, (0, 4, 7)) for i in range(12)]
    line = pitch_line(
        slots, pitches, Contour(67, 5, 0.6, -2), Cadence((0,)), home=(0, 2, 4, 5, 7, 9, 11), rng=noise(3, "pitch")
    )
    assert len(line) == 12
    assert all(line[i] % 12 in (0, 4, 7) for i in (0, 4, 8))
    assert line[-1] % 12 == 0
    assert max(abs(a - b) for a, b in pairwise(line)) <= MAX_LEAP
    assert pitch_line([], pitches, Contour(67, 5, 0.6, 0), Cadence(()), rng=noise(3, "pitch")) == []
