"""jen1 as its clients know it (../shared/contracts.md, "jen1")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import Service, error_of, events, service

CONTRACT = {
    "title", "artist", "genre", "tempo", "time_signature", "key", "mood", "instrumentation", "sections", "lyrics",
    "syllableCount", "wordCount", "model", "seed",
}  # fmt: skip
SECTION = {"id", "label", "start_s", "duration_s", "lyrics", "chords"}
STORY = "A paper boat sails down the gutter to the sea."


def generate(jen1: Service, **body: Any) -> dict[str, Any]:
    answer = jen1.post("/generate", {"narrative": STORY, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("path", ["/generate", "/predict"])
def test_a_narrative_becomes_a_generated_song(jen1: Service, path: str) -> None:
    song = jen1.post(path, {"narrative": STORY, "duration": 180, "options": {"seed": 4}}).json()
    assert set(song) >= CONTRACT
    assert all(set(s) >= SECTION for s in song["sections"])
    assert song["seed"] == 4
    assert song["metadata"]["seed"] == 4
    for key in ("verse_1", "chorus", "outro"):
        assert set(song[key]) == {"lyrics", "chords"}
    assert song["lyrics"].startswith("[")


@pytest.mark.parametrize("duration", [10, 30, 47, 600])
def test_the_duration_is_honoured(jen1: Service, duration: int) -> None:
    song = generate(jen1, duration=duration)
    assert sum(s["duration_s"] for s in song["sections"]) == pytest.approx(duration, abs=1e-3)


def test_without_a_duration_it_is_thirty_seconds(jen1: Service) -> None:
    assert sum(s["duration_s"] for s in generate(jen1)["sections"]) == pytest.approx(30, abs=1e-3)


def test_options_are_followed_and_the_seed_repeats_the_song(jen1: Service) -> None:
    options = {"genre": "folk", "mood": "calm", "tempo": 96, "key": "G major", "title": "Boat", "seed": 11}
    first, second = generate(jen1, options=options), generate(jen1, options=options)
    assert (first["genre"], first["mood"], first["key"], first["title"]) == ("folk", "calm", "G major", "Boat")
    assert {k: v for k, v in first.items() if k != "metadata"} == {k: v for k, v in second.items() if k != "metadata"}
    assert generate(jen1)["seed"] != generate(jen1)["seed"]


def test_a_generated_song_in_the_options_is_validated_and_returned(jen1: Service) -> None:
    own = generate(jen1, duration=60) | {"title": "Mine", "extra": {"a": 1}}
    del own["metadata"]
    back = generate(jen1, options={"generatedSong": own})
    assert {k: v for k, v in back.items() if k != "metadata"} == own
    small = {"title": "Old", "tempo": 90, "verse_1": {"lyrics": ["Hello"], "chords": ["C", "Am"]}, "lyrics": "Hello"}
    back = generate(jen1, options={"generatedSong": small})
    assert set(back) >= CONTRACT
    assert back["lyrics"] == "Hello"
    assert back["model"] == "given"  # nobody knows who made it
    assert sum(s["duration_s"] for s in back["sections"]) == pytest.approx(30)
    for broken in ({**own, "tempo": "fast"}, {**own, "key": "H"}, "a song", [1], {"title": "x"}):
        answer = jen1.post("/generate", {"narrative": STORY, "options": {"generatedSong": broken}})
        assert answer.status_code == 422, broken


@pytest.mark.parametrize(
    "body",
    [
        {}, {"narrative": ""}, {"narrative": "   "}, {"narrative": "x" * 4001}, {"narrative": None},
        {"narrative": STORY, "duration": 9}, {"narrative": STORY, "duration": 601},
        {"narrative": STORY, "duration": 30.5}, {"narrative": STORY, "duration": True},
        {"narrative": STORY, "options": []}, {"narrative": STORY, "options": {"tempo": 9000}},
        {"narrative": STORY, "options": {"seed": -1}}, {"narrative": STORY, "options": {"seed": True}},
        {"narrative": STORY, "options": {"style": "no such style"}}, {"narrative": STORY, "options": {"key": "H"}},
    ],
)  # fmt: skip
def test_a_wrong_request_is_422(jen1: Service, body: dict[str, Any]) -> None:
    answer = jen1.post("/generate", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]["message"]


def test_both_ends_of_the_narrative_are_taken(jen1: Service) -> None:
    assert generate(jen1, narrative="x")["title"]
    assert generate(jen1, narrative=("word " * 800).strip()[:4000])["title"]


def test_it_says_the_truth_about_torch(jen1: Service, tmp_path: Path) -> None:
    said = jen1.get("/debug/torch").json()
    assert (said["model_loaded"], said["model"], said["device"]) == (False, None, "cpu")
    assert isinstance(said["has_torch"], bool)
    assert jen1.get("/debug/model").json()["model"] == "template"
    with service("jen1", tmp_path, USE_TORCH="1", JEN1_MODEL="gpt2") as running:
        said = running.get("/debug/torch").json()
        assert (said["use_torch"], said["model_loaded"]) == (True, False)
        song = running.post("/generate", {"narrative": STORY}).json()
        assert song["model"] == "template"
        assert any("USE_TORCH" in note for note in song["notes"])


def test_a_plan_is_streamed_too(jen1: Service) -> None:
    with jen1.client.stream("POST", "/predict/stream", json={"narrative": STORY}) as answer:
        told = list(events(answer))
    assert told[-1][0] == "result"
    assert set(told[-1][1]) >= CONTRACT


def test_audio_in_accept_changes_nothing_where_there_is_none(jen1: Service) -> None:
    answer = jen1.post("/generate", {"narrative": STORY}, headers={"accept": "audio/wav"})
    assert answer.json()["title"]


def test_errors_have_the_common_shape(jen1: Service) -> None:
    detail = error_of(jen1.post("/generate", {"narrative": STORY, "duration": 5}), 422, "invalid_request")
    assert detail["param"] == "duration"
    error_of(jen1.get("/generate"), 405, "method_not_allowed")
