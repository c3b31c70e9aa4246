"""Clients that leave, that are slow, that are many: nothing is left behind, and the others notice nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest
from served import NARRATIVE, Served

from tonewheel.jobs import JobStore, open_jobs
from tonewheel.jobs.records import Records
from tonewheel.jobs.tables import jobs
from tonewheel.settings import Settings

MANY = 2500  # more than two pages of events
ENDLESS = {"steps": 3000, "step_s": 0.1, "prompt": "nobody waits for this"}


def wait_for(what: Callable[[], Any], s: float = 120) -> Any:
    """What `what` says once it is true."""
    until = time.monotonic() + s
    while not (found := what()):
        assert time.monotonic() < until, f"still {found!r}"
        time.sleep(0.05)
    return found


@contextmanager
def store_of(served: Served) -> Iterator[JobStore]:
    store, _ = open_jobs(Settings(data_dir=served.data_dir), create=False)
    yield store
    store.database.close()


def tell(served: Served, job_id: str, count: int, stage: str = "render") -> None:
    """Let `count` more things happen to a job, as a worker would."""
    with store_of(served) as store:
        records = Records(store.database)

        def work(c: Any) -> None:
            for n in range(count):
                records.change(c, [jobs.c.id == job_id], "progress", {"stage": stage, "fraction": n / count})

        store.database.write(work)


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]


def ordered(served: Served) -> dict[str, Any]:
    return served.client.post("/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10}).json()


def streams(served: Served) -> int:
    """How many follow a job, as the server counts them."""
    told = re.search(r"^tonewheel_event_streams (\S+)$", served.client.get("/metrics").text, re.MULTILINE)
    assert told is not None
    return int(float(told[1]))


def connections(served: Served) -> int:
    """Sockets that the gateway holds open for clients."""
    gateway = psutil.Process(int(served.about["gateway_pid"]))
    return sum(c.status == psutil.CONN_ESTABLISHED for c in gateway.net_connections("tcp"))


# ── events ──


def test_the_feed_of_a_long_job_is_complete(dawdling: Served) -> None:
    job = ordered(dawdling)
    tell(dawdling, job["id"], MANY)
    seen: list[int] = []
    with dawdling.client.stream("GET", job["events_url"]) as open_job:
        for line in open_job.iter_lines():
            seen += numbers(line)
            if seen and seen[-1] == MANY + 1:  # all that was there, while the job goes on
                dawdling.client.delete(job["url"])
    assert seen == list(range(1, MANY + 3))
    assert numbers(dawdling.client.get(job["events_url"]).text) == seen
    later = dawdling.client.get(job["events_url"], headers={"Last-Event-ID": "1400"}).text
    assert numbers(later) == seen[1400:]
    assert later.rstrip().splitlines()[-2] == "event: cancelled"


def test_two_hundred_follow_one_job_and_those_who_leave_are_forgotten(dawdling: Served) -> None:
    job = ordered(dawdling)
    wait_for(lambda: streams(dawdling) == 0)
    before = connections(dawdling)
    staying: list[str] = []

    async def follow(client: httpx.AsyncClient, leave: asyncio.Event | None) -> None:
        async with client.stream("GET", job["events_url"]) as answer:
            lines = answer.aiter_lines()
            if leave is not None:
                await leave.wait()
                return
            staying.append("\n".join([line async for line in lines]))

    async def everybody() -> None:
        leave = asyncio.Event()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=dawdling.url, timeout=120, limits=limits) as client:
            going = [asyncio.create_task(follow(client, leave)) for _ in range(100)]
            rest = [asyncio.create_task(follow(client, None)) for _ in range(100)]
            await asyncio.to_thread(wait_for, lambda: streams(dawdling) == 200)
            leave.set()
            await asyncio.gather(*going)
            await asyncio.to_thread(wait_for, lambda: streams(dawdling) == 100)
            await asyncio.to_thread(tell, dawdling, job["id"], 20)
            await asyncio.to_thread(dawdling.client.delete, job["url"])
            await asyncio.gather(*rest)

    asyncio.run(everybody())
    assert len(staying) == 100
    assert all(numbers(text) == list(range(1, 23)) for text in staying)
    wait_for(lambda: streams(dawdling) == 0)
    wait_for(lambda: connections(dawdling) <= before)


def test_a_reader_who_does_not_read_holds_nobody_up(dawdling: Served) -> None:
    job = ordered(dawdling)
    tell(dawdling, job["id"], MANY, stage="x" * 4000)  # 10 MB: more than the sockets hold
    host, port = dawdling.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(180)
        slow.connect((host, int(port)))
        slow.sendall(f"GET {job['events_url']} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        wait_for(lambda: streams(dawdling) == 1)
        dawdling.client.delete(job["url"])
        assert len(numbers(dawdling.client.get(job["events_url"]).text)) == MANY + 2
        assert dawdling.client.get("/livez").status_code == 200
        assert streams(dawdling) == 1  # he has not got everything: the server waits for him
        said = b""
        while b"event: cancelled" not in said[-10_000:]:
            piece = slow.recv(1 << 20)
            assert piece, "the stream broke off"
            said += piece
    assert numbers(said.decode().replace("\r\n", "\n"))[-1] == MANY + 2
    wait_for(lambda: streams(dawdling) == 0)


def test_a_look_at_the_head_of_a_stream_does_not_wait_for_its_end(dawdling: Served) -> None:
    job = ordered(dawdling)
    head = dawdling.client.head(job["events_url"])
    assert head.headers["content-type"].startswith("text/event-stream")
    dawdling.client.delete(job["url"])


# ── services ──


def counted(served: Served, what: str) -> int:
    """How many runs have `begun` or were `stopped`."""
    return int(served.client.get("/services/dawdler/stopped").json()[what])


@pytest.mark.parametrize("path", ["predict", "predict/stream"])
def test_one_who_leaves_a_service_stops_its_work(dawdling: Served, path: str) -> None:
    before = counted(dawdling, "stopped")
    url = f"/services/dawdler/{path}"
    assert dawdling.client.post(url, json={"prompt": "quick"}).status_code == 200
    begun = counted(dawdling, "begun")
    host, port = dawdling.url.removeprefix("http://").split(":")
    body = httpx.Request("POST", "http://x", json=ENDLESS).content
    with socket.create_connection((host, int(port)), timeout=120) as leaving:
        head = f"POST {url} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
        leaving.sendall(head.encode() + body)
        wait_for(lambda: counted(dawdling, "begun") == begun + 1)  # a slot is busy before its work begins
    wait_for(lambda: counted(dawdling, "stopped") == before + 1)
    leases = dawdling.data_dir / "fleet" / "dawdler" / "leases"
    wait_for(lambda: not list(leases.iterdir()))
    # Its slot is free a moment after it was counted as stopped.
    wait_for(lambda: dawdling.client.post(url, json={}).status_code == 200)


def test_a_body_too_large_for_any_service_is_refused_before_it_is_sent(dawdling: Served) -> None:
    connection = http.client.HTTPConnection(dawdling.url.removeprefix("http://"), timeout=120)
    connection.request("POST", "/services/dawdler/predict", headers={"Content-Length": "100000000"})
    answer = connection.getresponse()
    detail = json.loads(answer.read())["detail"]
    connection.close()
    assert (answer.status, detail["type"], detail["retryable"]) == (413, "too_large", False)
