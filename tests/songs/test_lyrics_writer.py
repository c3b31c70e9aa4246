"""Whole lyrics: a chorus that comes back, verses of the story, no couplet twice, and any input taken."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.songs.lyrics import MOODS, THEMES, Lyrics, hook_of, write_lyrics
from tonewheel.songs.lyrics.clauses import clauses
from tonewheel.songs.lyrics.couplets import all_couplets
from tonewheel.songs.lyrics.couplets import fit as couplet_fit
from tonewheel.songs.plan import Section

STORY = (
    "An old lighthouse keeper watches the sea every night, waiting for a ship that will never come home. "
    "He loved her once, and the light still burns."
)
FORM = [
    ("intro", "intro", 1), ("verse-1", "verse", 4), ("pre-1", "pre-chorus", 2), ("chorus-1", "chorus", 4),
    ("verse-2", "verse", 4), ("chorus-2", "chorus", 4), ("bridge", "bridge", 4), ("chorus-3", "chorus", 8),
    ("outro", "outro", 2),
]  # fmt: skip
ROLES = "intro verse pre-chorus chorus bridge instrumental solo break drop outro build".split()  # noqa: SIM905
LONG_FORM = [(f"{role}-{i}", role, 8) for i, role in enumerate(["verse", "chorus", "verse", "bridge"] * 4)]
PAIRS = {c.lines for c in all_couplets()}


def song(narrative: str = STORY, seed: int = 1, **given: object) -> Lyrics:
    form = given.pop("form", FORM)
    return write_lyrics(narrative, form, ("melancholic",), ("sea", "love"), seed, **given)  # type: ignore[arg-type]


def couplets_in(lyrics: Lyrics) -> Counter[tuple[str, str]]:
    """Each couplet by how often it is sung: both its lines within four lines of one section."""
    found: Counter[tuple[str, str]] = Counter()
    for lines in lyrics.lines.values():
        for i, line in enumerate(lines):
            found.update((line, other) for other in lines[i + 1 : i + 3] if (line, other) in PAIRS)
    return found


def test_every_slot_gets_exactly_its_lines() -> None:
    lyrics = song()
    assert [(key, len(lines)) for key, lines in lyrics.lines.items()] == [(key, n) for key, _, n in FORM]


def test_a_verse_is_the_story_answered_by_a_couplet() -> None:
    told = {c.text for c in (*clauses(STORY), *clauses(STORY, fine=True))}
    for key in ("verse-1", "verse-2"):
        first, second, third, fourth = song().lines[key]
        assert first in told and third in told
        assert (second, fourth) in PAIRS


def test_the_chorus_is_the_same_each_time_and_calls_the_title() -> None:
    lyrics = song()
    short, again, long = (lyrics.lines[f"chorus-{i}"] for i in (1, 2, 3))
    assert short == again == long[:4]
    assert lyrics.title == "Old Lighthouse Keeper"
    assert any("lighthouse keeper" in line.casefold() for line in short)


@pytest.mark.parametrize("narrative", [STORY, "robots", "", "A cat sleeps in the sun. It dreams of mice."])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_couplet_is_sung_twice_in_ten_minutes(narrative: str, seed: int) -> None:
    counts = couplets_in(song(narrative, seed, form=LONG_FORM))
    assert len(counts) >= 30
    assert [pair for pair, n in counts.items() if n > 1] == []


def test_no_clause_is_sung_twice_in_the_verses() -> None:
    lyrics = song(form=LONG_FORM)
    told = {c.text for c in (*clauses(STORY), *clauses(STORY, fine=True))}
    sung = Counter(line for key, lines in lyrics.lines.items() if "verse" in key for line in lines if line in told)
    assert sung and max(sung.values()) == 1


def test_a_long_story_is_told_from_beginning_to_end() -> None:
    story = " ".join(f"The {a} {b} by the {c}." for a, b, c in zip(
        ["baker", "sailor", "teacher", "piper", "hunter", "tailor", "farmer", "miller"],
        ["waited", "rested", "listened", "whistled", "slept", "sang", "danced", "cried"],
        ["river", "harbor", "school", "fountain", "forest", "window", "stable", "water"], strict=True))  # fmt: skip
    lines = song(story, form=[("verse-1", "verse", 4), ("verse-2", "verse", 4)]).lines
    told = [line for part in lines.values() for line in part[::2]]
    order = [story.index(line) for line in told]
    assert len(told) == 4 and order == sorted(order)
    assert order[0] < len(story) / 4 and order[-1] > len(story) * 0.7


def test_the_same_seed_gives_the_same_words_and_another_seed_others() -> None:
    assert song() == song()
    assert len({str(song(seed=seed).lines) for seed in range(6)}) == 6


def test_different_narratives_give_different_lyrics() -> None:
    stories = [STORY, "robots", "robot", "🙂", "🙂🙂", "90s", "A cat sleeps in the sun", "A dog sleeps in the sun"]
    assert len({str(song(story).lines) for story in stories}) == len(stories)


def test_a_given_title_is_the_hook() -> None:
    lyrics = song(title="Paper Boats")
    assert lyrics.title == "Paper Boats"
    assert "Paper Boats" in " ".join(lyrics.lines["chorus-1"])
    in_story = song("The paper boats went down the stream", title="Paper Boats")
    assert "paper boats" in " ".join(in_story.lines["chorus-1"]).casefold()


def test_a_title_too_long_to_sing_is_kept_as_the_title_only() -> None:
    title = "Concerning the Unexpected Disappearance of the Municipal Library"
    lyrics = song(title=title)
    assert lyrics.title == title
    assert title not in " ".join(lyrics.lines["chorus-1"])


def test_the_hook_of_a_narrative_is_its_title() -> None:
    assert hook_of(STORY, 1) == song().title
    assert hook_of("", 5) == hook_of("", 5) != ""


@pytest.mark.parametrize("mood", MOODS)
def test_couplets_suit_the_mood(mood: str) -> None:
    lyrics = write_lyrics("", [("bridge", "bridge", 12)], (mood,), (), 7)
    tagged = {c.lines: c for c in all_couplets()}
    near = [couplet_fit(tagged[pair], (mood,), ()) for pair in couplets_in(lyrics)]
    assert len(near) == 6
    assert min(near) > 0


@pytest.mark.parametrize("theme", THEMES)
def test_couplets_suit_the_theme(theme: str) -> None:
    lyrics = write_lyrics("", [("bridge", "bridge", 8)], ("calm",), (theme,), 7)
    tagged = {c.lines: c for c in all_couplets()}
    assert sum(theme in tagged[pair].themes for pair in couplets_in(lyrics)) >= 3


def test_unknown_moods_and_themes_carry_no_weight() -> None:
    plain = write_lyrics(STORY, FORM, ("calm",), ("sea",), 1)
    assert write_lyrics(STORY, FORM, ("wobbly", "calm"), ("quantum", "sea"), 1) == plain


@settings(max_examples=60, deadline=None)
@given(
    narrative=st.text(max_size=400),
    slots=st.lists(
        st.tuples(
            st.sampled_from(ROLES),
            st.integers(0, 13),
        ),
        max_size=8,
    ),
    moods=st.lists(st.sampled_from([*MOODS, "odd"]), max_size=3),
    themes=st.lists(st.sampled_from([*THEMES, "odd"]), max_size=3),
    seed=st.integers(0, 2**63 - 1),
    title=st.none() | st.text(max_size=120),
)
def test_any_narrative_gives_lines_a_song_plan_takes(
    narrative: str, slots: list[tuple[str, int]], moods: list[str], themes: list[str], seed: int, title: str | None
) -> None:
    form = [(f"s{i}", role, n) for i, (role, n) in enumerate(slots)]
    lyrics = write_lyrics(narrative, form, moods, themes, seed, title)
    assert 0 < len(lyrics.title) <= 80
    assert [(key, len(lines)) for key, lines in lyrics.lines.items()] == [(key, n) for key, _, n in form]
    for key, lines in lyrics.lines.items():
        Section(id=key, label="Verse", duration_s=10, lyrics=lines)
        assert all(line.strip() and len(line) <= 300 for line in lines)
        assert not any(unicodedata.category(c) in ("Cc", "Cs") for line in lines for c in line)


def test_awkward_narratives_cost_no_fortune() -> None:
    for narrative in ("x" * 500_000, "a " * 200_000, "and the sea " * 50_000, "(" * 10_000, "song about " * 20_000):
        assert song(narrative).lines["verse-1"]
