"""Services that run elsewhere, through the gateway: used, and never named."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from served import Served, serving


def _wav() -> bytes:
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (441_000, 2)).astype(np.float32)
    out = io.BytesIO()
    soundfile.write(out, noise, 44_100, format="WAV")
    return out.getvalue()


class _Stub(BaseHTTPRequestHandler):
    """Tells what it was asked, and its own address; has a WAV of ten seconds."""

    asked: ClassVar[list[dict[str, Any]]] = []
    wav = _wav()

    def do_GET(self) -> None:
        if not self.path.startswith("/audio/"):
            self._answer()
            return
        self.send_response(200)
        self.send_header("content-type", "audio/wav")
        self.send_header("content-length", str(len(self.wav)))
        self.end_headers()
        self.wfile.write(self.wav)

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        said = {
            "path": self.path, "body": self.rfile.read(length).decode(), "headers": dict(self.headers.items()),
            "audio_url": f"http://{self.headers['host']}/audio/x.wav", "title": "from elsewhere", "seed": 5,
        }  # fmt: skip
        self.asked.append(said)
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "a=b")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = _answer  # noqa: N815  (a name of the standard library)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    stub = ThreadingHTTPServer(("127.0.0.1", 0), _Stub)
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{stub.server_address[1]}"
    stub.shutdown()


@pytest.fixture(scope="module")
def served(elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        tmp_path_factory.mktemp("elsewhere"), "--workers", "0", HEARTMULA_BASE_URL=elsewhere, JEN1_URL=elsewhere
    ) as running:
        yield running


def test_a_service_elsewhere_is_asked_and_its_address_stays_secret(served: Served, elsewhere: str) -> None:
    asked = {"Authorization": "Bearer mine", "X-Request-Id": "r-1", "Cookie": "c=d"}
    answer = served.client.post("/services/heartmula/v1/x?a=b%20c", content=b'{"prompt": "p"}', headers=asked)
    said = answer.json()
    assert said["path"] == "/v1/x?a=b%20c"
    assert said["body"] == '{"prompt": "p"}'
    sent = {k.lower(): v for k, v in said["headers"].items()}
    assert sent["x-request-id"] == "r-1"
    assert not {"authorization", "cookie"} & set(sent)  # our keys are not theirs
    assert said["audio_url"] == "/services/heartmula/audio/x.wav"
    assert "set-cookie" not in answer.headers
    shown = json.dumps(served.client.get("/v1/models").json())
    assert elsewhere.partition("://")[2] not in shown and f":{elsewhere.rpartition(':')[2]}" not in shown


def test_the_planner_elsewhere_plans_and_its_address_stays_secret(served: Served, elsewhere: str) -> None:
    answer = served.client.post("/generate", json={"narrative": "x", "duration": 30})
    assert answer.json()["audio_url"] == "/services/jen1/audio/x.wav"
    assert elsewhere not in answer.text
    assert answer.json()["title"] == "from elsewhere"
    assert json.loads(answer.json()["body"])["narrative"] == "x"


def test_one_that_does_not_answer_is_unavailable_and_still_secret(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with serving(tmp_path, "--workers", "0", HEARTMULA_BASE_URL=nowhere, JEN1_URL=nowhere) as running:
        for answer in (
            running.client.get("/services/heartmula/health"),
            running.client.post("/generate", json={"narrative": "x"}),
        ):
            assert answer.status_code == 503
            assert answer.json()["detail"]["retryable"]
            assert "127.0.0.1:9" not in answer.text


def test_heartmula_elsewhere_makes_the_music_and_its_address_stays_secret(elsewhere: str, tmp_path: Path) -> None:
    long_style = " ".join(["warm"] * 25)
    with serving(tmp_path, HEARTMULA_BASE_URL=elsewhere, HEARTMULA_TIMEOUT_SEC="300") as running:
        running.client.timeout = 180
        _Stub.asked.clear()
        answer = running.client.post(
            "/v1/music/generations", json={"style": long_style, "duration": 10, "temperature": 0.7}
        )
        assert answer.status_code == 200, answer.text
        said = answer.json()
        # The URL stands for the model that the service runs by default.
        default = "heartmula-3b-happy-new-year"
        assert (said["model"], said["seed"], said["duration"]) == (default, 5, pytest.approx(10, abs=0.1))
        (asked,) = (json.loads(a["body"]) for a in _Stub.asked if a["path"] == "/v1/music/generations")
        # Over twenty words of a prompt would be sung there.
        assert asked["style"] == long_style and "prompt" not in asked
        assert (asked["duration"], asked["temperature"]) == (10, 0.7)
        audio = running.client.get(said["audio_url"])
        assert audio.status_code == 200 and audio.content[:4] == b"RIFF"
        (job,) = running.client.get("/v1/jobs").json()["jobs"]
        assert job["deadline_s"] == 300  # max(HEARTMULA_TIMEOUT_SEC, 5 x duration + 30)
        told = [said, job, running.client.get(said["song_url"]).json(), running.client.get(job["events_url"]).text]
        port = elsewhere.rpartition(":")[2]
        assert f":{port}" not in json.dumps(told)
        assert f":{port}" not in (tmp_path / "log").read_text()
