"""jen1's GeneratedSong: its fields kept exactly, a plan there and back unchanged, foreign songs read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import InvalidPlan
from tonewheel.songs.files import parse_plan
from tonewheel.songs.generated_song import from_generated_song, is_generated_song, to_generated_song
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import styles

# ../shared/contracts.md, "jen1"
CONTRACT = {
    "title", "artist", "genre", "tempo", "time_signature", "key", "mood", "instrumentation", "sections", "lyrics",
    "syllableCount", "wordCount", "model", "seed",
}  # fmt: skip
SECTION = {"id", "label", "start_s", "duration_s", "lyrics", "chords"}


def plan(**options: Any) -> SongPlan:
    return make_plan(plan_request(**{"narrative": "A ship sails home in winter rain.", "seed": 4, **options}))


@pytest.fixture(scope="module")
def song() -> dict[str, Any]:
    return to_generated_song(plan(style="folk", duration_s=180))


def test_the_contract_s_fields_are_all_there(song: dict[str, Any]) -> None:
    assert set(song) >= CONTRACT
    assert all(set(s) >= SECTION for s in song["sections"])
    assert json.loads(json.dumps(song)) == song


def test_sections_start_where_the_one_before_ends(song: dict[str, Any]) -> None:
    at = 0.0
    for s in song["sections"]:
        assert s["start_s"] == pytest.approx(at, abs=1e-5)
        at += s["duration_s"]
    assert at == pytest.approx(180)


def test_older_readers_find_their_keys_where_the_song_has_them(song: dict[str, Any]) -> None:
    by_label: dict[str, Any] = {}
    for s in song["sections"]:
        by_label.setdefault(s["label"], s)
    for key, label in (("verse_1", "Verse 1"), ("verse_2", "Verse 2"), ("chorus", "Chorus"), ("outro", "Outro")):
        assert song[key] == {"lyrics": by_label[label]["lyrics"], "chords": by_label[label]["chords"]}
    jingle = to_generated_song(plan(style="folk", duration_s=10))
    assert "verse_2" not in jingle
    assert "bridge" not in jingle


def test_lyrics_are_flat_text_with_heads_and_are_counted(song: dict[str, Any]) -> None:
    lines = [line for s in song["sections"] for line in s["lyrics"]]
    assert "[Verse 1]\n" in song["lyrics"]
    assert [t for t in song["lyrics"].split("\n") if t and not t.startswith("[")] == lines
    assert song["wordCount"] == sum(len(line.split()) for line in lines) > 20
    assert song["syllableCount"] >= song["wordCount"]


@given(style=st.sampled_from(sorted(styles())), duration_s=st.floats(10, 600), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_a_plan_goes_there_and_back_unchanged(style: str, duration_s: float, seed: int) -> None:
    made = plan(style=style, duration_s=duration_s, seed=seed)
    there = to_generated_song(made)
    assert from_generated_song(there) == made
    assert from_generated_song(json.loads(json.dumps(there))) == made
    assert parse_plan(json.dumps(there)) == made


def test_what_only_the_contract_says_survives(song: dict[str, Any]) -> None:
    bare = {k: v for k, v in song.items() if k in CONTRACT}
    bare["sections"] = [{k: v for k, v in s.items() if k in SECTION} for s in song["sections"]]
    again = to_generated_song(from_generated_song(bare))
    assert {k: again[k] for k in CONTRACT - {"sections"}} == {k: song[k] for k in CONTRACT - {"sections"}}
    assert [{k: s[k] for k in SECTION} for s in again["sections"]] == bare["sections"]


def test_a_song_with_the_older_keys_alone_is_read() -> None:
    made = from_generated_song(
        {
            "title": "Old",
            "tempo": 120,
            "key": "Am",
            "verse_1": {"lyrics": ["a", "b"], "chords": ["Am", "F", "C", "G"]},
            "chorus": {"lyrics": ["c"], "chords": ["F", "G"]},
            "bridge": {"lyrics": [], "chords": ["Dm", "G"]},
            "outro": {"lyrics": []},
        }
    )
    assert [s.label for s in made.sections] == ["Verse 1", "Chorus", "Bridge", "Chorus", "Outro"]
    assert made.sections[0].duration_s == pytest.approx(8)
    assert made.duration_s == pytest.approx(sum(s.duration_s for s in made.sections))


def test_lengths_come_from_the_starts_or_are_shared_out() -> None:
    sections = [{"label": "Verse", "start_s": 0}, {"label": "Chorus", "start_s": 12}, {"label": "Outro", "start_s": 24}]
    made = from_generated_song({"title": "x", "tempo": 100, "duration_s": 30, "sections": sections, "mood": ""})
    assert [round(s.duration_s, 6) for s in made.sections] == [12, 12, 6]


def test_a_song_without_a_seed_gets_the_same_one_each_time() -> None:
    foreign = {"title": "x", "tempo": 60, "mood": "sad", "sections": [{"label": "Verse", "duration_s": 20}]}
    assert from_generated_song(foreign).seed == from_generated_song(dict(foreign)).seed
    assert from_generated_song(foreign | {"title": "y"}).seed != from_generated_song(foreign).seed


def test_instruments_by_name_get_the_role_of_their_family() -> None:
    foreign = {"title": "x", "tempo": 60, "mood": "sad", "sections": [{"label": "Verse", "duration_s": 20}]}
    made = from_generated_song(foreign | {"instrumentation": ["Rhodes", "double bass", "drums", "kazoo"]})
    assert [i.role for i in made.instrumentation] == ["chords", "bass", "drums", "chords"]
    assert made.moods == ("sad",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tempo": "quick"}, "tempo: write a number"),
        ({"sections": []}, "sections: there are none"),
        ({"sections": [{"label": "Verse", "duration_s": -2}]}, "sections[0].duration_s"),
        ({"sections": [{"label": "Verse", "duration_s": 20, "chords": ["H"]}]}, "chord 'H'"),
        ({"sections": [{"label": "Verse", "duration_s": 2}]}, "duration_s: must be at least 10"),
        ({"duration_s": 50}, "make them agree"),
        ({"tempo": 0}, "tempo"),
        ({"time_signature": "0/0"}, "time_signature"),
    ],
)
def test_a_faulty_song_is_told_in_one_line(change: dict[str, Any], said: str) -> None:
    foreign = {"title": "x", "tempo": 60, "mood": "sad", "sections": [{"label": "Verse", "duration_s": 20}]}
    with pytest.raises(InvalidPlan) as refused:
        from_generated_song(foreign | change)
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_songs_and_plans_are_told_apart(song: dict[str, Any]) -> None:
    assert is_generated_song(song)
    assert is_generated_song({"title": "x", "verse_1": {}})
    assert not is_generated_song(plan().to_dict())
    assert not is_generated_song([1])
