"""What every service promises (../shared/contracts.md, "Common to every service"), on a real process."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from processes import Service, error_of, events, service, write_plugin

METADATA = {
    "client_job_id", "trace_id", "span_id", "model", "revision", "seed", "duration_s", "elapsed_s",
    "real_time_factor", "device", "dtype",
}  # fmt: skip


def in_background(dawdler: Service, **body: Any) -> tuple[threading.Thread, list[httpx.Response]]:
    """Send a request from a thread of its own and wait until it runs."""
    got: list[httpx.Response] = []
    url = f"{dawdler.about['url']}/predict"
    thread = threading.Thread(target=lambda: got.append(httpx.post(url, json=body, timeout=120)))
    thread.start()
    dawdler.wait("busy", 1)
    return thread, got


# ── the good case ───────────────────────────────────────────────────────────────────────────────


def test_health_names_the_service_and_its_version(dawdler: Service) -> None:
    body = dawdler.get("/health").json()
    assert (body["status"], body["service"]) == ("ok", "dawdler")
    assert body["version"]
    assert dawdler.get("/healthz").json()["status"] == "ok"
    assert dawdler.client.head("/health").status_code == 200
    assert dawdler.client.head("/health").content == b""


def test_readiness_tells_device_and_dtype(dawdler: Service) -> None:
    ready = dawdler.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert (ready.json()["device"], ready.json()["dtype"]) == ("cpu", "float32")


def test_an_answer_holds_the_audio_and_tells_how_it_was_made(dawdler: Service) -> None:
    body = dawdler.post(body={"prompt": "hum", "duration": 0.5, "seed": 5, "client_job_id": "job:1.a_b-c"}).json()
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body["audio_base64"])))
    assert (len(samples), rate) == (4000, 8000)
    metadata = body["metadata"]
    assert set(metadata) >= METADATA
    assert metadata["client_job_id"] == "job:1.a_b-c"
    assert (metadata["model"], metadata["revision"], metadata["seed"]) == ("dawdler", "r1", 5)
    assert metadata["duration_s"] == 0.5
    assert metadata["real_time_factor"] == pytest.approx(metadata["elapsed_s"] / 0.5, abs=1e-3)
    assert (len(metadata["trace_id"]), len(metadata["span_id"])) == (32, 16)
    assert body["meta"] == metadata  # the symbolic services' second name


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(dawdler: Service) -> None:
    first, second, third = (dawdler.post(body={"seed": s}).json()["audio_base64"] for s in (3, 3, 4))
    assert first == second != third


@pytest.mark.parametrize(
    ("accept", "kind", "magic"),
    [
        ("audio/wav", "audio/wav", b"RIFF"),
        ("audio/flac", "audio/flac", b"fLaC"),
        ("audio/mpeg", "audio/mpeg", b""),
        ("audio/ogg", "audio/ogg", b"OggS"),
        ("audio/ogg; codecs=opus", "audio/ogg", b"OggS"),
        ("audio/*;q=0.5, application/json;q=0.1", "audio/wav", b"RIFF"),
        ("application/json, audio/wav;q=0.9", "application/json", b"{"),
        ("text/html, */*", "application/json", b"{"),
    ],
)
def test_accept_chooses_bytes_or_json(dawdler: Service, accept: str, kind: str, magic: bytes) -> None:
    answer = dawdler.post(body={"seed": 1}, headers={"accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind
    assert answer.content.startswith(magic)
    if kind != "application/json":
        assert b"base64" not in answer.content
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert json.loads(answer.headers["x-tonewheel-metadata"])["seed"] == 1
        assert soundfile.info(io.BytesIO(answer.content)).duration == pytest.approx(1.0, abs=0.1)


def test_a_foreign_contract_is_served_in_its_own_words(dawdler: Service) -> None:
    body = dawdler.post("/foreign", {"words": "hey"}).json()
    assert body["said"] == "HEY"
    assert len(body["trace"]) == 32
    error_of(dawdler.post("/foreign", {"prompt": "hey"}), 422, "invalid_request")


def test_files_are_taken_as_base64_and_as_a_form(dawdler: Service) -> None:
    data = bytes(range(256)) * 40
    text = base64.b64encode(data).decode()
    assert dawdler.post(body={"audio": text}).json()["heard"] == len(data)
    assert dawdler.post(body={"audio": f"data:audio/wav;base64,{text}"}).json()["heard"] == len(data)
    form = dawdler.client.post("/predict", files={"audio": ("a.wav", data)}, data={"prompt": "hi", "top_k": "3"})
    assert form.json()["heard"] == len(data)
    assert form.json()["prompt"] == "hi"


# ── ids and traces ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("given", ["abc-1", "A.b:c_9", "x" * 128])
def test_a_sane_request_id_comes_back(dawdler: Service, given: str) -> None:
    assert dawdler.get("/health", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a/b"])
def test_any_other_request_id_is_replaced(dawdler: Service, given: str) -> None:
    minted = dawdler.get("/health", headers={"x-request-id": given}).headers["x-request-id"]
    assert minted != given
    assert len(minted) == 32


def test_an_incoming_trace_is_continued(dawdler: Service) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    answer = dawdler.post(headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    metadata = answer.json()["metadata"]
    assert metadata["trace_id"] == trace
    assert metadata["span_id"] != "b7ad6b7169203331"
    assert answer.headers["traceparent"] == f"00-{trace}-{metadata['span_id']}-01"


@pytest.mark.parametrize("broken", ["", "00-0-0-00", f"00-{'0' * 32}-b7ad6b7169203331-01", "ff-" + "a" * 50])
def test_a_broken_trace_begins_a_new_one(dawdler: Service, broken: str) -> None:
    assert int(dawdler.post(headers={"traceparent": broken}).json()["metadata"]["trace_id"], 16) > 0


@pytest.mark.parametrize("job", ["a", "A.b:c_d-9", "x" * 256])
def test_a_client_job_id_is_echoed_from_body_or_query(dawdler: Service, job: str) -> None:
    assert dawdler.post(body={"client_job_id": job}).json()["metadata"]["client_job_id"] == job
    query = dawdler.post(params={"client_job_id": job})
    assert query.json()["metadata"]["client_job_id"] == job


@pytest.mark.parametrize("job", ["", "a b", "a\n", "ä", "x" * 257, "a/b"])
def test_a_bad_client_job_id_is_422(dawdler: Service, job: str) -> None:
    assert error_of(dawdler.post(body={"client_job_id": job}), 422, "invalid_request")["param"] == "client_job_id"
    error_of(dawdler.post(params={"client_job_id": job}), 422, "invalid_request")


# ── one at a time, deadlines, cancelling ────────────────────────────────────────────────────────


def test_one_more_than_it_can_run_is_refused_at_once(dawdler: Service, tmp_path: Path) -> None:
    thread, got = in_background(dawdler, hold=str(tmp_path / "enough"))
    for path in ("/predict", "/predict/stream"):
        refused = dawdler.post(path)
        detail = error_of(refused, 503, "busy")
        assert detail["retryable"] is True
        assert int(refused.headers["retry-after"]) >= 1
    assert dawdler.get("/readyz").status_code == 200  # busy is not unready
    assert thread.is_alive()  # nobody was kept waiting for its end
    (tmp_path / "enough").touch()
    thread.join()
    assert got[0].status_code == 200
    assert dawdler.post().status_code == 200


def test_work_past_its_deadline_is_504_stopped_and_its_slot_free(plugins: Path, tmp_path: Path) -> None:
    # 5 × duration + 30 s is the least a deadline can be: the request says it makes almost no audio.
    source = (plugins / "dawdler" / "__init__.py").read_text()
    quick = source.replace(
        "class Ask(ModelRequest):",
        "class Ask(ModelRequest):\n    audio_seconds = lambda s: -5.9 if s.prompt == 'hurry' else s.duration",
    )
    folder = write_plugin(tmp_path / "quick", source=quick)
    with service("dawdler", tmp_path, PYTHONPATH=str(folder), TONEWHEEL_DEADLINE_S="0.5") as running:
        started = time.monotonic()
        endless = {"prompt": "hurry", "hold": str(tmp_path / "never")}
        detail = error_of(running.post(body=endless), 504, "deadline_exceeded")
        assert detail["retryable"] is True
        assert time.monotonic() - started > 0.4
        running.wait("busy", 0)
        told = running.get("/stopped").json()
        assert told["stopped"] == told["begun"] <= 1  # on a busy machine it may not have begun within half a second
        with running.client.stream("POST", "/predict/stream", json=endless) as answer:
            name, data = list(events(answer))[-1]
        assert (name, data["status"]) == ("error", 504)
        running.wait("busy", 0)
        # Work that does not look up keeps its slot until it ends: the refusal is honest.
        deaf = {"prompt": "hurry", "hold": str(tmp_path / "enough"), "deaf": True}
        before = running.get("/stopped").json()["begun"]
        for _ in range(20):  # nor may this one
            error_of(running.post(body=deaf), 504, "deadline_exceeded")
            if running.get("/stopped").json()["begun"] > before:
                break
            running.wait("busy", 0)
        error_of(running.post(), 503, "busy")
        (tmp_path / "enough").touch()
        running.wait("busy", 0)
        assert running.post().status_code == 200


@pytest.mark.parametrize("path", ["/predict", "/predict/stream"])
def test_when_the_client_goes_away_the_work_stops_and_the_slot_is_free(
    dawdler: Service, path: str, tmp_path: Path
) -> None:
    before = dawdler.get("/stopped").json()
    body = json.dumps({"hold": str(tmp_path / "never")}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    port = httpx.URL(dawdler.about["url"]).port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + body)
        # A slot is taken before its thread begins: one who leaves in between stops nothing that could be counted.
        until = time.monotonic() + 60
        while dawdler.get("/stopped").json()["begun"] == before["begun"] and time.monotonic() < until:
            time.sleep(0.02)
        assert dawdler.get("/health").json()["busy"] == 1
    dawdler.wait("busy", 0)
    assert dawdler.get("/stopped").json()["stopped"] == before["stopped"] + 1


def test_a_client_that_leaves_in_the_middle_of_its_body_takes_no_slot(dawdler: Service) -> None:
    port = httpx.URL(dawdler.about["url"]).port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b'POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999\r\n\r\n{"pro')
        time.sleep(0.1)
    assert dawdler.wait("busy", 0)["status"] == "ok"


# ── events ──────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_tells_progress_in_order_and_ends_with_the_same_answer(dawdler: Service) -> None:
    body = {"steps": 8, "step_s": 0.08, "seed": 9}  # slow enough for time left to be told
    with dawdler.client.stream("POST", "/predict/stream", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = list(events(answer))
    assert [name for name, _ in told[:-1]] == ["progress"] * (len(told) - 1)
    fractions = [data["fraction"] for _, data in told[:-1]]
    assert fractions == sorted(fractions)
    assert {0.0, round(0.9 * 7 / 8, 4), 1.0} <= set(fractions)
    assert all({"stage", "fraction", "eta_s"} == set(data) for _, data in told[:-1])
    assert any(data["eta_s"] for _, data in told[:-1])
    name, result = told[-1]
    plain = dawdler.post(body=body).json()
    assert name == "result"
    assert result["audio_base64"] == plain["audio_base64"]
    assert set(result) == set(plain)


def test_progress_is_told_while_the_work_goes_on(dawdler: Service, tmp_path: Path) -> None:
    body = {"steps": 3, "hold": str(tmp_path / "enough")}
    with dawdler.client.stream("POST", "/predict/stream", json=body) as answer:
        told = events(answer)
        assert next(data["fraction"] for _, data in told if data["stage"] == "steps") >= 0
        (tmp_path / "enough").touch()  # it is not done before
        assert list(told)[-1][0] == "result"


def test_the_last_news_of_every_stage_is_told_however_fast_it_went(dawdler: Service) -> None:
    with dawdler.client.stream("POST", "/predict/stream", json={"steps": 200}) as answer:
        told = [(data["stage"], data["fraction"]) for name, data in events(answer) if name == "progress"]
    last = dict(told)
    assert list(last) == ["start", "steps", "encode"]
    assert last == {"start": 0.0, "steps": round(0.9 * 199 / 200, 4), "encode": 1.0}


def test_a_model_that_streams_sends_its_audio_before_the_result(dawdler: Service) -> None:
    body = {"steps": 4, "step_s": 0.02, "stream": True}
    with dawdler.client.stream("POST", "/predict/stream", json=body) as answer:
        told = list(events(answer))
    chunks = [data for name, data in told if name == "audio"]
    assert [c["index"] for c in chunks] == [0, 1, 2, 3]
    assert told[-1][0] == "result"
    assert len(base64.b64decode(chunks[0]["audio_base64"])) == 1600
    assert (chunks[0]["format"], chunks[0]["sample_rate"], chunks[0]["channels"]) == ("pcm_s16le", 8000, 1)


def test_a_stream_asked_for_audio_links_to_bytes_and_holds_no_base64(dawdler: Service) -> None:
    headers = {"accept": "text/event-stream, audio/flac"}
    body = {"seed": 2, "stream": True}
    with dawdler.client.stream("POST", "/predict/stream", json=body, headers=headers) as answer:
        told = list(events(answer))
    assert not any("base64" in json.dumps(list(data)) for _, data in told)
    chunk = next(data for name, data in told if name == "audio")
    assert len(dawdler.get(chunk["url"]).content) == 1600
    files = {f["field"]: f for f in told[-1][1]["files"]}
    assert set(files) == {"audio_base64", "note_base64"}
    song = dawdler.get(files["audio_base64"]["url"])
    assert song.headers["content-type"] == "audio/flac"
    assert song.content == dawdler.post(body={"seed": 2}, headers={"accept": "audio/flac"}).content
    assert len(song.content) == files["audio_base64"]["size_bytes"]
    part = dawdler.get(files["audio_base64"]["url"], headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"fLaC")
    assert dawdler.get(files["note_base64"]["url"]).content == b"a note"
    assert dawdler.client.delete(files["note_base64"]["url"]).status_code == 204
    error_of(dawdler.get(files["note_base64"]["url"]), 404, "not_found")


# ── what it tells of itself ─────────────────────────────────────────────────────────────────────


def test_metadata_describes_endpoints_capabilities_and_options(dawdler: Service) -> None:
    body = dawdler.get("/v1/metadata").json()
    assert {("POST", "/predict"), ("POST", "/foreign"), ("GET", "/stopped")} <= {
        (e["method"], e["path"]) for e in body["endpoints"]
    }
    options = {o["key"]: o for o in body["options"]}
    assert all(set(o) >= {"key", "label", "type", "default", "min", "max", "values"} for o in options.values())
    duration = options["duration"]
    assert (duration["type"], duration["default"], duration["min"], duration["max"]) == ("number", 1.0, 0.5, 600)
    assert (options["style"]["type"], options["style"]["values"]) == ("choice", ["slow", "slower"])
    assert options["loud"]["type"] == "switch"
    assert options["audio"]["type"] == "audio"
    assert body["capabilities"]["concurrency"] == 1
    assert "client_job_id" not in options


def test_metrics_count_what_happened(dawdler: Service) -> None:
    def value(name: str) -> float:
        rows = [line for line in dawdler.get("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(row.rpartition(" ")[2]) for row in rows)

    audio, failed = value("tonewheel_audio_seconds_total"), value("tonewheel_failures_total")
    dawdler.post(body={"duration": 2})
    dawdler.post(body={"fail": "fault"})
    assert value("tonewheel_audio_seconds_total") == audio + 2
    assert value("tonewheel_failures_total") == failed + 1
    text = dawdler.get("/metrics").text
    assert dawdler.get("/metrics").headers["content-type"].startswith("text/plain")
    assert 'tonewheel_requests_total{route="/predict",service="dawdler",status="200"}' in text
    assert 'reason="internal"' in text
    assert "nothing-of-a-path" not in text


def test_the_openapi_document_names_every_request_field(dawdler: Service) -> None:
    document = dawdler.get("/openapi.json").json()
    schema = document["components"]["schemas"]["Ask"]
    assert schema["properties"]["duration"]["maximum"] == 600
    asked = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert asked["$ref"] == "#/components/schemas/Ask"


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────


def test_a_page_on_the_web_cannot_reach_a_service_on_loopback(dawdler: Service) -> None:
    error_of(dawdler.get("/health", headers={"host": "evil.example"}), 403, "forbidden")  # DNS rebinding
    cross = {"origin": "https://evil.example", "content-type": "text/plain"}
    error_of(dawdler.client.post("/predict", content=b"{}", headers=cross), 403, "forbidden")
    own = {"origin": dawdler.about["url"]}
    assert dawdler.post(headers=own).status_code == 200
    assert dawdler.get("/health", headers={"host": "localhost:1"}).status_code == 200
