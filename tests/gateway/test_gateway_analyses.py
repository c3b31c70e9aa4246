"""POST /v1/analyses: uploads and songs, without weights and with; hostile files are told so and harm nobody."""

from __future__ import annotations

import base64
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from served import Served, serving

for _helpers in ("models", "audio"):  # their makers of checkpoints, signals and hostile files
    sys.path.append(str(Path(__file__).parents[1] / _helpers))

from hostile import HOSTILE, sound  # noqa: E402
from signals import chords, drums, stereo  # noqa: E402

RATE = 44_100


@pytest.fixture(scope="module")
def groove() -> bytes:
    """20 s at 120 BPM in A minor, as FLAC."""
    beat = drums(120, 20, {"kick": "x---x---x---x---", "snare": "----x-------x---", "hat": "x-x-x-x-x-x-x-x-"})
    harmony = chords(120, 20, [(57, 60, 64), (50, 53, 57), (52, 56, 59), (57, 60, 64)])
    return sound(stereo(np.clip(0.6 * beat + 0.5 * harmony, -1, 1)), format="FLAC")


def body(data: bytes, **more: Any) -> dict[str, Any]:
    return {"audio": base64.b64encode(data).decode(), **more}


def test_without_weights_it_tells_what_needs_none_and_says_who_told(server: Served, groove: bytes) -> None:
    answer = server.client.post("/v1/analyses", json=body(groove))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["duration_s"], said["sample_rate"], said["channels"], said["format"]) == (20, RATE, 2, "FLAC 16-bit")
    assert said["tempo"]["model"] == said["beats"]["model"] == "onset"
    assert said["tempo"]["bpm"] == pytest.approx(120, rel=0.01)
    assert said["beats"]["tempo"]["bpm"] == pytest.approx(120, rel=0.01)
    assert len(said["beats"]["beats"]) == pytest.approx(40, abs=4)
    assert said["key"]["key"] in ("A minor", "C major")
    assert -40 < said["loudness"]["lufs"] < 0
    assert sum(said["spectrum"].values()) == pytest.approx(100, abs=5)
    for tag in ("tag_model", "embeddings", "genre", "mood", "zero_shot"):
        assert said[tag] is None  # nothing pretends to be there


def test_only_what_was_asked_for_is_told(server: Served, groove: bytes) -> None:
    said = server.client.post("/v1/analyses", json=body(groove, tasks=["loudness"])).json()
    assert said["loudness"]["lufs"] < 0
    assert said["tempo"] is said["beats"] is said["key"] is said["spectrum"] is None


def test_a_form_is_taken_too(server: Served, groove: bytes) -> None:
    answer = server.client.post("/v1/analyses", files={"audio": ("a.flac", groove)}, data={"tasks": '["key"]'})
    assert answer.status_code == 200, answer.text
    assert answer.json()["key"]["key"]


def test_a_song_of_the_library_is_analysed_by_its_id(server: Served, made: dict[str, Any]) -> None:
    said = server.client.post("/v1/analyses", json={"song_id": made["id"], "tasks": ["loudness", "beats"]}).json()
    assert said["duration_s"] == pytest.approx(made["duration_s"], abs=0.1)
    assert said["loudness"]["lufs"] == pytest.approx(-14, abs=1)
    assert said["beats"]["model"] == "onset"
    missing = server.client.post("/v1/analyses", json={"song_id": "song_" + "0" * 22})
    assert missing.status_code == 404


def test_tags_without_a_model_are_refused_with_what_to_run(server: Served, groove: bytes) -> None:
    answer = server.client.post("/v1/analyses", json=body(groove, tasks=["key", "genre"]))
    assert answer.status_code == 409
    assert "tonewheel pull clap-htsat-unfused" in answer.json()["detail"]["message"]
    words = server.client.post("/v1/analyses", json=body(groove, tasks=["lyrics"]))
    assert words.status_code == 409
    assert "tonewheel pull heart-transcriptor" in words.json()["detail"]["message"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "audio"),
        ({"audio": "QUJD", "song_id": "x"}, "audio"),
        ({"audio": "no base64!"}, "audio"),
        ({"audio": "QUJD"}, "audio"),
        ({"audio": "QUJD", "tasks": ["karaoke"]}, "tasks[0]"),
        ({"audio": "QUJD", "tasks": []}, "tasks"),
        ({"audio": "QUJD", "tasks": ["zero_shot"]}, "text_candidates"),
        ({"audio": "QUJD", "beat_model": "composer"}, "beat_model"),
        ({"audio": "QUJD", "tasks": ["genre"], "tag_model": "onset"}, "tag_model"),
        ({"audio": "QUJD", "tasks": ["lyrics"], "lyrics_model": "onset"}, "lyrics_model"),
        ({"audio": "QUJD", "language": "english"}, "language"),
        ({"audio": "QUJD", "typo": 1}, "typo"),
    ],
)
def test_a_wrong_request_is_422_and_names_its_field(server: Served, asked: dict[str, Any], param: str) -> None:
    answer = server.client.post("/v1/analyses", json=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]["param"] == param


