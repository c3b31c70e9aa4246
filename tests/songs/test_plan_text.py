"""Text from anywhere becomes safe text; the language it is in is told; what is wrong is said in one line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import InvalidRequest, TonewheelError, UnknownName
from tonewheel.songs.imagery import english_content
from tonewheel.songs.language import detect_language, is_english, language_code, language_name
from tonewheel.songs.request import PlanRequest, plan_request
from tonewheel.songs.text import clean_lyrics, clean_text, clip, sentences


@given(st.text(max_size=600))
@settings(max_examples=200, deadline=None)
def test_cleaned_text_holds_nothing_invisible(text: str) -> None:
    try:
        cleaned = clean_text(text)
    except ValueError as e:
        assert "empty" in str(e)
        return
    assert cleaned == unicodedata.normalize("NFC", cleaned)
    for char in cleaned:
        assert char == "\n" or unicodedata.category(char) not in ("Cc", "Cs", "Co", "Cn")
        assert unicodedata.category(char) != "Cf" or char in "\u200c\u200d"
    assert clean_text(cleaned) == cleaned


def test_emoji_families_and_persian_words_keep_their_joiners() -> None:
    family = "👨\u200d👩\u200d👧"
    assert clean_text(f"hello {family}") == f"hello {family}"
    assert clean_text("می\u200cخواهم") == "می\u200cخواهم"
    assert clean_text("zero\u200bwidth\u200djoin") == "zerowidthjoin"


def test_direction_overrides_and_controls_are_dropped() -> None:
    assert clean_text("abc\u202e\x00\x1b[31mdef") == "abc[31mdef"
    assert clean_text("שלום\u200f עולם") == "שלום עולם"


def test_whitespace_is_folded_and_lines_stay() -> None:
    assert clean_text(" a\t b\r\n\r\n  c\u2028d ") == "a b\nc\nd"


def test_lyrics_keep_their_blank_lines() -> None:
    assert clean_lyrics("\n one  \n\n two\r\nthree\n") == "one\n\ntwo\nthree"


@pytest.mark.parametrize("text", ["", "   \n\t ", "\x00\x01", "\u200b\u202e\ufeff", "\u0301"])
def test_nothing_to_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        plan_request(narrative=text)


def test_ten_megabytes_are_refused_by_their_number() -> None:
    with pytest.raises(InvalidRequest, match=r"the narrative has 10,000,000 characters, at most 4,000"):
        plan_request(narrative="a " * 5_000_000)


def test_four_thousand_characters_are_allowed_and_one_more_is_not() -> None:
    assert len(str(plan_request(narrative="a" * 4000).narrative)) == 4000
    with pytest.raises(InvalidRequest, match="4,001"):
        plan_request(narrative="a" * 4001)
    assert plan_request(narrative=" " * 8000 + "a").narrative == "a"


BAD: list[tuple[dict[str, object], str]] = [
    ({"duration_s": float("nan")}, "duration_s"),
    ({"duration_s": float("inf")}, "duration_s"),
    ({"duration_s": -5}, "at least 10"),
    ({"duration_s": 0}, "at least 10"),
    ({"duration_s": 9.99}, "at least 10"),
    ({"duration_s": 601}, "at most 600"),
    ({"duration_s": 10**400}, "duration_s"),
    ({"duration_s": "ten"}, "write a number"),
    ({"tempo": 10}, "at least 30"),
    ({"tempo": float("nan")}, "tempo"),
    ({"seed": -1}, "at least 0"),
    ({"seed": 2**64}, "at most 9223372036854775807"),
    ({"seed": 1.5}, "whole number"),
    ({"key": "H moll"}, "A minor"),
    ({"moods": "hapy"}, "happy"),
    ({"moods": ["sad"] * 9}, "at most 4"),
    ({"language": "klingon!"}, "language"),
    ({"title": ""}, "title is empty"),
    ({"title": "x" * 100}, "at most 80"),
    ({"titel": "x"}, "did you mean title"),
    ({"narrative": 5}, "write a text"),
    ({"lyrics": "la", "instrumental": True}, "exclude"),
    ({"lyrics": "x" * 100_000}, "at most 20,000"),
]


@pytest.mark.parametrize(("given_values", "said"), BAD)
def test_a_bad_request_is_one_line_that_says_what_to_do(given_values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan_request(**{"narrative": "a ship", **given_values})
    assert said in refused.value.message
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 700


def test_moods_may_be_parted_by_commas() -> None:
    assert plan_request(narrative="x", moods=["sad, calm", "Dreamy"]).moods == ("sad", "calm")


def test_a_request_without_anything_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="narrative or lyrics"):
        plan_request()


names = st.sampled_from(sorted(PlanRequest.model_fields))
values = st.none() | st.text(max_size=30) | st.floats() | st.integers() | st.booleans() | st.lists(st.text(max_size=5))


@given(st.dictionaries(names, values, max_size=6))
@settings(max_examples=250, deadline=None)
def test_no_request_ends_in_anything_but_a_request_or_our_error(given_values: dict[str, object]) -> None:
    try:
        assert isinstance(plan_request(**given_values), PlanRequest)
    except TonewheelError as e:
        assert e.exit_code == 2
        assert "\n" not in e.message


# ── language ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The boats never returned that winter.", "en"),
        ("lofi beats, rainy night, chill, coffee, study, vinyl crackle, mellow, jazz piano, window, city", "en"),
        ("x", "en"),
        ("🌊🔥 123 !!!", "en"),
        ("Der Regen fällt auf die Stadt und ich warte", "de"),
        ("El mar no tiene fin y yo te espero", "es"),
        ("Je marche dans la rue avec mon chien", "fr"),
        ("O mar não tem fim e eu espero por você", "pt"),
        ("Il mare non ha fine e io aspetto una lettera", "it"),
        ("De zee heeft geen einde en ik wacht op jou", "nl"),
        ("Havet har inget slut och jag väntar på dig", "sv"),
        ("Morze nie ma końca i czekam na ciebie", "pl"),
        ("Denizin sonu yok ve ben seni bekliyorum", "tr"),
        ("雨が降っている夜", "ja"),
        ("夜里下着雨", "zh"),
        ("비가 오는 밤", "ko"),
        ("Ночью идёт дождь", "ru"),
        ("Вночі йде дощ і їде поїзд", "uk"),
        ("المطر في الليل", "ar"),
        ("שלום עולם", "he"),
        ("रात में बारिश", "hi"),
        ("Η βροχή τη νύχτα", "el"),
        ("ฝนตกตอนกลางคืน", "th"),
    ],
)
def test_languages_are_told_apart(text: str, code: str) -> None:
    assert detect_language(text, english_content()) == code


def test_languages_are_taken_by_code_or_name() -> None:
    assert language_code("German") == "de"
    assert language_code("pt-BR") == "pt-BR"
    assert language_code("EN_us") == "en-us"
    assert is_english("en-GB")
    assert language_name("de-AT") == "German"
    with pytest.raises(UnknownName):
        language_code("not a language")


def test_sentences_end_at_signs_and_lines_of_any_script() -> None:
    assert sentences("One. Two! Three?\nFour 五。六。") == ["One.", "Two!", "Three?", "Four 五。", "六。"]


def test_clipping_cuts_at_a_word() -> None:
    assert clip("the long and winding road", 15) == "the long and"
    assert clip("abcdefghijkl", 5) == "abcde"
