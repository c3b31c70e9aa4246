"""How a service starts, refuses to start, and ends: real processes and real signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from processes import Service, error_of, service

from tonewheel.errors import BindRefused
from tonewheel.serving.address import tcp_socket


def test_while_the_model_loads_it_is_alive_but_not_ready(plugins: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(plugins), "DAWDLER_LOADS_UNTIL": str(tmp_path / "loaded")}
    with service("dawdler", tmp_path, ready=False, **env) as running:
        assert running.get("/health").json()["state"] == "loading"
        assert running.get("/healthz").status_code == 200
        until = time.monotonic() + 60
        while (ready := running.get("/readyz")).json()["progress"] is None and time.monotonic() < until:
            time.sleep(0.02)  # it listens before it begins to load
        error_of(ready, 503, "not_ready")
        assert ready.json()["status"] == "loading"
        assert ready.json()["progress"]["stage"] == "weights"
        refused = running.post()
        assert "loading" in error_of(refused, 503, "not_ready")["message"]
        assert int(refused.headers["retry-after"]) >= 1
        (tmp_path / "loaded").touch()
        running.wait("state", "ready")
        assert running.get("/readyz").status_code == 200
        assert running.post().status_code == 200


@pytest.mark.parametrize(
    ("why", "kind", "retryable", "says"),
    [
        ("memory", "out_of_memory", True, "needs 9 GB"),
        ("licence", "consent_required", False, "asks for a yes"),
        ("fault", "internal", False, "error id"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why_and_stays_alive(
    plugins: Path, tmp_path: Path, why: str, kind: str, retryable: bool, says: str
) -> None:
    with service("dawdler", tmp_path, ready=False, PYTHONPATH=str(plugins), DAWDLER_LOAD_FAILS=why) as running:
        running.wait("state", "failed")
        ready = running.get("/readyz")
        told = error_of(ready, 503, kind)
        assert says in told["message"] and told["retryable"] is retryable
        assert ready.json()["status"] == "failed"
        assert "passwd" not in ready.text
        assert told.get("error_id", "") in running.log.read_text()
        assert ("error_id" in told) is (why == "fault")
        refused = error_of(running.post(), 503, "not_ready")
        assert says in refused["message"] and refused["retryable"] is retryable
        if why == "fault":
            assert refused["message"].endswith(f"error id {told['error_id']}")
        assert running.get("/health").status_code == 200


def _asked(running: Service, got: list[httpx.Response], **body: object) -> threading.Thread:
    url = f"{running.about['url']}/predict"
    thread = threading.Thread(target=lambda: got.append(httpx.post(url, json=body, timeout=120)))
    thread.start()
    running.wait("busy", 1)
    return thread


def test_on_sigterm_the_running_request_ends_new_ones_get_503_and_the_exit_is_clean(
    plugins: Path, tmp_path: Path
) -> None:
    got: list[httpx.Response] = []
    with service("dawdler", tmp_path, PYTHONPATH=str(plugins)) as running:
        thread = _asked(running, got, hold=str(tmp_path / "enough"))
        running.process.send_signal(signal.SIGTERM)
        running.wait("state", "draining")
        assert "stopping" in error_of(running.post(), 503, "not_ready")["message"]
        error_of(running.get("/readyz"), 503, "not_ready")
        (tmp_path / "enough").touch()
        assert running.process.wait(120) == 0
        thread.join()
    assert got[0].status_code == 200
    assert got[0].json()["audio_base64"]


def test_what_outlasts_the_grace_period_is_stopped_and_told(plugins: Path, tmp_path: Path) -> None:
    got: list[httpx.Response] = []
    with service("dawdler", tmp_path, PYTHONPATH=str(plugins), TONEWHEEL_DRAIN_S="0.5") as running:
        thread = _asked(running, got, hold=str(tmp_path / "never"))
        assert running.stop() == 0
        thread.join()
    detail = error_of(got[0], 503, "not_ready")
    assert detail["retryable"] is True


def test_stuck_work_cannot_keep_the_process(plugins: Path, tmp_path: Path) -> None:
    got: list[httpx.Response] = []
    with service("dawdler", tmp_path, PYTHONPATH=str(plugins), TONEWHEEL_DRAIN_S="0") as running:
        url = f"{running.about['url']}/predict"

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                got.append(httpx.post(url, json={"hold": str(tmp_path / "never"), "deaf": True}, timeout=120))

        thread = threading.Thread(target=ask)
        thread.start()
        running.wait("busy", 1)
        assert running.stop() == 1
        thread.join()


def test_files_kept_for_fetching_go_with_the_service_or_with_the_next(plugins: Path, tmp_path: Path) -> None:
    def kept(sig: int) -> list[Path]:
        with service("dawdler", tmp_path, PYTHONPATH=str(plugins), TMPDIR=str(tmp_path)) as running:
            running.client.post("/predict/stream", json={}, headers={"accept": "text/event-stream, audio/wav"})
            assert any(tmp_path.glob("tonewheel-files-*/*"))
            running.stop(sig)
        return list(tmp_path.glob("tonewheel-files-*"))

    assert kept(signal.SIGTERM) == []
    left = kept(signal.SIGKILL)
    assert len(left) == 1
    assert left[0].stat().st_mode & 0o077 == 0
    assert kept(signal.SIGTERM) == []


# ── the address ─────────────────────────────────────────────────────────────────────────────────


def refused(*arguments: str, **env: str) -> str:
    """What a service says that does not start."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TONEWHEEL_")}
    command = [sys.executable, "-m", "tonewheel.cli.main", "service", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean | env, check=False)
    assert ran.returncode == 2, ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    return ran.stderr


