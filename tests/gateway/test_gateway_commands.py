"""`tonewheel jobs` at a server tells what it tells of a database."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from served import Served

from tonewheel.cli.server_client import Server
from tonewheel.cli.server_jobs import ServerJobs

Cli = Callable[..., Any]


def told(ran: Any) -> Any:
    """What a command told in JSON."""
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_jobs_of_a_server_are_those_of_its_database(tonewheel: Cli, dawdling: Served) -> None:
    first, second = (dawdling.order(narrative=f"song {n}")["id"] for n in (1, 2))
    here, there = ("--data-dir", str(dawdling.data_dir)), ("--server", dawdling.url)
    page = told(tonewheel("jobs", "list", "-n", "1", "--json", *there))
    assert [j["id"] for j in page["jobs"]] == [second] and page["next"] == second
    after = told(tonewheel("jobs", "list", "--after", second, "--state", "queued", "--json", *there))
    assert after["jobs"][0]["id"] == first
    assert first in tonewheel("jobs", "list", *there).out
    shown = told(tonewheel("jobs", "show", first, "--json", *there))
    directly = told(tonewheel("jobs", "show", first, "--json", *here))
    assert shown | {"eta_s": None} == directly | {"eta_s": None}
    assert [e["type"] for e in shown["events"]] == ["queued"]
    assert told(tonewheel("jobs", "cancel", first, second, "--json", *there)) == [
        {"id": first, "state": "cancelled"}, {"id": second, "state": "cancelled"},
    ]  # fmt: skip
    watched = tonewheel("jobs", "watch", first, *there)
    assert watched.code == 1 and "cancelled" in watched.out


def test_a_job_that_is_done_was_watched_to_its_end(tonewheel: Cli, server: Served, made: dict[str, Any]) -> None:
    watched = tonewheel("jobs", "watch", made["job_id"], "--json", "--server", server.url)
    assert watched.code == 0
    events = [json.loads(line) for line in watched.out.splitlines()]
    assert events[-1]["type"] == "done"
    assert events == told(tonewheel("jobs", "show", made["job_id"], "--json", "--server", server.url))["events"]


def test_a_server_says_whether_anybody_works(dawdling: Served, server: Served) -> None:
    with Server(dawdling.url) as asked:
        assert ServerJobs(asked).nobody_works()
    until = time.monotonic() + 120
    with Server(server.url) as asked:
        while ServerJobs(asked).nobody_works():  # its worker may just be starting
            assert time.monotonic() < until
            time.sleep(0.05)


def test_the_environment_names_the_server_and_a_database_named_goes_before_it(
    tonewheel: Cli, dawdling: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from tonewheel.settings import settings

    job = dawdling.order()["id"]
    monkeypatch.setenv("TONEWHEEL_SERVER", dawdling.url)
    settings.cache_clear()
    assert job in tonewheel("jobs", "list").out
    assert "nothing was ordered" in tonewheel("jobs", "list", "--data-dir", str(tmp_path / "none")).err
    both = tonewheel("jobs", "list", "--server", dawdling.url, "--data-dir", str(dawdling.data_dir))
    assert both.code == 2 and "a database of its own" in both.err
    told(tonewheel("jobs", "cancel", job, "--json"))
    settings.cache_clear()


@pytest.mark.parametrize("wrong", ["nonsense", "job_" + "A" * 22, "../../v1/songs", "a?b=c", ".."])
def test_wrong_jobs_are_told_in_one_line(tonewheel: Cli, dawdling: Served, wrong: str) -> None:
    for command in (["show"], ["watch"], ["cancel"], ["list", "--after"]):
        ran = tonewheel("jobs", *command, wrong, "--server", dawdling.url)
        assert (ran.code, ran.out) == (2, ""), (command, ran.out)
        assert len(ran.err.strip().splitlines()) == 1 and "a fault of Tonewheel" not in ran.err


def test_a_server_that_is_not_there_is_told(tonewheel: Cli) -> None:
    ran = tonewheel("jobs", "list", "--server", "http://127.0.0.1:9")
    assert ran.code == 1 and "cannot be reached" in ran.err


def test_events_so_far_are_a_list_for_who_asks_for_json(dawdling: Served) -> None:
    job = dawdling.order()
    asked = dawdling.client.get(job["events_url"], headers={"accept": "application/json"})
    assert asked.headers["content-type"] == "application/json"
    (event,) = asked.json()["events"]
    assert (event["id"], event["type"], event["job_id"]) == (1, "queued", job["id"])
    more = dawdling.client.get(job["events_url"], headers={"accept": "application/json"}, params={"after": 1})
    assert more.json() == {"events": []}
    dawdling.client.delete(job["url"])
    stream = dawdling.client.get(job["events_url"], headers={"accept": "text/event-stream, application/json"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    gone = dawdling.client.get("/v1/jobs/job_" + "A" * 22 + "/events", headers={"accept": "application/json"})
    assert gone.status_code == 404
