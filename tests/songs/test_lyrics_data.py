"""The couplets, frames and titles: enough of them, well formed, rhymed, none twice."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tonewheel.songs.lyrics.couplets import MOODS, THEMES, all_couplets, last_word
from tonewheel.songs.lyrics.frames import frames
from tonewheel.songs.lyrics.resources import data
from tonewheel.songs.syllables import count_syllables

COUPLETS = all_couplets()

# Spelled endings that sound alike, one family a line. Endings that are spelled alike need no family.
_ALIKE = """
    ade ayed aid | aid ead ed | ain ane | ain en | ains anes | air are ere uare | aisle ile | ait ate eight |
    aph augh | ar are | as uzz oes | ast ed | ates aits | awn one on | ays aze | e ee ea ey c y uay | ead eed |
    eaks eeks | eans eens | ear ere year ier | eart art | eat eet | eath eeth | eech each | eef ief | een in |
    een ine | eese ees eeze | eeve eave | eys ease ees | ends iends | ent eant | er ore | ere ur | ess yes | et
    yet | ew o ough you ue oo | eye igh y ie i ye | eyes ies ize | ide ied | ield ed | ign ine | imb im | io ow
    o oe | ire oir igher | irst orst | ise ies eyes ize | ite ight | ix icks | oal ole oul | oam ome
    | oar ore oor our or | er ire | oards ords
    | ode oad | oes ose ows | oke oak | ome um | one own | one un yone on | ont unt | ood ould |
    oon une | oons unes | oors yours | ords irds | orm arm | ote oat | oud owd | uet ung ue | umb um | ungs ues
    | ute oot | yard ard | years ears eers | eel eal | ow ough | ime yme
"""
FAMILIES = [set(family.split()) for family in _ALIKE.split("|")]


def ending(word: str) -> str:
    found = re.search(r"[aeiouy]+[^aeiouy]*e?s?$", word)
    return found.group() if found else word


def rhymes(first: str, second: str) -> bool:
    one, other = ending(first), ending(second)
    return first != second and (one == other or any({one, other} <= family for family in FAMILIES))


def test_the_rhyme_check_can_fail() -> None:
    assert rhymes("town", "down") and rhymes("said", "bed") and rhymes("sea", "me")
    assert not rhymes("sea", "tide") and not rhymes("love", "love") and not rhymes("stone", "rain")


def test_there_are_enough_couplets_for_every_mood_and_theme() -> None:
    assert len(COUPLETS) >= 400
    moods = Counter(m for c in COUPLETS for m in c.moods)
    themes = Counter(t for c in COUPLETS for t in c.themes)
    assert {m for m in MOODS if moods[m] < 14} == set()
    assert {t for t in THEMES if themes[t] < 10} == set()


def test_every_theme_has_couplets_for_light_and_dark_songs() -> None:
    light = {"happy", "upbeat", "hopeful", "peaceful", "calm", "romantic", "triumphant", "exciting"}
    for theme in THEMES:
        own = [c for c in COUPLETS if theme in c.themes]
        assert sum(bool(c.moods & light) for c in own) >= 5, theme
        assert sum(not c.moods <= light for c in own) >= 5, theme


def test_tags_are_known() -> None:
    for couplet in COUPLETS:
        assert couplet.moods and couplet.moods <= set(MOODS), couplet.lines
        assert couplet.themes <= set(THEMES), couplet.lines
    for kind in ("moods", "opposites", "themes"):
        known = set(THEMES if kind == "themes" else MOODS)
        table = data("affinities")[kind]
        assert set(table) == known
        assert {name for words in table.values() for name in words.split()} <= known


def test_no_line_is_there_twice() -> None:
    lines = Counter(re.sub(r"\W+", " ", line.casefold()).strip() for c in COUPLETS for line in c.lines)
    assert [line for line, n in lines.items() if n > 1] == []


def test_the_lines_of_every_couplet_rhyme() -> None:
    assert [c.lines for c in COUPLETS if not rhymes(last_word(c.first), last_word(c.second))] == []


def test_every_couplet_can_be_sung() -> None:
    for couplet in COUPLETS:
        first, second = map(count_syllables, couplet.lines)
        assert 5 <= first <= 10 and 5 <= second <= 10 and abs(first - second) <= 2, couplet.lines
        for line in couplet.lines:
            assert re.fullmatch(r"[A-Z][A-Za-z ,.'-]*[A-Za-z]", line), line


def test_no_rhyme_is_worn_out() -> None:
    pairs = Counter(tuple(sorted((last_word(c.first), last_word(c.second)))) for c in COUPLETS)
    assert pairs.most_common(1)[0][1] <= 8
    assert pairs[("apart", "heart")] <= 2


def test_there_are_enough_frames_and_each_calls_the_hook() -> None:
    chorus = frames("chorus")
    assert len(chorus) >= 70
    assert len({f.lines for f in chorus}) == len(chorus)
    for frame in (*chorus, *frames("outro"), *frames("tag")):
        assert len(frame.lines) in (1, 2, 4)
        assert any("{hook}" in line for line in frame.lines)
        assert frame.moods <= set(MOODS)
    for mood in MOODS:
        assert sum(mood in f.moods for f in chorus) >= 3, mood


@pytest.mark.parametrize("kind", ["chorus", "outro"])
def test_the_fixed_lines_of_a_frame_rhyme(kind: str) -> None:
    for frame in frames(kind):
        words = [last_word(line.replace("{hook}", "")) if not line.endswith("{hook}") else "" for line in frame.lines]
        pairs = [(0, 1), (2, 3)] if all(words) else [(0, 2), (1, 3)]
        for a, b in pairs:
            if b < len(words) and words[a] and words[b]:
                assert rhymes(words[a], words[b]) or words[a] == words[b], frame.lines


@pytest.mark.parametrize("kind", ["chorus", "outro", "tag"])
def test_a_hook_stands_where_any_noun_phrase_fits(kind: str) -> None:
    """Called out or set apart: begins the line or follows a comma, a call or a sign; never after an article."""
    calls = ("Oh", "Hey", "Goodnight", "Goodbye", "Enough", "Softly", "Slowly", "Mm")
    opens = "|".join(
        [*(f"{call}, " for call in (*calls, "Hush now", "Hold on", "Go, go", "Come on", "Sing it")), "Oh,"]
    )
    before = re.compile(rf"(?:^|, |\? |{opens})$")
    for frame in frames(kind):
        for line in frame.lines:
            for found in re.finditer(r"\{hook\}", line):
                assert before.search(line[: found.start()]), line
                assert re.match(r"(?:,|$)", line[found.end() :]), line


def test_a_long_hook_is_called_once_in_a_row() -> None:
    for frame in frames("chorus"):
        assert "keeper, old" not in " ".join(frame.filled("old lighthouse keeper")).lower()


def test_turns_stand_without_a_rhyme_and_titles_can_be_sung() -> None:
    turns = [f.lines[0] for f in frames("turn")]
    assert len(turns) >= 30 and len(set(turns)) == len(turns)
    titles = data("titles")
    assert set(titles["themes"]) == set(THEMES)
    assert set(titles["moods"]) == set(MOODS)
    every = [t for bank in titles.values() for row in bank.values() for t in row]
    assert len(set(every)) == len(every)
    assert all(1 <= len(t.split()) <= 5 and count_syllables(t) <= 8 for t in every)
