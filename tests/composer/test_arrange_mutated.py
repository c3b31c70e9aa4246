"""Plans edited by hand and plans from elsewhere: whatever is valid is arranged, or refused in one line."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from typing import Any

import mido
import pytest
from arranged import ALL_STYLES, plan_for, style
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tonewheel.composer.arrange import arrange
from tonewheel.composer.lrc import to_lrc
from tonewheel.composer.midi import to_midi
from tonewheel.composer.score import Score
from tonewheel.composer.wishes import read_wishes
from tonewheel.errors import TonewheelError
from tonewheel.songs.plan import Section, SongPlan
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.theory import MODES, QUALITIES, SHARP_NAMES

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=60).filter(str.strip)
WORDS = st.lists(
    st.sampled_from(
        ("no", "without", "only", "just", "more", "less", "half", "time", "sparse", "full", "drums", "bass", "piano",
         "pads", "strings", "melody", "arp", "loud", "and", "the")
    ),
    min_size=1, max_size=5,
).map(" ".join)  # fmt: skip
CHORD = st.builds(
    lambda root, quality, bass: root + quality + (f"/{bass}" if bass else ""),
    st.sampled_from(SHARP_NAMES), st.sampled_from(list(QUALITIES)), st.sampled_from(["", *SHARP_NAMES]),
)  # fmt: skip
BAR = st.lists(CHORD, min_size=1, max_size=6).map("|".join)
LABEL = st.sampled_from(
    ["Intro", "Verse", "Pre-Chorus", "Chorus", "Bridge", "Solo", "Break", "Build", "Drop", "Outro", "???"]
)
ROLES = ("drums", "bass", "chords", "pad", "arpeggio", "lead", "melody", "counter", "effects")
INSTRUMENT = st.fixed_dictionaries(
    {"instrument": st.one_of(st.sampled_from(list(INSTRUMENTS)), TEXT), "role": st.sampled_from(ROLES)}
)


@st.composite
def plans(draw: st.DrawFn) -> SongPlan:
    duration = draw(st.floats(10, 60))
    shares = draw(st.lists(st.floats(0.02, 1), min_size=1, max_size=9))
    sections: list[dict[str, Any]] = [
        {
            "id": f"s{i}", "label": draw(LABEL), "duration_s": duration * share / sum(shares),
            "energy": draw(st.floats(0, 1)), "lyrics": draw(st.lists(TEXT, max_size=5)),
            "chords": draw(st.lists(BAR, max_size=5)), "positive_styles": draw(st.lists(WORDS, max_size=2)),
            "negative_styles": draw(st.lists(WORDS, max_size=2)),
        }
        for i, share in enumerate(shares)
    ]  # fmt: skip
    return SongPlan(
        title=draw(TEXT), genre=draw(st.one_of(st.sampled_from(ALL_STYLES), TEXT)), tempo=draw(st.floats(30, 300)),
        time_signature=f"{draw(st.integers(2, 12))}/{draw(st.sampled_from([4, 8]))}",
        key=f"{draw(st.sampled_from(SHARP_NAMES))} {draw(st.sampled_from(list(MODES)))}",
        instrumentation=draw(st.lists(INSTRUMENT, max_size=12)), duration_s=duration, sections=sections,  # type: ignore[arg-type]
        seed=draw(st.integers(0, 2**63 - 1)),
    )  # fmt: skip


def check(score: Score, plan: SongPlan) -> None:
    end = score.duration_s / score.quarter_s
    assert score.duration_s == plan.duration_s
    assert len(score.sections) == len(plan.sections)
    for part in score.parts:
        assert part.notes
        for n in part.notes:
            assert 0 <= n.start < n.end <= end + 1e-6
            assert 1 <= n.velocity <= 127
            assert 0 <= n.pitch <= 127
        if part.role in ("melody", "bass"):
            assert all(a.end <= b.start + 1e-6 for a, b in pairwise(part.notes))
    assert len({p.id for p in score.parts}) == len(score.parts)
    for s in score.syllables:
        assert 0 <= s.start <= end and s.duration > 0
    mido.MidiFile(file=BytesIO(to_midi(score)), charset="utf-8")
    assert to_lrc(score).startswith("[ti:")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(plans())
def test_any_valid_plan_is_arranged_or_refused_in_one_line(plan: SongPlan) -> None:
    try:
        score = arrange(plan)
    except TonewheelError as e:
        assert "\n" not in e.message
        assert len(plan.sections) > plan.duration_s / plan.bar_s - 1
        return
    check(score, plan)


@pytest.mark.parametrize("name", ALL_STYLES)
def test_each_part_of_the_band_can_be_removed(name: str) -> None:
    of = style(name)
    everyone = [
        (of.bass.instrument, "bass"),
        (of.melody.instrument, "lead"),
        *((c.instrument, c.role) for c in of.comps),
    ]
    if of.drums:
        everyone.append((of.drums.kit, "drums"))
    for gone in range(len(everyone)):
        left = [{"instrument": i, "role": r} for n, (i, r) in enumerate(everyone) if n != gone]
        plan = SongPlan.model_validate(plan_for(name, duration_s=20).to_dict() | {"instrumentation": left})
        score = arrange(plan)
        check(score, plan)
        if everyone[gone][1] in ("bass", "drums", "lead"):
            assert {"lead": "melody"}.get(everyone[gone][1], everyone[gone][1]) not in {p.role for p in score.parts}


@pytest.mark.parametrize("duration_s", [10, 11.3, 600])
@pytest.mark.parametrize("tempo", [30, 97.3, 300])
@pytest.mark.parametrize("time_signature", ["2/8", "4/4", "12/4"])
def test_the_extremes_of_length_tempo_and_metre(duration_s: float, tempo: float, time_signature: str) -> None:
    section = Section(id="a", label="Verse", duration_s=duration_s, lyrics=("one two three four",) * 4)
    plan = SongPlan(
        title="x", genre="rock", tempo=tempo, time_signature=time_signature, key="F# lydian", duration_s=duration_s,
        sections=(section,), seed=0,
    )  # fmt: skip
    check(arrange(plan), plan)


def test_two_hundred_lines_in_one_section_are_all_sung() -> None:
    section = Section(id="a", label="Verse", duration_s=20, lyrics=("one two three four five",) * 200)
    plan = SongPlan(title="x", genre="folk", tempo=90, key="C", duration_s=20, sections=(section,), seed=0)
    score = arrange(plan)
    check(score, plan)
    assert {s.line for s in score.syllables} == set(range(200))


def test_wishes_read_what_they_know_and_ignore_the_rest() -> None:
    assert read_wishes(["no drums", "without the bass"], []).without == ("drums", "bass")
    assert read_wishes(["only piano and strings"], []).only == ("piano", "strings")
    assert read_wishes(["only the brave"], []).only == ()
    assert read_wishes([], ["drums", "lots of reverb"]).without == ("drums",)
    assert read_wishes(["more drums"], []).drum_shift == 1
    assert read_wishes([], ["busy drums"]).drum_shift == -1
    assert read_wishes([], ["busy drums"]).without == ()
    assert read_wishes(["sparse and quiet"], []).shift == -1
    assert read_wishes(["epic"], ["sparse"]).shift == 2
    assert read_wishes(["drum and bass energy", "warm"], ["cheesy"]) == read_wishes([], [])
    assert read_wishes(["half-time"], []).half_time
