"""What Prometheus is told: queue, waits, audio made, speed, failures by reason, and which models run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from served import NARRATIVE, Served, environment
from test_gateway_clients import store_of, wait_for

from tonewheel.errors import OutOfMemory
from tonewheel.jobs.records import Records
from tonewheel.jobs.types import JobError


def metrics_of(text: str) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names …) → value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[(sample.name, *(v for _, v in sorted(sample.labels.items())))] = sample.value
    return found


def told(served: Served) -> dict[tuple[str, ...], float]:
    return metrics_of(served.client.get("/metrics").text)


def test_a_song_that_was_made_is_counted(server: Served, made: dict[str, Any]) -> None:
    said = told(server)
    assert said["tonewheel_audio_seconds_total", "composer"] >= made["duration_s"]
    assert said["tonewheel_render_seconds_total", "composer"] > 0
    assert said["tonewheel_measured_real_time_factor", "composer"] > 0
    assert said["tonewheel_jobs_ended_total", "composer", "done"] >= 1
    assert said["tonewheel_queue_wait_seconds_count", "composer"] >= 1
    # The whole of it lies within the last bucket, and buckets are cumulative.
    assert (
        said["tonewheel_queue_wait_seconds_bucket", "+Inf", "composer"]
        == said["tonewheel_queue_wait_seconds_count", "composer"]
        >= said["tonewheel_queue_wait_seconds_bucket", "0.1", "composer"]
    )


def test_models_that_run_are_told_with_what_they_hold(server: Served, made: dict[str, Any]) -> None:
    assert server.client.get("/services/composer/health").status_code == 200
    said = told(server)
    assert said["tonewheel_resident_models",] >= 1
    assert said["tonewheel_resident_bytes", "cpu", "composer"] > 20e6
    assert said["tonewheel_model_load_seconds", "composer"] > 0
    assert said["tonewheel_model_requests", "composer"] >= 0


def test_waits_ends_and_failures_are_counted_once(dawdling: Served) -> None:
    def order() -> str:
        body = {"narrative": NARRATIVE, "duration_s": 10}
        return str(dawdling.client.post("/v1/songs", json=body).json()["id"])

    def count(*name: str) -> float:
        return told(dawdling).get(name, 0.0)

    def counts() -> tuple[float, ...]:
        return (
            count("tonewheel_queue_wait_seconds_count", "composer"),
            count("tonewheel_failures_total", "composer", "out_of_memory"),
            count("tonewheel_jobs_ended_total", "composer", "failed"),
            count("tonewheel_jobs_ended_total", "composer", "cancelled"),
            count("tonewheel_queue_depth", "composer"),
        )

    before = counts()
    failing, leaving = order(), order()
    with store_of(dawdling) as store:
        records = Records(store.database)
        assert records.begin(failing, "run 1", "tester", 3) is not None
        assert records.begin(failing, "run 1", "tester", 3) is not None  # the same transaction, repeated
        assert records.begin(failing, "run 2", "tester", 3) is not None  # a second start waited for nothing
        assert records.fail(failing, "run 2", JobError.of(OutOfMemory("no room")))
        assert not records.fail(failing, "run 2", JobError.of(OutOfMemory("no room")))
    assert [a - b for a, b in zip(counts(), before, strict=True)] == [1, 1, 1, 0, 1]
    for _ in range(2):
        dawdling.client.delete(f"/v1/jobs/{leaving}")
    assert [a - b for a, b in zip(counts(), before, strict=True)] == [1, 1, 1, 1, 0]
    with store_of(dawdling) as store:
        store.forget([failing, leaving])  # what is forgotten was done all the same
    assert [a - b for a, b in zip(counts(), before, strict=True)] == [1, 1, 1, 1, 0]


def test_a_worker_on_another_machine_tells_its_own_models(tmp_path: Path) -> None:
    worker = [sys.executable, "-m", "tonewheel.cli.main", "worker", "--json", "--metrics", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*worker, "--data-dir", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["metrics"]
        said = metrics_of(wait_for(lambda: httpx.get(url, timeout=120)).text)
        assert said["tonewheel_resident_models",] == 0
        assert said["process_open_fds",] > 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
