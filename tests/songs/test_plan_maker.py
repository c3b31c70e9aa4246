"""The planner's promises: exact lengths, playable chords, honest notes, the same plan for the same request."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import TonewheelError, UnknownName
from tonewheel.songs.harmony import Harmony, progressions
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.planner import lines_in, make_plan, section_ids
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import get_style, styles
from tonewheel.theory import MODES, bar_chords, parse_chord, parse_key

STYLES = sorted(styles())
KEEPER = "A lighthouse keeper counts the waves every night. One winter the boats never returned."


def plan(narrative: str = KEEPER, **options: object) -> SongPlan:
    return make_plan(plan_request(**{"narrative": narrative, "seed": 1, **options}))


def bars_of(made: SongPlan) -> list[float]:
    return [s.duration_s / made.bar_s for s in made.sections]


@given(
    narrative=st.text(min_size=1, max_size=300),
    style=st.none() | st.sampled_from(STYLES),
    duration_s=st.floats(10, 600),
    seed=st.integers(0, 2**63 - 1),
)
@settings(max_examples=60, deadline=None)
def test_any_narrative_in_any_style_fills_any_length_exactly(
    narrative: str, style: str | None, duration_s: float, seed: int
) -> None:
    try:
        request = plan_request(narrative=narrative, style=style, duration_s=duration_s, seed=seed)
    except TonewheelError as e:
        assert "empty" in e.message
        return
    made = make_plan(request)
    assert sum(s.duration_s for s in made.sections) == pytest.approx(duration_s, abs=1e-6)
    assert made.duration_s == duration_s
    assert all(abs(b - round(b)) < 1e-5 for b in bars_of(made))
    assert all(len(s.chords) == round(b) for s, b in zip(made.sections, bars_of(made), strict=True))
    assert made == SongPlan.model_validate(made.to_dict())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("duration_s", [10, 30, 60, 180, 600])
def test_the_last_bar_is_the_tonic(style: str, duration_s: float) -> None:
    made = plan(style=style, duration_s=duration_s)
    last = parse_chord(bar_chords(made.sections[-1].chords[-1])[-1])
    assert last.root == made.parsed_key.tonic
    assert last.is_minor == made.parsed_key.is_minor
    before = [c for s in made.sections for c in s.chords][-2]
    assert parse_chord(bar_chords(before)[-1]).root != made.parsed_key.tonic


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_style_has_chords_in_every_mode(style: str, mode: str) -> None:
    made = plan(style=style, key=f"Eb {mode}", duration_s=120)
    assert made.key == str(parse_key(f"Eb {mode}"))
    used = {
        pc for s in made.sections for bar in s.chords for c in bar_chords(bar) for pc in parse_chord(c).pitch_classes
    }
    assert len(used & set(made.parsed_key.scale)) >= 5


def test_verse_and_chorus_have_different_chords_and_each_keeps_its_own() -> None:
    made = plan(style="folk", duration_s=180)
    verses = [s.chords for s in made.sections if s.role == "verse"]
    choruses = [s.chords for s in made.sections if s.role == "chorus"]
    assert verses[0][:4] != choruses[0][:4]
    assert len({v[:4] for v in verses}) == 1
    assert len({c[:4] for c in choruses}) == 1


@pytest.mark.parametrize("style", STYLES)
def test_eight_bars_are_not_the_same_loop_twice(style: str) -> None:
    for seed in range(4):
        made = plan(style=style, duration_s=120, seed=seed)
        for s in made.sections:
            if s.role in ("verse", "chorus") and len(s.chords) == 8:
                assert s.chords[:4] != s.chords[4:]


def test_a_style_without_a_mode_borrows_plain_progressions() -> None:
    style = get_style("lofi-hip-hop")
    missing = next(m for m in MODES if m not in style.progressions)
    assert progressions(style, missing)["verse"]
    assert progressions(style, missing) is not style.progressions


def test_missing_kinds_of_section_borrow_chords() -> None:
    style = get_style("lofi-hip-hop")
    only = {
        m: {k: rows for k, rows in kinds.items() if k in ("verse", "chorus")} for m, kinds in style.progressions.items()
    }
    bare = style.model_copy(update={"progressions": only})
    made = plan(style="lofi-hip-hop", duration_s=300)
    from tonewheel.songs.forms import FormSection

    sections = [FormSection(s.role, round(s.duration_s / made.bar_s)) for s in made.sections]
    chords = Harmony(bare, parse_key("A minor"), 1).of_song(sections)
    assert [len(c) for c in chords] == [s.bars for s in sections]


# ── determinism ─────────────────────────────────────────────────────────────────────────────────


def test_the_same_request_and_seed_give_the_same_plan() -> None:
    assert plan(duration_s=60) == plan(duration_s=60.0)
    assert plan(duration_s=95).model_dump_json() == plan(duration_s=95).model_dump_json()


def test_another_seed_gives_another_plan() -> None:
    assert len({plan(seed=seed).model_copy(update={"seed": 0}).model_dump_json() for seed in range(8)}) == 8


def test_two_stories_with_one_seed_are_two_songs() -> None:
    a, b = plan("A ship at sea", style="folk"), plan("A train at dawn", style="folk")
    assert (a.key, [s.chords for s in a.sections]) != (b.key, [s.chords for s in b.sections])


def test_a_missing_seed_is_drawn_and_told() -> None:
    made = make_plan(plan_request(narrative=KEEPER))
    again = make_plan(plan_request(narrative=KEEPER, seed=made.seed))
    assert made == again
    assert make_plan(plan_request(narrative=KEEPER)).seed != made.seed


# ── what is asked is done ───────────────────────────────────────────────────────────────────────


def test_what_is_asked_for_is_in_the_plan() -> None:
    made = plan(
        style="Bossa Nova", tempo=120, duration_s=60, key="F major", moods="romantic, calm", title="Luz", artist="Ana"
    )
    assert (made.genre, made.key, made.moods) == ("bossa-nova", "F major", ("romantic", "calm"))
    assert (made.title, made.artist) == ("Luz", "Ana")
    assert made.tempo == pytest.approx(120)
    assert made.narrative == KEEPER
    assert made.planner == "template"
    assert made.notes == ()


def test_an_unknown_style_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="lofi"):
        plan(style="lofy")


def test_a_style_in_the_words_is_chosen() -> None:
    assert plan("Write a drum and bass track about the subway").genre == "drum-and-bass"
    assert plan("waltz about the old dancers", moods="romantic").genre == "waltz"


def test_sad_songs_are_mostly_minor_and_happy_ones_mostly_major() -> None:
    sad = sum(plan(style="folk", moods="sad", seed=i).parsed_key.is_minor for i in range(20))
    happy = sum(plan(style="folk", moods="happy", seed=i).parsed_key.is_minor for i in range(20))
    assert sad >= 13
    assert happy <= 7


def test_quick_moods_are_quicker_than_slow_ones() -> None:
    def mean(mood: str) -> float:
        return sum(plan(style="folk", moods=mood, seed=i, duration_s=180).tempo for i in range(12)) / 12

    assert mean("exciting") > mean("sad") + 4


def test_a_tempo_of_the_narrative_that_cannot_be_had_is_dropped_and_said() -> None:
    made = plan("lofi at 60 bpm about rain", duration_s=10)
    assert any("60 BPM" in n for n in made.notes)


def test_a_genre_without_a_style_says_which_is_nearest() -> None:
    made = plan("Write a dubstep track about ants")
    assert any("'dubstep'" in n for n in made.notes)


def test_instruments_are_those_of_the_style() -> None:
    made = plan(style="lofi-hip-hop")
    assert {"dusty drum kit", "upright bass", "electric piano"} <= {i.instrument for i in made.instrumentation}
    assert made.instrumentation[0].role == "drums"


# ── words ───────────────────────────────────────────────────────────────────────────────────────


def test_an_english_story_has_lyrics_in_verses_and_choruses_and_none_in_intro_and_outro() -> None:
    made = plan(style="folk", duration_s=180)
    for s in made.sections:
        if s.role in ("verse", "chorus", "bridge", "pre-chorus"):
            assert s.lyrics
        if s.role in ("intro", "outro", "instrumental", "solo", "break", "drop"):
            assert not s.lyrics


def test_an_instrumental_has_no_words_but_a_title() -> None:
    made = plan(instrumental=True)
    assert made.is_instrumental
    assert made.title
    assert plan("lo-fi beats, no vocals, rain on the window").is_instrumental


def test_a_verse_has_four_lines_even_at_a_slow_tempo() -> None:
    assert lines_in(8, 60 / 70 * 4, 2) == 4
    assert lines_in(4, 60 / 70 * 4, 2) == 4
    assert lines_in(8, 60 / 174 * 4, 4) == 4
    assert lines_in(16, 60 / 174 * 4, 2) == 8
    assert lines_in(1, 2.0, 2) == 1


@given(bars=st.sampled_from([1, 2, 4, 8, 16]), tempo=st.floats(50, 200), per_line=st.sampled_from([1, 2, 4]))
def test_lines_are_neither_breathless_nor_endless(bars: int, tempo: float, per_line: int) -> None:
    bar_s = 240 / tempo
    lines = lines_in(bars, bar_s, per_line)
    assert 1 <= lines <= 8
    assert lines == 1 or bars * bar_s / lines >= 1.8
    assert lines == bars or bars * bar_s / lines <= 13


@pytest.mark.parametrize(
    ("narrative", "code", "name"),
    [
        ("Der Regen fällt auf die Stadt und ich warte auf dich", "de", "German"),
        ("雨が降っている夜、駅で待っていた", "ja", "Japanese"),
        ("المطر في الليل والمدينة نائمة", "ar", "Arabic"),
    ],
)
def test_other_languages_are_instrumental_and_say_so(narrative: str, code: str, name: str) -> None:
    made = plan(narrative)
    assert made.language == code
    assert made.is_instrumental
    assert made.narrative == narrative
    assert any(name in n and "instrumental" in n for n in made.notes)
    assert made.title in narrative


def test_a_german_article_is_no_death() -> None:
    assert "sad" not in plan("Die Sonne und die Kinder und die Blumen sind im Garten").moods


def test_the_language_given_wins() -> None:
    assert plan("Der Regen fällt auf die Stadt", language="en").language == "en"
    assert not plan("Der Regen fällt auf die Stadt", language="English").is_instrumental
    assert plan("The rain falls", language="fr").is_instrumental


@pytest.mark.parametrize("narrative", ["🌊🔥", "42", "?!...", "x", "١٢٣", "a" * 4000, "la " * 1300])
def test_hardly_a_narrative_still_makes_a_song(narrative: str) -> None:
    made = plan(narrative)
    assert made.title.strip()
    assert len(made.sections) >= 2


def test_labels_get_ids_of_their_own() -> None:
    assert section_ids(["Intro", "Verse 1", "Chorus", "Verse 2", "Chorus"]) == [
        "intro",
        "verse-1",
        "chorus-1",
        "verse-2",
        "chorus-2",
    ]
    odd = section_ids(["Chorus", "Chorus", "Chorus 1", "日本", "日本", "Chorus-1"])
    assert len(set(odd)) == len(odd)


def test_users_styles_without_any_shipped_one_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"folk": get_style("folk")}
    monkeypatch.setattr("tonewheel.songs.planner.styles", lambda: only)
    assert plan("robots at war").genre == "folk"


def test_the_room_s_names_load_only_when_asked_for() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tonewheel.songs as s; assert 'pydantic' not in sys.modules; "
        "assert all(getattr(s, n) for n in s.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_processes_make_the_same_plan() -> None:
    import os
    import subprocess
    import sys

    code = (
        "from tonewheel.songs import dump_plan, make_plan, plan_request; import sys; "
        "p = make_plan(plan_request(narrative='Robots love the rain, the sea, the war.', seed=9, duration_s=150)); "
        "sys.stdout.write(dump_plan(p, 'yaml'))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
