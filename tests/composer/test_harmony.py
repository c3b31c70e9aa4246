"""Chords on the grid, voice leading, and the bass under them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from arranged import ALL_STYLES, chord_tones, notes_of, plan_for, score_for, share, style, within

from tonewheel.composer.arrange import arrange
from tonewheel.composer.grid import Grid, fit_bar
from tonewheel.composer.harmony import choose_progression, lay_bar
from tonewheel.composer.voicing import Register, candidates, lead_voices, rank_tones, thinned
from tonewheel.seeds import stream
from tonewheel.theory import QUALITIES, Chord, Key, parse_chord


def chords(*symbols: str) -> list[Chord]:
    return [parse_chord(s) for s in symbols]


def test_every_quality_has_a_voicing_in_every_register() -> None:
    for quality in QUALITIES:
        for root in range(0, 12, 5):
            for low, high in ((48, 60), (57, 76), (70, 82)):
                for voices in range(1, 7):
                    for voicing in candidates(Chord(root, quality, root), low, high, voices, False):
                        assert list(voicing) == sorted(set(voicing))
                        assert low <= voicing[0] and voicing[-1] <= high
                        assert {p % 12 for p in voicing} <= set(Chord(root, quality, root).pitch_classes)


def test_voices_move_little_and_keep_common_tones() -> None:
    changes = chords("C", "Am", "F", "G", "Em", "Am", "Dm", "G7", "C")
    path = lead_voices(changes, [False] * len(changes), Register(52, 72, 3), 1)
    for (a, b), (before, after) in zip(pairwise(path), pairwise(changes), strict=True):
        assert sum(abs(x - y) for x, y in zip(a, b, strict=True)) <= 9
        common = set(before.pitch_classes) & set(after.pitch_classes)
        held = {p % 12 for p in set(a) & set(b)}
        assert not common or held, (before, after)
    root_position = [tuple(48 + c.root + i for i in QUALITIES[c.quality][:3]) for c in changes]
    moved = [sum(abs(x - y) for a, b in pairwise(p) for x, y in zip(a, b, strict=True)) for p in (path, root_position)]
    assert moved[0] < 0.6 * moved[1]


def test_chords_stay_in_their_register_and_near_its_middle() -> None:
    changes = chords(*("Cmaj7", "A7", "Dm7", "G7") * 16)
    path = lead_voices(changes, [True] * len(changes), Register(55, 74, 4), 2)
    assert all(v[0] >= 55 and v[-1] <= 74 for v in path)
    assert abs(float(np.mean([np.mean(v) for v in path])) - 64.5) < 4


def test_with_a_bass_rich_chords_leave_their_root() -> None:
    ninth = parse_chord("Dm9")
    assert 2 not in rank_tones(ninth, rootless=True)
    assert 2 in rank_tones(ninth, rootless=False)
    assert all(2 not in {p % 12 for p in v} for v in candidates(ninth, 52, 76, 4, True))
    triad = parse_chord("D")
    assert rank_tones(triad, rootless=True)[:2] == [2, 6]


def test_a_thinned_chord_keeps_its_top_and_its_third() -> None:
    voicing = (48, 52, 55, 60)
    assert thinned(voicing, parse_chord("C"), 4) == voicing
    thin = thinned(voicing, parse_chord("C"), 3)
    assert len(thin) == 3 and thin[-1] == 60 and 52 in thin


def test_a_tune_above_pushes_the_chords_down() -> None:
    changes = chords("C", "F", "G", "C")
    free = lead_voices(changes, [False] * 4, Register(55, 79, 3), 1)
    kept = lead_voices(changes, [False] * 4, Register(55, 79, 3, ceiling=64), 1)
    assert np.mean([v[-1] for v in kept]) < np.mean([v[-1] for v in free])


def test_two_chords_share_a_bar_on_its_beats() -> None:
    spans = lay_bar("C|G", 8.0, Grid(4, 4, 0.5))
    assert [(s.start, s.duration) for s in spans] == [(8, 2), (10, 2)]
    waltz = lay_bar("C|G", 0.0, Grid(3, 4, 0.5))
    assert [s.duration for s in waltz] == [2, 1]
    crowd = lay_bar("|".join(["C", "G"] * 20), 0.0, Grid(2, 4, 0.5))
    assert sum(s.duration for s in crowd) == 2 and all(s.duration >= 0.25 for s in crowd)


@pytest.mark.parametrize("name", ALL_STYLES)
def test_chosen_progressions_are_of_the_style_and_fill_the_section(name: str) -> None:
    for mode in style(name).modes:
        for bars in (1, 3, 4, 8, 16):
            found = choose_progression(style(name), Key(9, mode), "chorus", bars, stream(1, "t"))
            assert len(found) == bars


def test_a_key_the_style_does_not_know_still_has_chords() -> None:
    for name in ALL_STYLES:
        for mode in ("major", "phrygian", "lydian"):
            score = arrange(plan_for(name, key=f"D {mode}", duration_s=30))
            assert len({c.symbol for c in score.chords}) >= 2


@pytest.mark.parametrize("name", ALL_STYLES)
def test_the_bass_is_low_and_its_roots_are_near_each_other(name: str) -> None:
    score = score_for(name, duration_s=150, seed=2)
    bass = notes_of(score, "bass")
    assert np.median([n.pitch for n in bass]) < 48
    assert max(n.pitch for n in bass) <= 60
    assert max(abs(a.pitch - b.pitch) for a, b in pairwise(bass)) <= 24
    seams = {s.start for s in score.sections}
    root = {
        c.start: [n.pitch for n in bass if abs(n.start - c.start) < 0.15 and n.pitch % 12 == parse_chord(c.symbol).bass]
        for c in score.chords
    }
    moves = [(root[a.start], root[b.start]) for a, b in pairwise(score.chords) if b.start not in seams]
    assert share(abs(a[0] - b[0]) <= 7 for a, b in moves if a and b) >= 0.85


@pytest.mark.parametrize("name", ALL_STYLES)
def test_the_bass_states_the_chord_at_its_change(name: str) -> None:
    """Where the bass strikes together with a new chord it plays its root or at least a tone of it."""
    score = score_for(name, duration_s=150, seed=3)
    struck = [
        (c, n)
        for c in score.chords
        for n in notes_of(score, "bass")
        if abs(n.start - c.start) < 0.15 and n.velocity > 55
    ]
    assert len(struck) > 4
    assert share(n.pitch % 12 == parse_chord(c.symbol).bass for c, n in struck) >= 0.7
    assert share(n.pitch % 12 in chord_tones(score, c.start + 0.13) for c, n in struck) >= 0.95


@pytest.mark.parametrize("name", ALL_STYLES)
def test_chord_parts_play_the_chords(name: str) -> None:
    score = score_for(name, duration_s=120, seed=4)
    notes = notes_of(score, "chords", "pad")
    right = share(n.pitch % 12 in chord_tones(score, n.start + min(0.3, n.duration / 2)) for n in notes)
    assert right >= 0.93  # pushes sound the next chord an eighth early


def test_roles_keep_their_registers() -> None:
    for name in ALL_STYLES:
        score = score_for(name, duration_s=150, seed=3)
        middle = {
            r: float(np.median([n.pitch for n in notes_of(score, r)] or [np.nan])) for r in ("bass", "chords", "melody")
        }
        assert middle["bass"] + 7 < np.nanmin([middle["chords"], middle["melody"]])
        if not np.isnan(middle["chords"]):
            assert middle["chords"] < middle["melody"]


def test_sections_of_one_kind_come_back_with_their_own_chords() -> None:
    score = score_for("rock", duration_s=150, seed=9)
    by_section = {
        s.id: tuple(c.symbol for c in score.chords if s.start <= c.start < s.start + s.quarters - 4)
        for s in score.sections
    }
    verses = {by_section[s.id] for s in score.sections if s.role == "verse"}
    assert len(verses) == 1
    assert Counter(s.role for s in score.sections)["verse"] >= 2
    assert within(score, notes_of(score, "chords"), "verse")


def test_patterns_are_brought_into_other_metres() -> None:
    four = "9...5...9...5..."
    assert fit_bar(four, 16, 0, 4, 4) == four
    assert fit_bar(four, 16, 0, 3, 4) == "9...5...9..."
    assert fit_bar(four, 16, 0, 5, 4) == "9...5...9...5...9..."
    assert fit_bar(four + four.replace("9", "8"), 16, 1, 4, 4).count("8") == 2
    # A bar of 6/8 is two beats of the pattern, shuffled; two bars are one bar of it.
    assert fit_bar("9.4.5.4.9.4.5.4.", 16, 0, 6, 8) == "9...4.5...4."
    assert fit_bar("9...............", 16, 1, 6, 8) == "............"
    assert all(len(fit_bar(four, 16, 0, u, low)) == u * 16 // low for u in range(2, 13) for low in (4, 8))
