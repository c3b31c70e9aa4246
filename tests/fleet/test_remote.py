"""Models elsewhere: used by their URL, never declared dead while they work, never named to the outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from fleet_help import InBackground, MakeFleet, wait_for

from tonewheel.announcement import announced
from tonewheel.errors import Cancelled, InvalidRequest, Unavailable, UnknownName
from tonewheel.fleet import remote as remote_module
from tonewheel.fleet.catalogue import catalogue
from tonewheel.fleet.client import Fleet
from tonewheel.fleet.remote import RemoteService, deadline_seconds
from tonewheel.settings import settings

WAV = b"RIFF....WAVE" * 100


@dataclass
class OldServer:
    """heartmula as it exists: one thread, so that its `/health` is silent while it renders: until `rendered`."""

    rendered: threading.Event = field(default_factory=threading.Event)
    refuse: tuple[int, Any] | None = None
    asked: list[tuple[str, Any, str | None]] = field(default_factory=list)
    absolute: str = ""  # what it puts before its audio's path
    url: str = ""

    def post(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers["content-length"])))
        self.asked.append((request.path, body, request.headers.get("authorization")))
        self.rendered.wait(60)
        status, answer = self.refuse or (200, {
            "id": "song1", "status": "completed", "audio_url": f"{self.absolute}/audio/song1.wav", "duration": 12.0,
            "prompt": f"made at {self.url}/x", "seed": 7,
        })  # fmt: skip
        self._send(request, status, json.dumps(answer).encode(), "application/json")

    def get(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, None, None))
        if request.path == "/audio/song1.wav":
            self._send(request, 200, WAV, "audio/wav")
        else:
            self._send(request, 200 if request.path == "/health" else 404, b"{}", "application/json")

    def _send(self, request: BaseHTTPRequestHandler, status: int, data: bytes, kind: str) -> None:
        request.send_response(status)
        request.send_header("content-type", kind)
        request.send_header("content-length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[OldServer]:
    server = OldServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            server.post(self)

        def do_GET(self) -> None:
            server.get(self)

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    monkeypatch.setattr(remote_module, "_PROBE_S", 0.5)
    monkeypatch.setattr(remote_module, "_FRESH_S", 0.0)
    server.rendered.set()
    yield server
    server.rendered.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def heartmula(old: OldServer, monkeypatch: pytest.MonkeyPatch, make_fleet: MakeFleet) -> Fleet:
    monkeypatch.setenv("HEARTMULA_BASE_URL", old.url)
    settings.cache_clear()
    return make_fleet()


def test_heartmula_is_asked_by_its_own_contract_and_its_audio_fetched(heartmula: Fleet, old: OldServer) -> None:
    answer = heartmula.call("heartmula", {"prompt": "x", "duration": 12}, accept="audio/wav")
    assert answer.audio is not None and answer.audio.read() == WAV and answer.audio.media_type == "audio/wav"
    assert answer.fields["seed"] == 7
    assert [path for path, _, _ in old.asked] == ["/v1/music/generations", "/audio/song1.wav"]
    assert old.asked[0][1] == {"prompt": "x", "duration": 12}


def test_its_address_is_in_no_answer_and_no_error(heartmula: Fleet, old: OldServer) -> None:
    port = ":" + old.url.rsplit(":", 1)[1]  # the digits alone may stand in any figure
    answer = heartmula.call("heartmula", {"prompt": "x"}, accept="audio/wav")
    assert port not in json.dumps(dict(answer.fields))
    old.refuse = (422, {"detail": f"bad tags, see {old.url}/docs"})
    with pytest.raises(InvalidRequest, match="bad tags") as caught:
        heartmula.call("heartmula", {"prompt": "x"})
    assert port not in caught.value.message
    shown = json.dumps([entry.to_dict() for entry in catalogue(heartmula.records)])
    assert "heartmula" in shown and port not in shown


def test_a_link_to_another_host_is_not_followed(heartmula: Fleet, old: OldServer) -> None:
    old.absolute = "http://169.254.169.254:1"  # only the path is used, at the host that was asked
    answer = heartmula.call("heartmula", {"prompt": "x"}, accept="audio/wav")
    assert answer.audio is not None and answer.audio.read() == WAV


def test_a_long_render_does_not_fail_the_health_check(heartmula: Fleet, old: OldServer) -> None:
    remote = heartmula.remotes.of("heartmula")
    assert remote is not None and wait_for(lambda: remote.health() == "up")
    old.rendered.clear()
    work = InBackground(lambda: heartmula.call("heartmula", {"prompt": "x"}, accept="audio/wav"))
    assert wait_for(lambda: any(path.startswith("/v1") for path, _, _ in old.asked))
    assert remote.health() == "busy"  # it cannot answer now, being one thread
    assert RemoteService("heartmula", old.url).health() == "slow"  # somebody else's render: silent is not dead
    old.rendered.set()
    assert work.result().audio is not None
    assert wait_for(lambda: remote.health() == "up")


def test_a_server_nobody_listens_at_is_down_and_may_come_back(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEARTMULA_BASE_URL", "http://127.0.0.1:9")
    settings.cache_clear()
    fleet = make_fleet()
    remote = fleet.remotes.of("heartmula")
    assert remote is not None and remote.health() == "down"
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        fleet.call("heartmula", {"prompt": "x"})
    assert caught.value.retryable and "127.0.0.1" not in caught.value.message


def test_a_cancelled_call_lets_go_of_a_server_that_does_not_answer(heartmula: Fleet, old: OldServer) -> None:
    old.rendered.clear()
    stop = threading.Event()
    work = InBackground(lambda: heartmula.call("heartmula", {"prompt": "x"}, cancelled=stop.is_set))
    assert wait_for(lambda: bool(old.asked))
    stop.set()
    with pytest.raises(Cancelled):
        work.result()


def test_deadlines_follow_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTMULA_TIMEOUT_SEC", "200")
    settings.cache_clear()
    assert deadline_seconds("heartmula", 30) == 200
    assert deadline_seconds("heartmula", 60) == 330
    settings.cache_clear()


def test_a_model_without_a_url_and_without_a_card_is_unknown(fleet: Fleet) -> None:
    with pytest.raises(UnknownName):
        fleet.call("nobodys-model", {"prompt": "x"})


@pytest.fixture
def service(data_dir: Path) -> Iterator[Callable[..., str]]:
    """Our own service of the tester, as on another machine; gives its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(**environment: str) -> str:
        command = [sys.executable, "-m", "tonewheel.serving", "one", "--port", "0", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
        started.append(process)
        assert process.stdout is not None
        return next(str(about["url"]) for line in process.stdout if (about := announced(line)) is not None)

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_service_of_ours_elsewhere_is_used_with_its_key_and_nothing_started_here(
    service: Callable[..., str], fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TONEWHEEL_ONE_URL", service(TONEWHEEL_API_KEY="sesame"))
    monkeypatch.setenv("TONEWHEEL_ONE_KEY", "sesame")
    told: list[str] = []
    answer = fleet.call("one", {"seconds": 0.2}, progress=lambda stage, share, eta: told.append(stage), deadline_s=300)
    assert answer.fields["pid"] and "sleep" in told
    assert fleet.records.live() == []
    monkeypatch.setattr(remote_module, "_PROBE_S", 60.0)
    (entry,) = (e for e in catalogue(fleet.records, fleet.remotes, probe=True) if e.id == "one")
    assert (entry.state, entry.health) == ("remote", "up")


def test_a_url_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    monkeypatch.setenv("TONEWHEEL_ONE_URL", "not a url")
    with pytest.raises(InvalidRequest, match="http://HOST:PORT"):
        fleet.call("one", {})
