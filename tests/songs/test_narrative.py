"""A narrative is read as a person would: what it asks for, how it feels, what it is about."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import UnknownName
from tonewheel.songs.imagery import MOODS, THEMES, mood_of_word, rank_styles, read_moods, read_themes, stems
from tonewheel.songs.narrative import Reading, read_narrative
from tonewheel.songs.text import clean_text
from tonewheel.styles.library import styles

LIGHTHOUSE = (
    "A lighthouse keeper loved the sea and his wife. Every night he counts the waves. "
    "One winter the boat never returned, and now he lights the lamp for nobody."
)


def read(text: str) -> Reading:
    return read_narrative(text, styles())


@pytest.mark.parametrize(
    ("text", "style", "subject"),
    [
        ("Write me a slow, sad lofi song about a keeper of lights.", "lofi-hip-hop", "a keeper of lights."),
        ("a lo-fi hip hop beat for a rainy Sunday", "lofi-hip-hop", "a rainy Sunday"),
        ("Rock anthem: we will win tonight", "rock", "we will win tonight"),
        ("deep house track about the rooftop", "house", "the rooftop"),
        ("in the style of bossa nova: two lovers at the beach", "bossa-nova", None),
        ("Synthwave. Neon rain on the highway.", "synth-pop", None),
        ("A jazz ballad about the last train", "jazz-ballad", "the last train"),
    ],
)
def test_a_style_asked_for_is_heard_and_not_sung(text: str, style: str, subject: str | None) -> None:
    found = read(text)
    assert found.style == style
    if subject is not None:
        assert found.subject == subject


@pytest.mark.parametrize(
    "text",
    [
        "A house by the sea where my grandmother baked bread",
        "The rock fell into the trap and broke",
        "Her folk came over the hills to dance at the country fair",
        "The club closed and the drill sergeant went home",
    ],
)
def test_everyday_words_in_a_story_ask_for_no_style(text: str) -> None:
    assert read(text).style is None


@pytest.mark.parametrize(
    "text",
    [
        "She wrote a song about the sea and sang it all day",
        "My old guitar plays the song of the sea",
        "The music of the spheres rang out",
        "A piece of bread lay on the table",
    ],
)
def test_a_song_within_the_story_is_no_request(text: str) -> None:
    assert read(text).subject == text


def test_a_genre_nobody_here_plays_finds_the_nearest_and_says_so() -> None:
    found = read("Write a hip-hop song about my street")
    assert found.style in styles()
    assert read("Make a dubstep track about ants").nearest_to == "dubstep"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("lofi in A minor, rain on glass", "A minor"),
        ("D dorian, slow, rain on glass", "D dorian"),
        ("A minor problem kept me awake", None),
        ("A major storm came in a major way", None),
    ],
)
def test_a_key_is_told_from_a_minor_matter(text: str, key: str | None) -> None:
    assert read(text).key == key


def test_a_tempo_in_the_words_is_heard() -> None:
    assert read("techno at 128 bpm about machines").tempo == 128
    assert read("we drove at 900 bpm").tempo is None


@pytest.mark.parametrize(
    ("text", "instrumental"),
    [
        ("Instrumental lo-fi beats to study to", True),
        ("ambient music, no vocals", True),
        ("He was instrumental in the war. No words can say it.", False),
    ],
)
def test_wordless_music_is_asked_for_in_so_many_words(text: str, instrumental: bool) -> None:
    assert read(text).instrumental is instrumental


def test_a_tragic_story_with_love_in_it_is_not_happy() -> None:
    moods = read_moods(LIGHTHOUSE)
    assert "happy" not in moods
    assert moods[0] in ("sad", "melancholic")


def test_one_cheerful_word_is_not_a_happy_story_and_two_are() -> None:
    assert read_moods("A smile crossed the grey road in the rain.")[0] != "happy"
    assert read_moods("My dog makes me laugh and smile all day.")[0] == "happy"


def test_the_end_of_a_story_weighs_double() -> None:
    assert read_moods("She found new hope. He wept for his grief.")[0] == "sad"
    assert read_moods("He wept. At dawn she found new hope and faith.")[0] == "hopeful"


def test_a_denied_mood_is_not_that_mood() -> None:
    assert "happy" not in read_moods("I am not happy, no joy, never laughing.")
    assert "scary" not in read_moods("There are no monsters and I am not afraid of the dark.")


def test_an_asked_mood_comes_first_whatever_the_story_says() -> None:
    assert read("A happy song about a funeral in the rain").moods[0] == "happy"


def test_gloom_outweighs_cheer() -> None:
    assert read_moods("They laughed and danced at the party. He drowned.")[0] == "sad"


@pytest.mark.parametrize(
    ("text", "theme"),
    [
        ("Sailors count the waves", "sea"),
        ("Robots dream of circuits", "machine"),
        ("My grandmother's kitchen", "home"),
        ("Soldiers marched to battle", "war"),
        ("🚀 to the galaxy", "space"),
        ("🌧️☔", "rain"),
    ],
)
def test_themes_are_seen_through_inflections_and_emoji(text: str, theme: str) -> None:
    assert theme in read_themes(text)


def test_moods_and_themes_are_those_the_lyrics_know() -> None:
    lyrics = pytest.importorskip("tonewheel.songs.lyrics")
    assert set(MOODS) == set(lyrics.MOODS)
    assert set(THEMES) == set(lyrics.THEMES)


def test_moods_of_a_user_are_understood_or_refused_with_the_nearest() -> None:
    assert mood_of_word("Dreamy") == "calm"
    assert mood_of_word("sadness") == "sad"
    with pytest.raises(UnknownName, match="happy"):
        mood_of_word("hapy")


def test_styles_are_ranked_by_words_and_moods() -> None:
    ranked = rank_styles("robots dance under neon at the club", ["upbeat"], styles())
    assert ranked[0][1] in ("house", "synth-pop")
    assert rank_styles("rain on the window, coffee, vinyl", ["nostalgic"], styles())[0][1] == "lofi-hip-hop"


def test_every_style_s_moods_are_known_moods() -> None:
    for style in styles().values():
        assert set(style.moods) <= set(MOODS), style.id


def test_stems_find_the_word_behind_the_form() -> None:
    assert "run" in stems("running")
    assert "cry" in stems("cried")
    assert "dance" in stems("dancing")
    assert "story" in stems("stories")


@given(st.text(min_size=1, max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_without_a_fault(text: str) -> None:
    try:
        cleaned = clean_text(text)
    except ValueError:
        return
    found = read(cleaned)
    assert found.subject.strip()
    assert set(found.moods) <= set(MOODS)
    assert set(found.themes) <= set(THEMES)
    assert found == read(cleaned)
