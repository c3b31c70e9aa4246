"""Services that run elsewhere, through the gateway: used, and never named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from served import Served, serving


class _Stub(BaseHTTPRequestHandler):
    """Tells what it was asked, and its own address."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        said = {
            "path": self.path, "body": self.rfile.read(length).decode(), "headers": dict(self.headers.items()),
            "audio_url": f"http://{self.headers['host']}/audio/x.wav", "title": "from elsewhere",
        }  # fmt: skip
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("set-cookie", "a=b")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _answer  # noqa: N815  (names of the standard library)

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
    assert elsewhere.rpartition(":")[2] not in shown


def test_the_planner_elsewhere_plans(served: Served) -> None:
    answer = served.client.post("/generate", json={"narrative": "x", "duration": 30})
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
