"""`tonewheel keys` and `tonewheel jobs` without a server, and with nonsense: one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tonewheel.jobs import SongRequest, open_jobs
from tonewheel.settings import Settings, settings

Cli = Callable[..., "object"]


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that is not there yet."""
    folder = tmp_path_factory.mktemp("data") / "tonewheel"
    for name in ("TONEWHEEL_DATABASE_URL", "TONEWHEEL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(folder))
    settings.cache_clear()
    yield folder
    settings.cache_clear()


def refused(tonewheel: Cli, *arguments: str) -> str:
    """The one line on standard error."""
    ran = tonewheel(*arguments)
    assert (ran.code, ran.out) == (2, ""), (arguments, ran.out, ran.err)
    (line,) = ran.err.strip().splitlines()
    assert "a fault of Tonewheel" not in line
    return str(line)


def test_looking_makes_nothing(tonewheel: Cli, data_dir: Path) -> None:
    assert "no keys" in tonewheel("keys", "list").out
    assert json.loads(tonewheel("keys", "list", "--json").out) == []
    assert "no key" in refused(tonewheel, "keys", "revoke", "nothing")
    for command in (["list"], ["list", "--json"], ["show", "x"], ["watch", "x"], ["cancel", "x"]):
        assert "nothing was ordered" in refused(tonewheel, "jobs", *command)
    assert not data_dir.exists()


@pytest.mark.parametrize("command", [["keys", "list"], ["keys", "create", "me"], ["jobs", "list"]])
def test_places_that_cannot_be_used_are_told_in_one_line(tonewheel: Cli, data_dir: Path, command: list[str]) -> None:
    assert "--data-dir" in refused(tonewheel, *command, "--data-dir", __file__)
    assert "is not an SQLite database" in refused(tonewheel, *command, "--database", f"sqlite:///{__file__}")
    assert "not supported" in refused(tonewheel, *command, "--database", "oracle://x")
    assert "cannot be read" in refused(tonewheel, *command, "--database", "nonsense")
    assert not data_dir.exists()


def test_a_key_is_made_listed_and_revoked(tonewheel: Cli, data_dir: Path) -> None:
    made = json.loads(tonewheel("keys", "create", "laptop", "--scope", "read", "--json").out)
    assert made["key"].startswith(f"tw_{made['id']}_")
    listed = tonewheel("keys", "list")
    assert "laptop" in listed.out and made["key"] not in listed.out
    ended = tonewheel("keys", "revoke", made["id"])
    assert ended.code == 0 and "no valid key is left" in ended.err
    assert "revoked" in tonewheel("keys", "list").out
    assert "known: admin, generate, read" in refused(tonewheel, "keys", "create", "x", "--scope", "wizard")


def test_jobs_are_listed_shown_and_cancelled_without_a_server(tonewheel: Cli, data_dir: Path) -> None:
    store, _ = open_jobs(Settings(data_dir=data_dir))
    first, second = (store.submit(SongRequest(narrative=f"song {n}", duration_s=10)).id for n in (1, 2))
    store.database.close()
    listed = tonewheel("jobs", "list")
    assert first in listed.out and second in listed.out and "song 1" in listed.out
    page = json.loads(tonewheel("jobs", "list", "-n", "1", "--json").out)
    assert [j["id"] for j in page["jobs"]] == [second]
    after = json.loads(tonewheel("jobs", "list", "--after", page["next"], "--json").out)
    assert [j["id"] for j in after["jobs"]] == [first]
    shown = json.loads(tonewheel("jobs", "show", first, "--json").out)
    assert shown["events"][0]["type"] == "queued"
    assert json.loads(tonewheel("jobs", "cancel", first, second, "--json").out) == [
        {"id": first, "state": "cancelled"}, {"id": second, "state": "cancelled"},
    ]  # fmt: skip
    watched = tonewheel("jobs", "watch", first)
    assert watched.code == 1 and "cancelled" in watched.out


def test_wrong_jobs_and_pages_are_told(tonewheel: Cli, data_dir: Path) -> None:
    store, _ = open_jobs(Settings(data_dir=data_dir))
    store.database.close()
    for command in (["show"], ["watch"], ["cancel"], ["list", "--after"]):
        for wrong in ("nonsense", "job_" + "A" * 22, "../../etc/passwd"):
            assert "there is no job" in refused(tonewheel, "jobs", *command, wrong)
    assert "'asleep' is not one of 'queued'" in (said := refused(tonewheel, "jobs", "list", "--state", "asleep"))
    assert "Value error" not in said
    assert "1 to 200" in refused(tonewheel, "jobs", "list", "-n", "0")
    refused(tonewheel, "jobs", "list", "--state", "asleep")


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "x"), ("KEEP_JOBS_DAYS", "-1"), ("QUEUE_LIMIT", "many"), ("KEEP_ALIVE", "soon")]
)
def test_a_setting_that_cannot_be_is_named(
    tonewheel: Cli, data_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TONEWHEEL_{name}", value)
    settings.cache_clear()
    for command in (("jobs", "list"), ("serve",)):  # at its start, not at the first request
        assert f"TONEWHEEL_{name}" in (said := refused(tonewheel, *command)) and "Value error" not in said
    settings.cache_clear()
