"""Health while a model computes, and refusals: 503 over a service's limit, 429 over the bound of the queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from servers import NARRATIVE, Server, serving
from trials.common import Trial

_LIMIT = 5
_P99_MS = 100.0


def run(trial: Trial) -> None:
    count = 300 if trial.quick else 1000
    with serving(trial.folder, settings={"TONEWHEEL_QUEUE_LIMIT": str(_LIMIT)}) as server:
        server.wait(server.order())
        address = _address(server.model())
        with _computing(server):
            asked = {
                "GET /health of the service": f"{address}/health", "GET /livez of the gateway": f"{server.url}/livez",
            }  # fmt: skip
            for name, url in asked.items():
                times = _timed(url, count)
                p99 = times[int(0.99 * len(times))]
                trial.measured(f"{name} while it computes, median of {count}", times[len(times) // 2], "ms")
                trial.measured(f"{name} while it computes, 99th percentile", p99, "ms")
                trial.judge(name, [f"99th percentile {p99:.0f} ms"] if p99 > _P99_MS else [])
            took_ms, faults = _over_the_limit(address)
            trial.judge("one request over the service's limit", faults)
            trial.measured("one over the service's limit: 503 after", took_ms, "ms")
        faults = _over_the_bound(server)
        trial.count("one over the bound of the queue: 429, Retry-After, position", int(trial.judge("queue", faults)), 1)


@contextmanager
def _computing(server: Server) -> Iterator[None]:
    """Songs are rendered without a pause meanwhile."""
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            server.wait(server.order(duration_s=120))

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _timed(url: str, count: int) -> list[float]:
    """Milliseconds, sorted."""
    times: list[float] = []
    with httpx.Client(timeout=30) as client:
        for _ in range(count):
            begin = time.perf_counter()
            client.get(url).raise_for_status()
            times.append(1000 * (time.perf_counter() - begin))
            time.sleep(0.01)
    return sorted(times)


def _address(model: psutil.Process) -> str:
    port = next(c.laddr.port for c in model.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
    return f"http://127.0.0.1:{port}"


def _over_the_limit(address: str) -> tuple[float, list[str]]:
    """Asked while the one slot is taken; the milliseconds of the refusal."""
    while not httpx.get(f"{address}/health").json()["busy"]:
        time.sleep(0.01)
    begin = time.perf_counter()
    answer = httpx.post(f"{address}/predict", json={"narrative": NARRATIVE, "duration": 10})
    took_ms = 1000 * (time.perf_counter() - begin)
    if answer.status_code == 503 and "retry-after" in answer.headers and took_ms < 1000:
        return took_ms, []
    return took_ms, [f"{answer.status_code} after {took_ms:.0f} ms with {dict(answer.headers)}"]


def _over_the_bound(server: Server) -> list[str]:
    first = server.order(duration_s=300)
    server.wait(first, lambda j: j["state"] == "running")
    jobs = [server.order() for _ in range(_LIMIT)]
    answer = server.client.post("/v1/songs", json={"narrative": NARRATIVE, "duration_s": 10})
    for job_id in (*jobs, first):
        server.client.delete(f"/v1/jobs/{job_id}")
    told = (answer.status_code, answer.headers.get("x-queue-position"), int(answer.headers.get("retry-after", 0)) >= 1)
    return [] if told == (429, str(_LIMIT + 1), True) else [f"{told}: {answer.text[:200]}"]