def test_hostile_audio_is_refused_the_server_lives_and_its_memory_is_bounded(server: Served) -> None:
    for name, (make, status) in HOSTILE.items():
        data = make()
        answer = server.client.post("/v1/analyses", files={"audio": ("x", data)}, data={"tasks": '["loudness"]'})
        assert answer.status_code == status, (name, answer.text[:300])
        detail = answer.json()["detail"]
        assert detail["retryable"] is False
        assert "\n" not in detail["message"]
    assert server.client.get("/health").status_code == 200
    gateway = psutil.Process(server.process.pid)
    held = 0
    for process in (gateway, *gateway.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a helper that ends meanwhile
            held += process.memory_info().rss
    assert 0 < held < 4e9


@pytest.fixture(scope="module")
def hearing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a worker, a tiny CLAP and a tiny Whisper."""
    pytest.importorskip("transformers")
    import clap_checkpoints
    import whisper_checkpoints

    folder = clap_checkpoints.make(tmp_path_factory.mktemp("clap") / "model", clap_checkpoints.RECIPES["unfused-old"])
    words = whisper_checkpoints.make(tmp_path_factory.mktemp("whisper") / "model")
    settings = {
        "TONEWHEEL_CLAP_HTSAT_UNFUSED_PATH": str(folder), "TONEWHEEL_HEART_TRANSCRIPTOR_PATH": str(words),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with serving(tmp_path_factory.mktemp("hearing") / "data", **settings) as served:
        served.client.timeout = 300  # torch and transformers are slow to import on a busy machine
        yield served


def test_with_a_model_its_tags_are_beside_what_needs_none(hearing: Served, groove: bytes) -> None:
    tasks = ["loudness", "embeddings", "genre", "mood", "zero_shot"]
    asked = body(groove, tasks=tasks, text_candidates=["drums", "a choir"], genres=["polka", "house"])
    answer = hearing.client.post("/v1/analyses", json=asked)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["tag_model"] == "clap-htsat-unfused"
    assert len(said["embeddings"]) == 512
    assert {p["label"] for p in said["genre"]["predictions"]} == {"polka", "house"}
    assert {p["label"] for p in said["zero_shot"]["predictions"]} == {"drums", "a choir"}
    assert len(said["mood"]["predictions"]) == 10
    assert said["loudness"]["lufs"] < 0


def test_what_is_sung_is_written_down_by_a_model_that_hears_words(hearing: Served, groove: bytes) -> None:
    answer = hearing.client.post("/v1/analyses", json=body(groove, tasks=["loudness", "lyrics"], language="en"))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert set(said["lyrics"]) == {"model", "language", "text", "segments"}
    assert (said["lyrics"]["model"], said["lyrics"]["language"]) == ("heart-transcriptor", "en")
    assert said["lyrics"]["text"] == "\n".join(s["text"] for s in said["lyrics"]["segments"])
    assert said["loudness"]["lufs"] < 0 and said["tempo"] is None
    wrong = hearing.client.post("/v1/analyses", json=body(groove, tasks=["lyrics"], language="xx"))
    assert wrong.status_code == 422
    assert wrong.json()["detail"]["param"] == "language"


@pytest.fixture(scope="module")
def library(hearing: Served) -> list[dict[str, Any]]:
    """Three songs, heard when they were made."""
    jobs = [hearing.order(style=style, seed=5) for style in ("ambient", "house", "waltz")]
    return [hearing.client.get(hearing.wait(job)["song_url"]).json() for job in jobs]


def test_songs_are_found_by_what_another_sounds_like(hearing: Served, library: list[dict[str, Any]]) -> None:
    asked = library[0]
    page = hearing.client.get("/v1/songs", params={"similar_to": asked["id"]}).json()
    assert {song["id"] for song in page["songs"]} == {song["id"] for song in library} - {asked["id"]}
    likeness = [song["similarity"] for song in page["songs"]]
    assert likeness == sorted(likeness, reverse=True)
    assert len(hearing.client.get("/v1/songs", params={"similar_to": asked["id"], "limit": 1}).json()["songs"]) == 1
    assert hearing.client.get("/v1/songs", params={"similar_to": "song_" + "0" * 22}).status_code == 404
    assert "embedding" not in asked["analysis"]


def test_a_song_is_found_by_its_own_recording_and_by_words(hearing: Served, library: list[dict[str, Any]]) -> None:
    recording = hearing.client.get(library[1]["audio_url"]).content
    page = hearing.client.post("/v1/search", json=body(recording)).json()
    assert page["songs"][0]["id"] == library[1]["id"]
    assert page["songs"][0]["similarity"] > 0.99
    assert page["total"] == 3
    words = hearing.client.post("/v1/search", json={"text": "a waltz", "limit": 2})
    assert words.status_code == 200, words.text
    assert len(words.json()["songs"]) == 2


def test_a_deleted_song_is_not_found(hearing: Served, library: list[dict[str, Any]]) -> None:
    job = hearing.order(style="folk", seed=5)
    gone = hearing.client.get(hearing.wait(job)["song_url"]).json()
    assert hearing.client.post("/v1/search", json={"text": "a song"}).json()["total"] == 4
    assert hearing.client.delete(gone["url"]).status_code == 204
    found = hearing.client.post("/v1/search", json={"text": "a song"}).json()["songs"]
    assert {song["id"] for song in found} == {song["id"] for song in library}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "text"),
        ({"text": "a", "audio": "QUJD"}, "text"),
        ({"text": ""}, "text"),
        ({"text": "a", "limit": 0}, "limit"),
    ],
)
def test_a_wrong_search_is_422(server: Served, asked: dict[str, Any], param: str) -> None:
    answer = server.client.post("/v1/search", json=asked)
    assert answer.status_code == 422
    assert answer.json()["detail"]["param"] == param


def test_a_search_without_a_model_says_what_to_run(server: Served, made: dict[str, Any]) -> None:
    for answer in (
        server.client.post("/v1/search", json={"text": "slow piano"}),
        server.client.get("/v1/songs", params={"similar_to": made["id"]}),
    ):
        assert answer.status_code == 409, answer.text
        assert "tonewheel pull clap-htsat-unfused" in answer.json()["detail"]["message"]
