"""What is never written down and never told: keys, prompts, lyrics, and where things lie on the server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import NARRATIVE, Served
from test_gateway_clients import wait_for

import tonewheel

SECRET = "a zebra sings in the attic"
KEY = "tw_0123456789ab_" + "Z" * 43
# Where the program, its data and its tests lie.
PLACES = (str(Path(tonewheel.__file__).parent), str(Path(__file__).parent), "site-packages", "/etc/passwd")


def written(served: Served) -> str:
    """All that the server and its models wrote."""
    logs = [served.data_dir / "log", *(served.data_dir / "fleet").glob("*/log")]
    return "".join(path.read_text() for path in logs if path.exists())


def dawdle(served: Served, **body: Any) -> httpx.Response:
    return served.client.post("/services/dawdler/predict", json={"prompt": SECRET, **body})


def test_nothing_of_what_was_asked_is_logged(dawdling: Served) -> None:
    ask = dawdling.client
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}, {"Cookie": f"key={KEY}"}):
        for path in ("/v1/songs", "/v1/plans", "/generate", "/jobs"):
            order = {"narrative": SECRET, "lyrics": f"[Verse]\n{SECRET}", "duration_s": 10}
            ask.post(path, json=order, headers=headers)
            ask.post(path, json={"narrative": SECRET, "duration_s": SECRET, "duration": SECRET}, headers=headers)
            ask.post(path, content=f'{{"narrative": "{SECRET}"'.encode(), headers=headers)
        ask.get("/v1/songs", params={"words": SECRET, "key": KEY}, headers=headers)
        ask.get(f"/v1/songs/{SECRET}?key={KEY}", headers=headers)
        ask.put(f"/v1/songs/{SECRET}", json={"narrative": SECRET}, headers=headers)
    ask.post("/v1/songs", json={"narrative": NARRATIVE}, headers={"Idempotency-Key": KEY})
    for fail in (None, "memory", "disk", "late", "nan"):
        dawdle(dawdling, fail=fail)
    log = written(dawdling)
    assert "zebra" not in log
    assert KEY not in log and "Z" * 43 not in log


def test_a_fault_is_found_in_the_log_by_its_id_without_what_it_said(dawdling: Served) -> None:
    answer = dawdle(dawdling, fail="fault")
    assert answer.status_code == 500
    number = answer.json()["detail"]["error_id"]
    log = written(dawdling)
    assert number in log and "ValueError" in log and "line " in log
    assert "zebra" not in log + answer.text  # this one's message quotes the prompt


def test_no_answer_tells_where_things_lie(dawdling: Served, tmp_path: Path) -> None:
    answers = [dawdle(dawdling, fail=fail) for fail in ("fault", "memory", "cuda", "disk", "late", "notjson", "nan")]
    answers += [dawdling.client.get(path) for path in ("/v1/models", "/v1/jobs", "/openapi.json", "/readyz", "/nope")]
    answers += [dawdling.client.get("/services/dawdler/v1/metadata"), dawdling.client.get("/services/dawdler/nope")]
    for answer in answers:
        for place in (*PLACES, str(dawdling.data_dir)):
            assert place not in answer.text, (answer.url, place)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_model_that_crashes_is_told_without_its_last_words(dawdling: Served) -> None:
    def kill() -> None:
        record = dawdling.data_dir / "fleet" / "dawdler" / "process.json"
        os.kill(httpx.Response(200, content=record.read_bytes()).json()["process"]["pid"], signal.SIGKILL)

    def crashes() -> bool:
        return (dawdling.data_dir / "fleet" / "dawdler" / "crashes.json").exists()

    def failed() -> httpx.Response | None:
        answer = dawdling.client.get("/services/dawdler/health")
        if answer.status_code == 200:
            kill()
            return None
        return answer if answer.json()["detail"]["type"] == "model_failed" else None

    try:
        detail = wait_for(failed, s=120).json()["detail"]
        assert crashes()
        assert "tonewheel stop dawdler" in detail["message"] and not detail["retryable"]
        assert "http://" not in detail["message"] and "last words" not in detail["message"]
    finally:
        from tonewheel.fleet.records import Records

        Records(dawdling.data_dir).of("dawdler").forgive()
    assert wait_for(lambda: dawdling.client.get("/services/dawdler/health").status_code == 200)
