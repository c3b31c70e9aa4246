"""Drums: grooves that change, fills at the seams, lifts that are prepared; and the human errors of time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from arranged import ALL_STYLES, notes_of, plan_for, score_for, style

from tonewheel.composer.arrange import arrange
from tonewheel.composer.grid import Grid
from tonewheel.composer.score import Score
from tonewheel.styles.instruments import DRUM_VOICES

DRUMMED = tuple(n for n in ALL_STYLES if style(n).drums)
RISING = tuple(n for n in ALL_STYLES if style(n).risers and style(n).drums)
CRASH = DRUM_VOICES["crash"]


def bar_of(score: Score, bar: int) -> Counter[tuple[int, int]]:
    start = bar * score.quarters_per_bar
    drums = notes_of(score, "drums")
    return Counter(
        (n.pitch, round((n.start - start) * 4))
        for n in drums
        if start - 0.12 <= n.start < start + score.quarters_per_bar - 0.12
    )


@pytest.mark.parametrize("name", DRUMMED)
def test_a_song_has_many_different_bars_of_drums(name: str) -> None:
    score = score_for(name, duration_s=150, seed=2)
    bars = [
        frozenset(bar_of(score, b)) for b in range(round(score.duration_s / score.quarter_s / score.quarters_per_bar))
    ]
    bars = [b for b in bars if b]
    assert len(set(bars)) >= 6
    assert max(Counter(bars).values()) <= 0.6 * len(bars)


@pytest.mark.parametrize("name", DRUMMED)
def test_seams_have_fills(name: str) -> None:
    """The last bar before a new section mostly differs from the bars before it."""
    different = total = 0
    for seed in range(4):
        score = score_for(name, duration_s=150, seed=seed)
        for s in score.sections[:-1]:
            last = round((s.start + s.quarters) / score.quarters_per_bar) - 1
            if s.quarters < 4 * score.quarters_per_bar or not bar_of(score, last - 2):
                continue
            total += 1
            different += bar_of(score, last) not in [bar_of(score, last - k) for k in (2, 3)]
    assert total >= 8
    assert different >= 0.6 * total


@pytest.mark.parametrize("name", DRUMMED)
def test_velocities_are_not_a_machine_gun(name: str) -> None:
    score = score_for(name, duration_s=60)
    drums = notes_of(score, "drums")
    for key, count in Counter(n.pitch for n in drums).items():
        if count > 20:
            assert len({n.velocity for n in drums if n.pitch == key}) >= 4


def test_a_loud_section_is_entered_with_a_crash() -> None:
    for name in DRUMMED:
        drums = style(name).drums
        assert drums
        score = score_for(name, duration_s=120)
        entries = [s.start for s in score.sections if s.role == "chorus" and s.energy >= 0.6]
        crashes = [n.start for n in notes_of(score, "drums") if n.pitch == CRASH]
        for entry in entries:
            assert any(abs(c - entry) < 0.2 for c in crashes) == drums.crash, name


@pytest.mark.parametrize("name", RISING)
def test_a_riser_ends_on_the_downbeat_it_leads_to(name: str) -> None:
    score = score_for(name, duration_s=120)
    riser = next(p for p in score.parts if p.instrument == "riser")
    starts = {s.start for s in score.sections if s.role != "intro"}
    assert riser.role == "effects"
    for n in riser.notes:
        assert min(abs(n.end - s) for s in starts) < 1e-3
    keys = {n.pitch for n in notes_of(score, "drums")}
    assert DRUM_VOICES["impact"] in keys and DRUM_VOICES["reverse"] in keys


def test_some_lifts_hold_their_breath() -> None:
    """In some songs kick and bass are silent right before a chorus, in others not."""
    held = []
    for seed in range(12):
        score = score_for("house", duration_s=120, seed=seed)
        chorus = next(s for s in score.sections if s.role == "chorus")
        window = [
            n for n in notes_of(score, "drums") if n.pitch == 36 and chorus.start - 1.9 < n.start < chorus.start - 0.1
        ]
        held.append(not window)
    assert 0 < sum(held) < 12


def test_drums_only_use_keys_that_kits_know() -> None:
    for name in DRUMMED:
        assert {n.pitch for n in notes_of(score_for(name, duration_s=150), "drums")} <= set(DRUM_VOICES.values())


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def test_swing_delays_the_second_of_two() -> None:
    swung = Grid(4, 4, 0.5, swing=0.6, swing_pair=0.5)
    assert [round(swung.at(q), 3) for q in (0, 0.25, 0.5, 0.75, 1)] == [0, 0.3, 0.5, 0.8, 1]
    eighths = Grid(4, 4, 0.5, swing=2 / 3, swing_pair=1.0)
    assert [round(eighths.at(q), 3) for q in (0, 0.5, 1, 1.5)] == [0, 0.667, 1, 1.667]
    assert Grid(4, 4, 0.5).at(0.25) == 0.25
    assert Grid(6, 8, 0.5, swing=0.6).at(0.25) == 0.25
    times = [swung.at(k / 16) for k in range(160)]
    assert times == sorted(times)


def test_swung_styles_swing_and_straight_ones_do_not() -> None:
    for name in DRUMMED:
        of = style(name)
        if of.swing_steps != 16:
            continue
        score = score_for(name, duration_s=90, seed=1)
        late = [(n.start % 0.5) / 0.5 for n in notes_of(score, "drums") if 0.12 < n.start % 0.5 < 0.44]
        if len(late) > 30:
            assert np.median(late) == pytest.approx(of.swing, abs=0.06), name


def test_loose_players_err_more_than_machines() -> None:
    def spread(name: str, humanize: float) -> float:
        drums = style(name).drums
        assert drums
        on_time = drums.model_copy(update={"offset_ms": 0.0, "offsets_ms": {}})
        of = style(name).model_copy(update={"humanize": humanize, "swing": 0.5, "drums": on_time})
        hats = [n.start for n in notes_of(arrange(plan_for(name), of), "drums") if n.pitch in (42, 51, 38)]
        return float(np.std([s - round(s * 4) / 4 for s in hats]))

    assert spread("rock", 0.0) < 1e-3
    assert spread("rock", 1.0) > 3 * max(spread("rock", 0.1), 1e-4)


def test_part_and_voice_offsets_shift_the_notes() -> None:
    of = style("rock")
    assert of.drums
    still = of.model_copy(update={"humanize": 0.0})
    drums = of.drums.model_copy(update={"offset_ms": 0.0, "offsets_ms": {"snare": 20.0}})
    base, late = (
        arrange(plan_for("rock"), still.model_copy(update={"drums": d}))
        for d in (of.drums.model_copy(update={"offset_ms": 0.0, "offsets_ms": {}}), drums)
    )
    shift = {}
    for key in (36, 38):
        a, b = ([n.start for n in notes_of(s, "drums") if n.pitch == key] for s in (base, late))
        shift[key] = float(np.median(np.array(b[: len(a)]) - np.array(a[: len(b)]))) * base.quarter_s
    assert shift[36] == pytest.approx(0, abs=1e-4)
    assert shift[38] == pytest.approx(0.02, abs=1e-3)
