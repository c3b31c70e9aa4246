"""`tonewheel doctor` and `tonewheel validate` tell the truth and say what to do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Cli = Callable[..., "object"]


@pytest.fixture(autouse=True)
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_doctor_looks_at_everything_and_is_content_here(tonewheel: Cli) -> None:
    ran = tonewheel("doctor", "--json")
    assert ran.code == 0, ran.out
    names = {f["name"] for f in json.loads(ran.out)}
    assert {"Python", "SQLite", "torch", "memory", "data folder", "disk", "database", "port 8900", "port 4001"} <= names


def test_doctor_tells_a_port_in_use_and_what_to_do(tonewheel: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.settings import settings

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("TONEWHEEL_PORT", str(port))
        settings.cache_clear()
        found = {f["name"]: f for f in json.loads(tonewheel("doctor", "--json").out)}
    assert found[f"port {port}"]["state"] == "warning"
    assert "--port" in found[f"port {port}"]["do"]


def test_doctor_tells_its_own_server_from_others(tonewheel: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.settings import settings

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "ok", "service": "gateway", "version": "9.9"}).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TONEWHEEL_PORT", str(server.server_port))
    monkeypatch.setattr("tonewheel.cli.doctor._ANSWER_S", 120.0)
    settings.cache_clear()
    found = {f["name"]: f for f in json.loads(tonewheel("doctor", "--json").out)}[f"port {server.server_port}"]
    server.shutdown()
    assert found["state"] == "ok" and "9.9" in found["found"]


@pytest.mark.parametrize(
    ("variable", "value", "name", "says"),
    [
        ("TONEWHEEL_DATA_DIR", __file__, "data folder", "no folder"),
        ("TONEWHEEL_DATABASE_URL", f"sqlite:///{__file__}", "database", "is not an SQLite database"),
        ("TONEWHEEL_DATABASE_URL", "oracle://x", "database", "not supported"),
        ("TONEWHEEL_DATABASE_URL", "postgresql://me:secret@127.0.0.1:9/x", "database", "does not answer"),
    ],
)
def test_doctor_tells_what_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, says: str
) -> None:
    from tonewheel.cli.doctor import database, disk
    from tonewheel.settings import settings

    monkeypatch.setenv(variable, value)
    settings.cache_clear()
    found = {f.name: f for f in (*disk(), database())}[name]
    assert found.state == "fault"
    assert says in found.found and found.do
    assert "secret" not in str(found)


def test_doctor_finds_a_torchaudio_that_cannot_be_imported(
    tonewheel: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "torch.py").write_text("raise OSError('libtorch.so: not found')")
    (broken / "torchaudio.py").write_text("raise OSError('libc10_cuda.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(broken))
    monkeypatch.setenv("PYTHONPATH", str(broken))
    ran = tonewheel("doctor", "--json")
    found = {f["name"]: f for f in json.loads(ran.out)}
    assert ran.code == 1
    assert "libc10_cuda" in found["torchaudio"]["found"]
    assert "uninstall" in found["torchaudio"]["do"]


def test_validate_has_the_planner_do_real_work(tonewheel: Cli) -> None:
    ran = tonewheel("validate", "jen1", "--json")
    assert ran.code == 0, ran.err
    (outcome,) = json.loads(ran.out)
    assert (outcome["state"], outcome["health"]) == ("ok", "ok")
    assert "title" in outcome["said"]


def test_validate_finds_small_work_for_every_kind_of_model() -> None:
    from tonewheel.cli.validate import small_request
    from tonewheel.fleet.client import Target
    from tonewheel.models import registry

    for family in registry.families().values():
        body = small_request(Target(family.cards[0].id, family, family.cards[0], None))
        assert family.request.model_validate(dict(body)).audio_seconds() <= 10, family.name


def test_validate_asks_services_elsewhere_that_are_known_by_their_url_only(
    tonewheel: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.settings import settings

    monkeypatch.setenv("HEARTMULA_BASE_URL", "http://127.0.0.1:9")
    settings.cache_clear()
    ran = tonewheel("validate", "heartmula", "--json")
    (outcome,) = json.loads(ran.out)
    assert (ran.code, outcome["state"]) == (1, "failed")
    assert "127.0.0.1" not in ran.out


def test_validate_fails_when_a_model_cannot_answer(tonewheel: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.settings import settings

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("JEN1_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        settings.cache_clear()
        ran = tonewheel("validate", "jen1", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)[0]["state"] == "failed"