def test_a_public_address_without_a_key_is_refused() -> None:
    said = refused("jen1", "--host", "0.0.0.0", "--port", "0")
    assert "TONEWHEEL_API_KEY" in said
    assert "--public-without-key" in said


def test_a_taken_port_and_an_unknown_name_are_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "taken" in refused("jen1", "--port", str(taken.getsockname()[1]))
    assert "did you mean composer" in refused("compooser")


def test_of_two_that_begin_together_the_second_is_told_that_the_port_is_taken() -> None:
    with tcp_socket("127.0.0.1", 0) as first, pytest.raises(BindRefused, match="taken"):
        tcp_socket("127.0.0.1", first.getsockname()[1])


def test_with_a_key_everything_but_health_asks_for_it(plugins: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(plugins), "TONEWHEEL_API_KEY": "s3cret-kéy"}
    with service("dawdler", tmp_path, "--host", "0.0.0.0", **env) as running:
        for path in ("/health", "/healthz", "/readyz"):
            assert running.get(path).status_code == 200
        for path in ("/metrics", "/v1/metadata", "/v1/files/x", "/nothing"):
            error_of(running.get(path), 401, "unauthorized")
        for wrong in ("", "Bearer", "Bearer wrong", "Basic s3cret", "Bearer s3cret-k"):
            denied = running.post(headers={"authorization": wrong})
            error_of(denied, 401, "unauthorized")
            assert denied.headers["www-authenticate"] == "Bearer"
        right = "s3cret-kéy".encode()
        assert running.post(headers={b"authorization": b"Bearer " + right}).status_code == 200
        assert running.post(headers={b"x-api-key": right}).status_code == 200
        assert "s3cret" not in running.log.read_text()


def test_a_unix_socket_is_only_for_its_user_and_is_taken_over_from_the_dead(plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    for _ in range(2):
        with service("dawdler", tmp_path, "--uds", str(path), PYTHONPATH=str(plugins)) as running:
            assert running.about["uds"] == str(path)
            assert path.stat().st_mode & 0o077 == 0
            assert running.post().status_code == 200
            running.process.kill()  # leaves the socket file behind


def test_the_unix_socket_of_a_living_service_is_not_taken(plugins: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    with service("dawdler", tmp_path, "--uds", str(path), PYTHONPATH=str(plugins)) as running:
        assert "another process listens there" in refused("jen1", "--uds", str(path))
        assert running.post().status_code == 200
        path.unlink()
        path.touch()  # somebody else's by now
        assert running.stop() == 0
    assert path.exists()


@pytest.mark.parametrize("name", ["service", "models"])
def test_help_and_plain_commands_do_not_load_the_web(name: str) -> None:
    code = (
        "import sys; sys.argv = ['tonewheel', '--help'];\n"
        "from tonewheel.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "bad = {'fastapi', 'uvicorn', 'starlette', 'numpy', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    if name == "models":
        code = (
            "import sys; from tonewheel.models import registry; registry.cards();\n"
            "bad = {'fastapi', 'starlette', 'numpy', 'torch', 'scipy'} & set(sys.modules); assert not bad, bad"
        )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=120)
