"""What is lifted from a narrative: clauses that stand alone, and a hook that is a noun phrase."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.songs.lyrics.clauses import MAX_SYLLABLES, MIN_SYLLABLES, clauses, subject_of
from tonewheel.songs.lyrics.grammar import tokens, word_list
from tonewheel.songs.lyrics.hooks import find_hook
from tonewheel.songs.syllables import count_syllables

STORIES = {
    "keeper": "An old lighthouse keeper watches the sea every night, waiting for a ship that will never come home. "
    "He loved her once, and the light still burns.",
    "hometown": "I left my hometown at nineteen with a suitcase and forty dollars, and I never called my mother. "
    "Now she is gone and the phone in the kitchen still rings in my dreams.",
    "robot": "A robot who learns to dance in an abandoned factory, until the power goes out and she keeps moving in "
    "the dark because the music never needed electricity.",
    "raft": "Two kids build a raft out of old doors and sail it down the river all summer long. They swear they'll "
    "never grow up. In September the rain comes and the raft goes under the bridge without them.",
    "soldier": "The war ended on a Tuesday but my brother did not come back. His boots are still by the door.",
    "drive": "Midnight city, neon rain, driving too fast with the windows down and nobody to call",
}


def words_of(text: str) -> str:
    return " " + " ".join(re.findall(r"[\w'’]+", text.casefold())) + " "


@pytest.mark.parametrize("story", STORIES.values(), ids=list(STORIES))
def test_a_clause_is_a_run_of_words_of_the_narrative(story: str) -> None:
    found = clauses(story)
    assert len(found) >= 2
    for clause in found:
        assert words_of(clause.text) in words_of(story)
        assert MIN_SYLLABLES <= count_syllables(clause.text) <= MAX_SYLLABLES
        assert clause.syllables == count_syllables(clause.text)
        assert clause.text[0].isupper()


@pytest.mark.parametrize("story", STORIES.values(), ids=list(STORIES))
@pytest.mark.parametrize("fine", [False, True])
def test_no_clause_begins_or_ends_in_a_word_that_wants_a_neighbour(story: str, fine: bool) -> None:
    for clause in clauses(story, fine):
        run = tokens(clause.text)
        assert run[-1].word not in word_list("never_last"), clause.text
        assert run[-1].tag not in ("DET", "PREP", "COORD", "SUB"), clause.text
        assert run[0].word not in (*word_list("never_first"), "and", "or", "but"), clause.text


def test_clauses_come_in_the_order_of_the_story_and_none_twice() -> None:
    story = STORIES["raft"]
    places = [words_of(story).index(words_of(c.text)) for c in clauses(story)]
    assert places == sorted(places)
    repeated = clauses(f"{story} {story}")
    assert len({c.text for c in repeated}) == len(repeated)


def test_the_clauses_a_lyricist_would_take() -> None:
    assert [c.text for c in clauses(STORIES["soldier"])] == [
        "The war ended on a Tuesday",
        "My brother did not come back",
        "His boots are still by the door",
    ]
    assert [c.text for c in clauses(STORIES["keeper"], fine=True)] == [
        "An old lighthouse keeper watches the sea",
        "Waiting for a ship that will never come home",
        "He loved her once",
        "The light still burns",
    ]


@pytest.mark.parametrize(
    ("narrative", "subject"),
    [
        ("Write me a sad lofi song about a cat on the roof", "a cat on the roof"),
        ("a lofi song about paper boats", "paper boats"),
        ("Please make an upbeat, happy summer track for my sister", "my sister"),
        ("A slow piano ballad about leaving home at 90 bpm", "leaving home"),
        ("The old song of the river is still in my ears", "The old song of the river is still in my ears"),
        ("An old man walks the pier", "An old man walks the pier"),
    ],
)
def test_what_asks_for_a_song_is_not_sung(narrative: str, subject: str) -> None:
    if "still in my ears" in narrative:
        assert subject_of(narrative).endswith("is still in my ears")
    else:
        assert subject_of(narrative) == subject


@pytest.mark.parametrize(
    "narrative", ["", "robots", "90s", "🙂🙂", "月が綺麗ですね", "1 2 3 4", "...", "qzx vbn mkl pqr wst"]
)
def test_what_is_no_english_prose_gives_no_clause(narrative: str) -> None:
    assert clauses(narrative) == ()


HOOKS = {
    "An old lighthouse keeper watches the sea every night": "Old Lighthouse Keeper",
    "The quiet machine in my basement hums all night": "Quiet Machine",
    "Paper boats drift down the gutter after the storm": "Paper Boats",
    "My grandmother's kitchen smelled of cardamom": "Grandmother's Kitchen",
    "They built a city of glass and it fell in one night": "City of Glass",
    "Dancing in the rain with you": "Dancing in the Rain",
    "happy summer song about friends at the beach": "Friends at the Beach",
    'a song called "Salt and Stone" about leaving': "Salt and Stone",
    "A robot who learns to dance in an abandoned factory": "Abandoned Factory",
    "robots": "Robots",
    "I miss you": "I Miss You",
    "The city never sleeps, but tonight it holds its breath": "The City Never Sleeps",
}


@pytest.mark.parametrize(("narrative", "title"), HOOKS.items())
def test_the_hook_is_the_image_of_the_story(narrative: str, title: str) -> None:
    hook = find_hook(narrative, 1)
    assert hook is not None
    assert hook.title == title
    assert hook.sung.casefold() == title.casefold()


@pytest.mark.parametrize(
    ("narrative", "never"),
    [
        ("The cat rains down on Paris", "Cat Rains"),
        ("Every tea goes cold in this house", "Tea Goes"),
        ("The keeper watches the sea", "Keeper Watches"),
        ("A boat sails at dawn", "Boat Sails"),
        ("The old engine hums and the belt turns", "Engine Hums"),
        ("My brother works in the mine", "Brother Works"),
        ("When night falls the wolf howls", "Night Falls"),
        ("The rain stops and the street shines", "Rain Stops"),
    ],
)
def test_a_verb_is_not_taken_for_a_noun(narrative: str, never: str) -> None:
    for seed in range(12):
        hook = find_hook(narrative, seed)
        assert hook is None or never not in hook.title


def test_names_keep_their_capitals_inside_a_line() -> None:
    hook = find_hook("All the rooftops of Paris shine", 1)
    assert hook is not None
    assert hook.sung == "rooftops of Paris"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), st.integers(0, 2**63 - 1))
def test_any_text_is_taken(text: str, seed: int) -> None:
    for clause in clauses(text):
        assert MIN_SYLLABLES <= clause.syllables <= MAX_SYLLABLES
    hook = find_hook(text, seed)
    assert hook is None or (0 < len(hook.title) <= 80 and hook.sung)
