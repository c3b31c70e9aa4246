"""A song from its order to its file, over HTTP, against a real server."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import httpx
import pytest
import soundfile
from served import NARRATIVE, Served
from test_gateway_clients import wait_for

from tonewheel.fleet.records import Records


def events_of(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in lines:
            found.append({"id": int(lines["id"]), "event": lines["event"], "data": json.loads(lines["data"])})
    return found


def test_the_readme_flow_ends_in_an_mp3_of_the_length_asked(server: Served) -> None:
    answer = server.client.post("/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10, "format": "mp3"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    job = answer.json()
    with server.client.stream("GET", job["events_url"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events_of("".join(stream.iter_text()))
    assert [e["id"] for e in told] == list(range(1, len(told) + 1))
    assert told[0]["event"] == "queued"
    assert told[-1]["event"] == "done"
    fractions = [e["data"]["fraction"] for e in told if e["event"] == "progress"]
    assert fractions == sorted(fractions)
    # In between once a second at most: that it begins and that it is being rendered is always told.
    assert [e["data"]["stage"] for e in told if e["event"] == "progress" and ":" not in e["data"]["stage"]][:2] == [
        "plan", "render",
    ]  # fmt: skip
    job = server.job(job)
    song = server.client.get(job["song_url"]).json()
    file = server.client.get(song["audio_url"])
    assert file.headers["content-type"] == "audio/mpeg"
    info = soundfile.info(io.BytesIO(file.content))
    assert info.format == "MP3"
    assert info.frames / info.samplerate == pytest.approx(10.0, abs=0.5)
    assert song["duration_s"] == pytest.approx(10.0, abs=0.5)
    assert song["request"]["narrative"] == NARRATIVE
    assert isinstance(song["seed"], int)


def test_events_go_on_where_a_connection_broke(server: Served, made: dict[str, Any]) -> None:
    url = f"/v1/jobs/{made['job_id']}/events"
    everything = events_of(server.client.get(url).text)
    for how in ({"headers": {"Last-Event-ID": "3"}}, {"params": {"after": 3}}):
        rest = events_of(server.client.get(url, **how).text)  # type: ignore[arg-type]
        assert rest == everything[3:]
    last = str(everything[-1]["id"])
    assert server.client.get(url, headers={"Last-Event-ID": last}).status_code == 204  # stay away: it is over
    assert server.client.get(url, headers={"Last-Event-ID": "x"}).status_code == 422


def test_files_come_in_parts_and_not_twice(server: Served, made: dict[str, Any]) -> None:
    get, url = server.client.get, made["audio_url"]
    whole = get(url)
    data = whole.content
    etag = whole.headers["etag"]
    assert etag == f'"{hashlib.sha256(data).hexdigest()}"'
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["content-disposition"].startswith("attachment;")
    for asked, first, last in (
        ("bytes=0-99", 0, 99), ("bytes=100-", 100, len(data) - 1), ("bytes=-10", len(data) - 10, len(data) - 1),
        (f"bytes=5-{len(data) * 2}", 5, len(data) - 1), (f"bytes=-{len(data) * 2}", 0, len(data) - 1),
    ):  # fmt: skip
        part = get(url, headers={"Range": asked})
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
        assert part.content == data[first : last + 1]
    for asked in ("bytes=0-1,4-5", f"bytes={len(data)}-", "bytes=-0"):
        refused = get(url, headers={"Range": asked})
        assert refused.status_code == 416
        assert refused.headers["content-range"] == f"bytes */{len(data)}"
        assert refused.json()["detail"]["type"] == "range_not_satisfiable"
    for asked in ("lines=1-2", "bytes=b-a", "bytes=9-3"):  # no byte ranges: ignored, as HTTP says
        assert get(url, headers={"Range": asked}).status_code == 200
    for tags in (etag, f'"x", W/{etag}', "*"):
        same = get(url, headers={"If-None-Match": tags})
        assert (same.status_code, same.content) == (304, b"")
    assert get(url, headers={"Range": "bytes=0-1", "If-Range": '"old"'}).content == data
    assert get(url, headers={"Range": "bytes=0-1", "If-Range": etag}).content == data[:2]
    head = server.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(data))


def test_all_files_of_a_song_have_their_own_types(server: Served, made: dict[str, Any]) -> None:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for artifact in made["artifacts"]:
        kinds.setdefault(artifact["kind"], []).append(artifact)
    assert {"song", "midi", "stem"} <= set(kinds)
    for artifact in made["artifacts"]:
        answer = server.client.get(artifact["url"])
        assert answer.headers["content-type"].partition(";")[0] == artifact["media_type"].partition(";")[0]
        assert len(answer.content) == artifact["size_bytes"]
    assert server.client.get(kinds["midi"][0]["url"]).content.startswith(b"MThd")
    assert server.client.get(kinds["stem"][0]["url"]).content.startswith(b"fLaC")


def test_songs_are_found_by_words_model_and_date(server: Served, made: dict[str, Any]) -> None:
    def found(**query: Any) -> list[str]:
        return [s["id"] for s in server.client.get("/v1/songs", params=query).json()["songs"]]

    assert made["id"] in found(words="lighthouse keeper")
    assert made["id"] in found(model="composer", made_after=made["created_at"] - 1)
    assert found(words="zeppelin") == []
    assert found(made_before=made["created_at"] - 3600) == []
    assert made["id"] in found(made_after="2020-02-29", made_before="5000-01-01T00:00:00+02:00")
    assert found(made_before="2020-02-29T12:00:00Z") == []
    page = server.client.get("/v1/songs", params={"limit": 1}).json()
    assert len(page["songs"]) == 1
    if page["next"]:
        assert found(limit=1, after=page["next"]) != [page["songs"][0]["id"]]


def test_a_plan_is_made_at_once_and_can_be_ordered(server: Served) -> None:
    asked = {"narrative": NARRATIVE, "duration_s": 12, "seed": 5, "style": "folk"}
    first, second = (server.client.post("/v1/plans", json=asked) for _ in range(2))
    assert first.status_code == 200
    assert first.json() == second.json()
    plan = first.json()
    assert plan["duration_s"] == 12
    job = server.client.post("/v1/songs", json={"plan": plan, "format": "flac"}).json()
    song = server.client.get(server.wait(job)["song_url"]).json()
    assert song["plan"]["title"] == plan["title"]
    assert song["seed"] == 5
    assert server.client.get(song["audio_url"]).content.startswith(b"fLaC")


def test_a_running_song_can_be_cancelled(server: Served) -> None:
    job = server.order(duration_s=600)
    server.wait(job, lambda j: j["state"] == "running" and j["fraction"] > 0.02)
    cancelled = server.client.delete(job["url"])
    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    after = server.order(duration_s=10)  # the slot is free again: this is done long before 600 s of song would be
    assert server.wait(after)["state"] == "done"
    assert server.job(job)["song_url"] is None
    assert server.client.delete(job["url"]).json()["state"] == "cancelled"


def test_a_song_under_an_id_of_the_clients_own(server: Served) -> None:
    body = {"narrative": NARRATIVE, "duration_s": 10, "seed": 4}
    first = server.client.put("/v1/songs/evening.song-1", json=body)
    assert first.status_code == 202
    again = server.client.put("/v1/songs/evening.song-1", json=body)
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = server.client.put("/v1/songs/evening.song-1", json=body | {"seed": 5})
    assert (other.status_code, other.json()["detail"]["param"]) == (409, "id")
    assert "evening.song-1" in other.json()["detail"]["message"]
    done = server.wait(first.json())
    song = server.client.get("/v1/songs/evening.song-1").json()
    assert song["id"] == done["song_url"].rpartition("/")[2]
    assert server.client.delete("/v1/songs/evening.song-1").status_code == 204
    assert server.client.get("/v1/songs/evening.song-1").status_code == 404
    assert server.client.get(song["audio_url"]).status_code == 404
    anew = server.client.put("/v1/songs/evening.song-1", json=body | {"seed": 5})
    assert anew.status_code == 202
    assert anew.json()["id"] != first.json()["id"]
    server.client.delete(anew.json()["url"])


def test_heartmulas_contract_is_answered_when_the_music_is_there(server: Served) -> None:
    answer = server.client.post(
        "/v1/music/generations", json={"prompt": "warm folk guitar", "duration": 10, "seed": 9, "unknown": 1}
    )
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["status"] == "completed"
    assert said["seed"] == 9
    assert said["prompt"] == "warm folk guitar"
    assert said["audio_url"].startswith("/audio/") and said["audio_url"].endswith(".wav")
    audio = server.client.get(said["audio_url"])
    assert audio.headers["content-type"] == "audio/wav"
    assert soundfile.info(io.BytesIO(audio.content)).duration == pytest.approx(said["duration"], abs=0.1)
    assert server.client.get(said["audio_url"], headers={"Range": "bytes=0-3"}).content == b"RIFF"
    assert server.client.post("/v1/music/generations", json={"duration": 10}).status_code == 422
    assert server.client.post("/v1/music/generations", json={"prompt": "x", "duration": True}).status_code == 422


def test_the_orchestrators_contract(server: Served) -> None:
    asked = {"narrative": NARRATIVE, "duration": 10, "options": {"style": "folk", "seed": 11}}
    with httpx.Client(base_url=server.url, timeout=120, headers={"X-Request-Id": "mine-1"}) as client:
        created = client.post("/jobs", json=asked)
        assert created.status_code == 202
        assert created.headers["x-request-id"] == "mine-1"
        assert list(created.json()) == ["jobId"]
        composed = client.post("/compose", json=asked)
        assert composed.status_code == 200, composed.text
        said = composed.json()
        assert said["status"] == "completed"
        assert said["seed"] == 11
        assert {"title", "sections", "lyrics", "syllableCount"} <= set(said["song"])
        assert client.get(said["audio_url"]).status_code == 200
        server.wait({"id": created.json()["jobId"]})
        assert client.get(f"/jobs/{created.json()['jobId']}").json()["status"] == "completed"
    assert server.job(created.json()["jobId"])["request_id"] == "mine-1"


def test_the_planners_contract(server: Served) -> None:
    answer = server.client.post("/generate", json={"narrative": NARRATIVE, "duration": 30, "options": {"seed": 2}})
    song = answer.json()
    assert answer.status_code == 200
    assert song["seed"] == 2
    assert sum(s["duration_s"] for s in song["sections"]) == pytest.approx(30, abs=2)
    assert len(song["metadata"]["trace_id"]) == 32
    back = server.client.post("/generate", json={"narrative": "x", "options": {"generatedSong": song}}).json()
    assert back["title"] == song["title"]


def test_models_and_their_services_are_behind_the_same_port(server: Served) -> None:
    models = {m["id"]: m for m in server.client.get("/v1/models").json()["models"]}
    assert models["composer"]["code_license"] == "Apache-2.0"
    assert "state" in models["jen1"]
    assert server.client.get("/v1/models/composer").json()["id"] == "composer"
    assert server.client.get("/v1/models/nothing").status_code == 404
    answer = server.client.post(
        "/services/jen1/generate", json={"narrative": NARRATIVE, "seed": 1}, headers={"X-Request-Id": "through-1"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["metadata"]["request_id"] == "through-1"
    assert answer.headers["x-request-id"] == "through-1"
    assert server.client.get("/services/jen1/debug/model").json()["planner"] == "template"
    assert server.client.post("/services/jen1/generate?keep_alive=45m", json={"narrative": "x"}).status_code == 200
    used = Records(server.data_dir).of("jen1").used()
    assert used is not None and used.keep_alive_s == 2700
    wrong = server.client.post("/services/jen1/generate?keep_alive=soon", json={"narrative": "x"})
    assert (wrong.status_code, wrong.json()["detail"]["param"]) == (422, "keep_alive")
    assert server.client.get("/services/jen1/nothing").status_code == 404
    assert server.client.get("/services/none/health").status_code == 404
    states = {m["id"]: m["state"] for m in server.client.get("/v1/models").json()["models"]}
    assert states["jen1"] == "running"


def test_health_says_alive_ready_and_what_is_queued(server: Served) -> None:
    assert server.client.get("/livez").json() == {"status": "ok"}
    assert server.client.get("/health").json()["service"] == "gateway"
    ready = wait_for(lambda: (said := server.client.get("/readyz")).status_code == 200 and said)  # its worker is there
    assert ready.json()["workers"] == 1
    metrics = server.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("tonewheel_queue_depth", "tonewheel_requests_total"):
        assert name in metrics.text
    # A worker that could not beat for 15 s counts as gone until it can.
    wait_for(lambda: "tonewheel_workers_alive 1.0" in server.client.get("/metrics").text)


def test_the_trace_of_the_request_is_kept_with_the_job(server: Served) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = server.client.post(
        "/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10}, headers={"traceparent": parent}
    )
    assert answer.json()["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert answer.headers["traceparent"] == answer.json()["traceparent"]
    server.client.delete(answer.json()["url"])
