"""Forms fill the asked length exactly, at a tempo the style may have, in proportions a listener expects."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tonewheel.errors import InvalidRequest
from tonewheel.songs.forms import (
    MAX_INTRO_SHARE,
    MAX_TEMPO_SHIFT,
    TEMPO_SHIFT,
    Form,
    energies,
    solve_form,
    tempo_note,
    tempo_of,
)
from tonewheel.styles.library import get_style, styles
from tonewheel.styles.schema import Style

STYLES = sorted(styles())
seconds = st.floats(10, 600, allow_nan=False) | st.sampled_from([10.0, 15.0, 30.0, 60.0, 180.0, 600.0])


def solved(style: Style, duration_s: float, seed: int = 1, asked: float | None = None) -> Form:
    return solve_form(style, duration_s, style.tempo.default, random.Random(seed), asked=asked)


def roles(form: Form) -> list[str]:
    return [s.role for s in form.sections]


@given(style=st.sampled_from(STYLES), duration_s=seconds, seed=st.integers(0, 99))
@settings(max_examples=70, deadline=None)
def test_every_style_fills_every_length_exactly_within_its_tempo_range(
    style: str, duration_s: float, seed: int
) -> None:
    s = get_style(style)
    form = solved(s, duration_s, seed)
    assert form.bars * s.beats_per_bar * 60.0 / form.tempo == pytest.approx(duration_s, abs=1e-6)
    in_range = s.tempo.min - 1e-9 <= form.tempo <= s.tempo.max + 1e-9
    assert in_range or any("No whole number of bars" in n for n in form.notes)


@given(style=st.sampled_from(STYLES), duration_s=seconds, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_sections_have_the_bars_of_phrases_and_an_intro_is_short(style: str, duration_s: float, seed: int) -> None:
    form = solved(get_style(style), duration_s, seed)
    assert {s.bars for s in form.sections[:-1]} <= {1, 2, 4, 8, 16}
    assert form.sections[-1].role == "outro"
    assert form.sections[-1].bars <= 9
    assert sum(s.bars for s in form.sections if s.role == "intro") <= MAX_INTRO_SHARE * form.bars
    assert "chorus" in roles(form)


@given(style=st.sampled_from(STYLES), duration_s=seconds, seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_no_chorus_follows_a_chorus_without_something_between(style: str, duration_s: float, seed: int) -> None:
    found = roles(solved(get_style(style), duration_s, seed))
    assert all(a != b or a == "verse" for a, b in pairwise(found))


@pytest.mark.parametrize("style", STYLES)
def test_a_range_that_holds_a_whole_number_of_bars_is_never_left(style: str) -> None:
    s = get_style(style)
    for bars in (5, 9, 17, 40):
        duration_s = bars * s.beats_per_bar * 60.0 / s.tempo.default
        if duration_s >= 10:
            form = solved(s, duration_s)
            assert s.tempo.min <= form.tempo <= s.tempo.max
            assert not form.notes


def test_a_ten_second_jingle_is_a_hook_and_its_ending() -> None:
    for style in STYLES:
        assert set(roles(solved(get_style(style), 10.0))) <= {"intro", "chorus", "outro"}


def test_half_a_minute_has_a_verse_before_its_hook_or_is_all_hook() -> None:
    forms = {tuple(roles(solved(get_style("lofi-hip-hop"), 30.0, seed))) for seed in range(12)}
    assert ("verse", "chorus", "outro") in forms


@pytest.mark.parametrize("style", STYLES)
def test_three_minutes_have_verses_choruses_and_something_else(style: str) -> None:
    found = roles(solved(get_style(style), 180.0))
    assert found.count("chorus") >= 2
    assert found.count("verse") >= 2
    assert set(found) & {"bridge", "instrumental", "solo", "break", "pre-chorus"}


@pytest.mark.parametrize("style", STYLES)
def test_ten_minutes_have_bridge_break_and_instrumental_and_many_verses(style: str) -> None:
    form = solved(get_style(style), 600.0)
    found = roles(form)
    assert found.count("verse") >= 3
    assert len(set(found) & {"bridge", "instrumental", "solo", "break"}) >= 3
    choruses = sum(s.bars for s in form.sections if s.role in ("chorus", "drop"))
    assert 0.2 < choruses / form.bars < 0.56


def test_seeds_choose_among_forms() -> None:
    forms = {solved(get_style("folk"), 180.0, seed).sections for seed in range(30)}
    assert len(forms) >= 5


def test_the_same_seed_gives_the_same_form() -> None:
    assert solved(get_style("rock"), 123.4, 5) == solved(get_style("rock"), 123.4, 5)


@given(tempo=st.floats(40, 220), duration_s=st.floats(75, 600), style=st.sampled_from(STYLES))
@settings(max_examples=50, deadline=None)
def test_an_asked_tempo_is_met_within_three_percent_where_bars_allow(
    tempo: float, duration_s: float, style: str
) -> None:
    s = get_style(style)
    assume(duration_s * tempo / 60 / s.beats_per_bar >= 17)  # half a bar of 17 is three percent
    form = solved(s, duration_s, asked=tempo)
    assert abs(form.tempo / tempo - 1) <= TEMPO_SHIFT
    assert form.bars * s.beats_per_bar * 60.0 / form.tempo == pytest.approx(duration_s, abs=1e-6)


def test_a_tempo_that_fits_exactly_is_kept_exactly_and_nothing_is_said() -> None:
    style = get_style("house")
    form = solved(style, 60.0, asked=120.0)
    assert form.tempo == pytest.approx(120.0, abs=1e-9)
    assert tempo_note(120.0, form.tempo, style) == ()


def test_a_bent_tempo_is_said_exactly() -> None:
    style = get_style("house")
    form = solved(style, 61.0, asked=123.0)
    (note,) = tempo_note(123.0, form.tempo, style)
    assert f"{form.tempo:.7g} BPM" in note


def test_a_tempo_unusual_for_the_style_is_said() -> None:
    style = get_style("house")
    assert any("usually" in n for n in tempo_note(60.0, 60.0, style))


def test_a_tempo_no_bars_can_meet_is_refused_with_what_can_be_had() -> None:
    with pytest.raises(InvalidRequest) as refused:
        solved(get_style("lofi-hip-hop"), 10.0, asked=60.0)
    message = refused.value.message
    assert "48 or 72 BPM" in message
    assert "12 s" in message
    assert refused.value.param == "tempo"


@given(tempo=st.floats(30, 300), duration_s=st.floats(10, 75))
@settings(max_examples=70, deadline=None)
def test_short_songs_meet_a_tempo_within_a_tenth_or_refuse_it(tempo: float, duration_s: float) -> None:
    try:
        form = solved(get_style("folk"), duration_s, asked=tempo)
    except InvalidRequest:
        return
    assert abs(form.tempo / tempo - 1) <= MAX_TEMPO_SHIFT + 1e-9
    assert 30 <= form.tempo <= 300


def test_tempo_of_bars_is_exact() -> None:
    assert tempo_of(20, 4, 60.0) == 80.0
    assert tempo_of(40, 3, 60.0) == 120.0


@given(style=st.sampled_from(STYLES), duration_s=seconds, seed=st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_the_last_chorus_is_the_peak_and_the_end_falls(style: str, duration_s: float, seed: int) -> None:
    s = get_style(style)
    found = [x.role for x in solved(s, duration_s, seed).sections]
    levels = energies(found, s)
    assert all(0 < e <= 1 for e in levels)
    last = max(i for i, r in enumerate(found) if r in ("chorus", "drop"))
    assert all(levels[last] > e for i, e in enumerate(levels) if i != last)
    assert levels[-1] < levels[last] - 0.2
    lowest_chorus = min(e for e, r in zip(levels, found, strict=True) if r == "chorus")
    verses = [e for e, r in zip(levels, found, strict=True) if r == "verse"]
    assert not verses or lowest_chorus > max(verses)


def test_a_style_s_own_energies_are_heard() -> None:
    style = get_style("lofi-hip-hop")
    quiet = style.model_copy(update={"energy": {"verse": 0.2, "chorus": 0.5, "intro": 0.1}})
    assert energies(["intro", "verse", "chorus", "outro"], quiet)[:2] == [0.1, 0.2]


def test_a_tempo_at_the_edge_of_what_a_plan_allows_stays_inside() -> None:
    assert solved(get_style("funk"), 47.11, asked=297.3).tempo <= 300
    assert solved(get_style("funk"), 100.3, asked=30.1).tempo >= 30
