"""The user's own lyrics are kept word for word, in their order, with room for every line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import InvalidRequest
from tonewheel.songs.own_lyrics import MIN_LINE_S, parse_lyrics
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import styles

SONG = """[Intro]

[Verse 1]
I walk along the river
The lights are burning low
A letter from my mother
Told me where to go

[Chorus]
Oh, carry me home (carry me home)
Carry — me – home!

[Verse 2]
The train is rolling slowly
The fields are turning gold

[Chorus]

[Guitar Solo]

[Final Chorus]
Carry me, carry me
"""


def plan(lyrics: str, **options: object) -> SongPlan:
    return make_plan(plan_request(**{"lyrics": lyrics, "seed": 3, "duration_s": 120, "style": "folk", **options}))


def sung(made: SongPlan) -> list[str]:
    return [line for s in made.sections for line in s.lyrics]


def test_labels_and_lines_are_kept_word_for_word() -> None:
    made = plan(SONG)
    own = [s for s in made.sections if s.lyrics or s.label in ("Intro", "Guitar Solo")]
    assert [s.label for s in own] == ["Intro", "Verse 1", "Chorus", "Verse 2", "Chorus", "Guitar Solo", "Final Chorus"]
    assert own[2].lyrics == ("Oh, carry me home (carry me home)", "Carry — me – home!")
    assert own[4].lyrics == own[2].lyrics
    assert [s.role for s in own] == ["intro", "verse", "chorus", "verse", "chorus", "solo", "chorus"]


def test_the_lyrics_fill_the_length_exactly() -> None:
    made = plan(SONG)
    assert sum(s.duration_s for s in made.sections) == pytest.approx(120, abs=1e-6)
    bars = [s.duration_s / made.bar_s for s in made.sections]
    assert all(abs(b - round(b)) < 1e-5 for b in bars)
    style = styles()["folk"]
    assert style.tempo.min <= made.tempo <= style.tempo.max


def test_more_lines_get_more_bars() -> None:
    made = plan(SONG)
    by_id = {s.id: s.duration_s for s in made.sections}
    assert by_id["verse-1"] > by_id["verse-2"]


def test_an_intro_and_an_ending_are_added_where_there_is_room() -> None:
    made = plan("[Verse]\nOne line here\nAnd two\n[Chorus]\nSing it\nSing it again", duration_s=60)
    assert made.sections[-1].role == "outro"
    assert made.sections[0].role == "intro"


def test_stanzas_without_labels_become_verses_and_a_chorus() -> None:
    repeated = parse_lyrics("a\nb\n\nc\nd\n\ne\nf\n\nc\nd")
    assert [s.role for s in repeated] == ["verse", "chorus", "verse", "chorus"]
    single = parse_lyrics("a\nb")
    assert [(s.label, s.lines) for s in single] == [("Verse 1", ("a", "b"))]


def test_lines_before_the_first_label_are_a_verse() -> None:
    assert [s.label for s in parse_lyrics("hello\n[Chorus]\nworld")] == ["Verse", "Chorus"]


@pytest.mark.parametrize("label", ["Foo", "Strofe", "123", "日本語"])
def test_an_unknown_label_is_named_with_its_line_and_what_is_allowed(label: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan(f"[Verse]\none\n\n[{label}]\ntwo")
    assert f"[{label}] on line 4" in refused.value.message
    assert "[Pre-Chorus]" in refused.value.message


def test_too_many_lines_say_how_long_the_song_must_be_and_that_length_works() -> None:
    many = "[Verse]\n" + "We are walking down the road tonight\n" * 60
    with pytest.raises(InvalidRequest) as refused:
        plan(many, duration_s=30)
    found = re.search(r"give it (\d+) s or more", refused.value.message)
    assert found
    made = plan(many, duration_s=float(found[1]))
    assert len(sung(made)) == 60


def test_more_lines_than_any_song_holds_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 600 s"):
        plan("[Verse]\n" + "We are walking down the long and winding road\n" * 400, duration_s=600, style="ambient")


def test_labels_without_lines_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no lines"):
        plan("[Verse]\n[Chorus]")


def test_a_line_no_plan_can_hold_is_named() -> None:
    with pytest.raises(InvalidRequest, match="line 2 has 301"):
        plan("[Verse]\n" + "x" * 301)


def test_lyrics_of_another_language_are_kept_and_it_is_said() -> None:
    made = plan(
        "[Strophe]\nDer Regen fällt auf die Stadt\nUnd ich warte auf dich\n[Refrain]\nKomm nach Haus", duration_s=60
    )
    assert made.language == "de"
    assert sung(made) == ["Der Regen fällt auf die Stadt", "Und ich warte auf dich", "Komm nach Haus"]
    assert any("German" in n and "word for word" in n for n in made.notes)


def test_the_title_is_the_chorus_s_first_line() -> None:
    assert plan("[Verse]\nOne\n[Chorus]\nCarry me home!\nYes").title == "Carry me home"
    assert plan("[Verse]\nOne", title="Mine").title == "Mine"


def test_a_narrative_beside_the_lyrics_gives_style_and_mood_only() -> None:
    made = plan("[Verse]\nla la la\nla la", narrative="An angry rock song about my boss", style=None)
    assert made.genre == "rock"
    assert made.moods[0] == "angry"
    assert sung(made) == ["la la la", "la la"]


words = st.text("abcdefghij klmno'é,?!", min_size=1, max_size=40).map(lambda t: " ".join(t.split())).filter(bool)
sections = st.tuples(
    st.sampled_from(["Verse", "Chorus", "Bridge", "Solo", "Intro", "Outro"]), st.lists(words, max_size=6)
)


@given(st.lists(sections, min_size=1, max_size=7), st.floats(10, 600), st.sampled_from(sorted(styles())))
@settings(max_examples=50, deadline=None)
def test_any_lyrics_fit_whole_or_are_refused_in_one_line(
    parts: list[tuple[str, list[str]]], duration_s: float, style: str
) -> None:
    text = "\n".join(line for label, lines in parts for line in (f"[{label}]", *lines))
    try:
        made = plan(text, duration_s=duration_s, style=style)
    except InvalidRequest as e:
        assert "\n" not in e.message
        return
    given_lines = [line for _, lines in parts for line in lines]
    found = sung(made)
    assert set(given_lines) == set(found)
    assert len(found) >= len(given_lines)
    assert sum(s.duration_s for s in made.sections) == pytest.approx(duration_s, abs=1e-6)
    for s in made.sections:
        if s.lyrics:
            assert s.duration_s / len(s.lyrics) >= MIN_LINE_S - 1e-6
