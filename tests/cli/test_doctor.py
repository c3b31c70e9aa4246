"""`tonewheel doctor` and `tonewheel validate` tell the truth and say what to do."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., "object"]


@pytest.fixture(autouse=True)
def own_data(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    settings.cache_clear()


def test_doctor_looks_at_everything_and_is_content_here(tonewheel: Cli) -> None:
    ran = tonewheel("doctor", "--json")
    assert ran.code == 0, ran.out
    names = {f["name"] for f in json.loads(ran.out)}
    assert {"Python", "SQLite", "torch", "memory", "disk", "port 8900", "port 4001"} <= names


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
    assert outcome["state"] == "ok"
    assert "title" in outcome["said"]


def test_validate_fails_when_a_model_cannot_answer(tonewheel: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.settings import settings

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("JEN1_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        settings.cache_clear()
        ran = tonewheel("validate", "jen1", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)[0]["state"] == "failed"
