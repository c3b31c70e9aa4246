"""API keys: who may do what, and what a server without keys will not do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import NARRATIVE, Served, command, serving

from tonewheel.gateway.keys import Keys
from tonewheel.library import Database

Cli = Callable[..., Any]
ORDER = {"narrative": NARRATIVE, "duration_s": 10}


@contextmanager
def keys_of(data_dir: Path) -> Iterator[Keys]:
    data_dir.mkdir(parents=True, exist_ok=True)
    database = Database.open(f"sqlite:///{data_dir / 'tonewheel.sqlite'}")
    keys = Keys(database)
    keys.create_tables()
    yield keys
    database.close()


def new_key(data_dir: Path, name: str, *scopes: str) -> str:
    with keys_of(data_dir) as keys:
        return keys.create(name, scopes)[1]


def revoke(data_dir: Path, key: str) -> None:
    with keys_of(data_dir) as keys:
        keys.revoke(key.split("_")[1])


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, dict[str, str]]]:
    """A server of another address that needs keys, and one key of each scope."""
    data_dir = tmp_path_factory.mktemp("locked") / "data"
    keys = {scope: new_key(data_dir, f"for {scope}", scope) for scope in ("read", "generate", "admin")}
    with serving(data_dir, "--workers", "0", "--host", "0.0.0.0") as served:
        served.client = httpx.Client(base_url=served.url.replace("0.0.0.0", "127.0.0.1"), timeout=120)
        yield served, keys


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


CLOSED = (
    ("GET", "/v1/songs"), ("POST", "/v1/songs"), ("GET", "/v1/jobs"), ("POST", "/v1/plans"), ("GET", "/metrics"),
    ("GET", "/v1/artifacts/art_x"), ("GET", "/services/jen1/health"), ("POST", "/generate"), ("POST", "/compose"),
    ("GET", "/v1/models"), ("DELETE", "/v1/songs/x"), ("GET", "/v1/jobs/x/events"), ("PUT", "/v1/songs/x"),
    ("GET", "/audio/x.wav"), ("POST", "/jobs"), ("GET", "/jobs/x"), ("POST", "/v1/music/generations"),
)  # fmt: skip


def test_without_a_key_only_health_is_told(locked: tuple[Served, dict[str, str]]) -> None:
    served, keys = locked
    for path in ("/livez", "/health", "/readyz"):
        assert served.client.get(path).status_code in (200, 503)
    wrong = keys["admin"][:-1] + ("A" if keys["admin"][-1] != "A" else "B")
    for headers in ({}, bearer("x"), bearer(wrong), {"X-Api-Key": "tw_"}, {"Authorization": f"Basic {keys['admin']}"}):
        for method, path in CLOSED:
            answer = served.client.request(method, path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.json()["detail"]["type"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_scopes_open_what_they_name(locked: tuple[Served, dict[str, str]]) -> None:
    served, keys = locked
    allowed = {
        "read": {"list"}, "generate": {"list", "order", "plan", "cancel"},
        "admin": {"list", "order", "plan", "cancel", "delete"},
    }  # fmt: skip
    for scope, key in keys.items():
        for headers in (bearer(key), {"X-Api-Key": key}, {"xi-api-key": key}):
            ask = served.client
            job = ask.post("/v1/songs", json=ORDER, headers=bearer(keys["generate"])).json()
            statuses = {
                "list": ask.get("/v1/songs", headers=headers).status_code,
                "order": ask.post("/v1/songs", json=ORDER, headers=headers).status_code,
                "plan": ask.post("/v1/plans", json=ORDER, headers=headers).status_code,
                "cancel": ask.delete(job["url"], headers=headers).status_code,
                "delete": ask.delete("/v1/songs/song_" + "A" * 22, headers=headers).status_code,
            }
            assert {what for what, status in statuses.items() if status != 403} == allowed[scope]


def test_two_clients_may_use_the_same_idempotency_key(locked: tuple[Served, dict[str, str]]) -> None:
    served, keys = locked
    ids = {
        served.client.post("/v1/songs", json=ORDER, headers=bearer(keys[s]) | {"Idempotency-Key": "same"}).json()["id"]
        for s in ("generate", "admin", "generate")
    }
    assert len(ids) == 2


def test_a_revoked_key_ends_at_once(locked: tuple[Served, dict[str, str]], tonewheel: Cli) -> None:
    served, _ = locked
    options = ["--data-dir", str(served.data_dir)]
    ran = tonewheel("keys", "create", "to be revoked", "--scope", "generate", *options, "--json")
    key = str(json.loads(ran.out)["key"])
    assert served.client.get("/v1/songs", headers=bearer(key)).status_code == 200
    assert tonewheel("keys", "revoke", key.split("_")[1], *options).code == 0
    answer = served.client.get("/v1/songs", headers=bearer(key))
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]["message"]


def test_keys_are_never_kept_or_listed(locked: tuple[Served, dict[str, str]], tonewheel: Cli) -> None:
    served, keys = locked
    listed = tonewheel("keys", "list", "--data-dir", str(served.data_dir), "--json").out
    assert {k["name"] for k in json.loads(listed)} >= {"for read", "for admin"}
    shown = tonewheel("keys", "list", "--data-dir", str(served.data_dir)).out
    files = (
        b"".join(p.read_bytes() for p in served.data_dir.glob("tonewheel.sqlite*"))
        + (served.data_dir / "log").read_bytes()
    )
    for key in keys.values():
        secret = key.split("_", 2)[2]
        assert secret not in listed + shown
        assert secret.encode() not in files


def test_a_public_address_without_a_key_is_refused(tmp_path: Path) -> None:
    ran = command("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "tonewheel keys create" in ran.stderr
    short = command("serve", "--host", "::", "--port", "0", "--data-dir", str(tmp_path), TONEWHEEL_API_KEY="short")
    assert short.returncode == 2
    assert "16" in short.stderr
    revoked = new_key(tmp_path, "gone", "admin")
    revoke(tmp_path, revoked)
    assert command("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path)).returncode == 2


def test_from_the_first_key_on_this_machine_needs_one_too(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "0") as served:
        assert served.client.get("/v1/songs").status_code == 200
        key = new_key(tmp_path, "first", "read")
        assert served.client.get("/v1/songs").status_code == 401
        assert served.client.get("/v1/songs", headers=bearer(key)).status_code == 200
        revoke(tmp_path, key)
        assert served.client.get("/v1/songs").status_code == 401  # losing the last key opens nothing


def test_the_key_of_the_environment_is_an_admins(tmp_path: Path) -> None:
    secret = "a-key-of-the-environment"
    with serving(tmp_path, "--workers", "0", TONEWHEEL_API_KEY=secret) as served:
        assert served.client.get("/v1/songs").status_code == 401
        assert served.client.get("/v1/songs", headers=bearer(secret)).status_code == 200
        assert served.client.delete("/v1/songs/none", headers=bearer(secret)).status_code == 404


def test_wrong_keys_commands_are_one_line(tonewheel: Cli, tmp_path: Path) -> None:
    for arguments in (("create", "x", "--scope", "wizard"), ("create", "a\nb"), ("revoke", "nothing")):
        ran = tonewheel("keys", *arguments, "--data-dir", str(tmp_path))
        assert ran.code == 2
        assert len(ran.err.strip().splitlines()) == 1
