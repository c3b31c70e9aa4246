"""The built-in composer as a service: real songs over HTTP."""

from __future__ import annotations

import base64
import io
import json
import socket
from typing import Any

import httpx
import mido
import pytest
import soundfile
from processes import Service, error_of, events

from tonewheel.audio.tags import read_tags
from tonewheel.songs import make_plan, plan_request, to_generated_song

STORY = {"narrative": "Neon rain over the harbour", "duration": 10, "seed": 3, "style": "synth-pop"}


@pytest.fixture(scope="module")
def song(composer: Service) -> dict[str, Any]:
    answer = composer.post(body={**STORY, "midi": True, "lrc": True, "stems": True, "format": "flac"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_narrative_becomes_a_song_of_the_length_asked(song: dict[str, Any]) -> None:
    data = base64.b64decode(song["audio_base64"])
    info = soundfile.info(io.BytesIO(data))
    assert info.duration == pytest.approx(10, abs=0.01)
    assert (info.samplerate, info.channels, info.format) == (44100, 2, "FLAC")
    assert (song["sample_rate"], song["channels"], song["duration"]) == (44100, 2, 10.0)
    assert song["num_samples"] == info.frames
    assert song["loudness_lufs"] == pytest.approx(-14, abs=1)
    assert song["plan"]["seed"] == song["metadata"]["seed"] == 3
    assert song["metadata"]["model"] == "composer"
    assert read_tags(data).title == song["title"]


def test_notes_words_and_stems_come_along_when_asked(song: dict[str, Any], composer: Service) -> None:
    notes = mido.MidiFile(file=io.BytesIO(base64.b64decode(song["midi_base64"])))
    assert notes.length == pytest.approx(10, abs=3)
    assert song["lrc"].startswith("[ti:")
    assert len({s["name"] for s in song["stems"]}) == len(song["stems"]) > 2
    for stem in song["stems"]:
        assert soundfile.info(io.BytesIO(base64.b64decode(stem["audio_base64"]))).frames == song["num_samples"]
    plain = composer.post(body=STORY).json()
    assert not {"midi_base64", "lrc", "stems"} & set(plain)


def test_the_same_plan_gives_the_same_bytes_in_every_form(song: dict[str, Any], composer: Service) -> None:
    first = composer.post(body={"plan": song["plan"], "format": "flac"}).json()["audio_base64"]
    assert first == song["audio_base64"]
    raw = composer.post(body={"plan": song["plan"]}, headers={"accept": "audio/flac"})
    assert raw.headers["content-type"] == "audio/flac"
    assert raw.content == base64.b64decode(first)


def test_a_generated_song_is_a_plan_too(composer: Service) -> None:
    plan = make_plan(plan_request(narrative="A ship", duration_s=10, seed=5))
    made = composer.post(body={"plan": to_generated_song(plan)}).json()
    assert made["title"] == plan.title
    assert made["plan"]["seed"] == 5
    assert composer.post(body={"plan": plan.to_dict(), "seed": 6}).json()["plan"]["seed"] == 6


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        ({}, "invalid_request", None),
        ({"narrative": " "}, "invalid_request", "narrative"),
        ({"narrative": "x", "duration": 9.9}, "invalid_request", "duration"),
        ({"narrative": "x", "duration": 600.1}, "invalid_request", "duration"),
        ({"narrative": "x", "tempo": 29}, "invalid_request", "tempo"),
        ({"narrative": "x", "style": "synth-popp"}, "unknown_name", None),
        ({"narrative": "x", "mood": "blorp"}, "unknown_name", "mood"),
        ({"narrative": "x", "format": "aiff"}, "invalid_request", "format"),
        ({"narrative": "x", "durtion": 20}, "invalid_request", "durtion"),
        ({"narrative": "x", "midi": "maybe"}, "invalid_request", "midi"),
        ({"narrative": "x", "plan": {}}, "invalid_plan", None),
        ({"plan": {"title": "x"}}, "invalid_plan", None),
        ({"plan": "x"}, "invalid_request", "plan"),
        ({"instrumental": True, "lyrics": "la", "narrative": "x"}, "invalid_request", None),
    ],
)
def test_a_wrong_request_is_422_before_any_work(
    composer: Service, body: dict[str, Any], kind: str, param: str | None
) -> None:
    detail = error_of(composer.post(body=body), 422, kind)
    if param is not None:
        assert detail["param"].startswith(param) or kind == "invalid_request"
    assert composer.get("/health").json()["busy"] == 0


def test_progress_names_the_composers_stages_in_order(composer: Service) -> None:
    headers = {"accept": "text/event-stream, audio/mpeg"}
    with composer.client.stream("POST", "/predict/stream", json=STORY, headers=headers) as answer:
        told = list(events(answer))
    stages = list(dict.fromkeys(data["stage"] for name, data in told if name == "progress"))
    assert stages == ["start", "plan", "arrange", "stems", "mix", "master", "check", "encode"]
    fractions = [data["fraction"] for name, data in told if name == "progress"]
    assert fractions == sorted(fractions)
    result = told[-1][1]
    assert "audio_base64" not in result
    data = composer.get(result["files"][0]["url"]).content
    assert soundfile.info(io.BytesIO(data)).format == "MP3"


def test_health_answers_while_a_long_song_is_made_and_it_stops_when_nobody_waits_for_it(composer: Service) -> None:
    def stopped() -> float:
        wanted = 'tonewheel_failures_total{model="composer",reason="cancelled"} '
        rows = composer.get("/metrics").text.splitlines()
        return sum(float(row.removeprefix(wanted)) for row in rows if row.startswith(wanted))

    before = stopped()
    body = json.dumps({"narrative": "long", "duration": 600}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", httpx.URL(composer.about["url"]).port)) as connection:
        connection.sendall(head + body)
        composer.wait("busy", 1)
        # bench/server.py measures how long they take; here it is enough that none waits for the song.
        assert [composer.get("/health").json()["busy"] for _ in range(10)] == [1] * 10
    composer.wait("busy", 0)
    assert stopped() == before + 1
