"""What every service answers to a request that is wrong, and to a fault of its own, on a real process."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from processes import Service, error_of, events

# ── what is wrong with a request ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"duration": 0.49}, "duration"),
        ({"duration": 600.1}, "duration"),
        ({"duration": "long"}, "duration"),
        ({"duration": None}, "duration"),
        ({"duration": True}, "duration"),
        ({"duration": [1]}, "duration"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1001}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"prompt": 3}, "prompt"),
        ({"style": "fast"}, "style"),
        ({"loud": "perhaps"}, "loud"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 10**300}, "seed"),
        ({"audio": "no base64!"}, "audio"),
        ({"audio": "QUJ"}, "audio"),
        ({"audio": ""}, "audio"),
        ({"prompt": "forbidden"}, "prompt"),  # refused by the loaded model
    ],
)
def test_what_is_wrong_with_a_request_is_422_and_names_the_field(
    dawdler: Service, body: dict[str, Any], param: str
) -> None:
    detail = error_of(dawdler.post(body=body), 422, "invalid_request")
    assert detail["param"] == param
    assert detail["retryable"] is False
    error_of(dawdler.post("/predict/stream", body), 422, "invalid_request")  # before any event


@pytest.mark.parametrize("body", [{"duration": 0.5}, {"top_k": 0}, {"top_k": 1000}, {"seed": 0}, {"seed": 2**63 - 1}])
def test_both_ends_of_a_range_are_in_it(dawdler: Service, body: dict[str, Any]) -> None:
    answer = dawdler.post(body=body)
    assert answer.status_code == 200
    if "seed" in body:
        assert answer.json()["metadata"]["seed"] == body["seed"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"nonsense", b'{"prompt": "a"', b"\xff\xfe", b"[]", b'"text"', b"null", b"3",
        b'{"duration": NaN}', b'{"duration": Infinity}', b'{"duration": 1e999}', b"[" * 100_000,
        b'{"a":' * 50_000, b'{"prompt": "\\ud800"}', b'{"prompt": "\x00"}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_object_is_422(dawdler: Service, content: bytes) -> None:
    error_of(dawdler.client.post("/predict", content=content), 422, "invalid_request")


def test_a_broken_form_and_a_compressed_body_are_422(dawdler: Service) -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        headers = {"content-type": kind}
        error_of(dawdler.client.post("/predict", content=b"--x\r\nbroken", headers=headers), 422, "invalid_request")
    headers = {"content-encoding": "gzip"}
    error_of(dawdler.client.post("/predict", content=b"\x1f\x8b", headers=headers), 422, "invalid_request")


def test_a_hundred_megabytes_are_413_with_and_without_a_length(dawdler: Service) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b"x" * 1_000_000

    with httpx.Client(base_url=dawdler.about["url"], timeout=120) as client:
        error_of(client.post("/predict", content=b"x" * 100_000_000), 413, "too_large")
    with httpx.Client(base_url=dawdler.about["url"], timeout=120) as client:
        error_of(client.post("/predict", content=endless()), 413, "too_large")
    assert dawdler.get("/health").status_code == 200


def test_the_body_limit_is_exact(dawdler: Service) -> None:
    def padded(size: int) -> bytes:
        return b'{"prompt": ""}' + b" " * (size - 14)

    assert dawdler.client.post("/predict", content=padded(1_000_000)).status_code == 200
    with httpx.Client(base_url=dawdler.about["url"], timeout=120) as client:
        error_of(client.post("/predict", content=padded(1_000_001)), 413, "too_large")


def test_unknown_paths_and_methods_have_the_same_shape(dawdler: Service) -> None:
    for path in ("/nothing", "/predict/", "/..%2f..%2fetc/passwd", "/v1/files/..%2f..%2fetc%2fpasswd", "/v1/files/x"):
        error_of(dawdler.get(path), 404, "not_found")
    wrong = dawdler.get("/predict")
    error_of(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    error_of(dawdler.client.delete("/health"), 405, "method_not_allowed")


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


def test_a_fault_is_500_with_an_error_id_that_the_log_has_and_no_traceback(dawdler: Service) -> None:
    answer = dawdler.post(body={"fail": "fault"})
    detail = error_of(answer, 500, "internal")
    assert "secret" not in answer.text
    log = dawdler.log.read_text()
    assert detail["error_id"] in log
    assert "secret detail" in log
    assert dawdler.post().status_code == 200  # and the next request is served


@pytest.mark.parametrize(
    ("fail", "status", "kind"),
    [
        ("memory", 507, "out_of_memory"), ("cuda", 507, "out_of_memory"), ("disk", 507, "disk_full"),
        ("late", 422, "invalid_request"), ("notjson", 500, "internal"), ("nan", 500, "internal"),
    ],
)  # fmt: skip
def test_every_failure_has_its_status_also_as_an_event(dawdler: Service, fail: str, status: int, kind: str) -> None:
    error_of(dawdler.post(body={"fail": fail}), status, kind)
    with dawdler.client.stream("POST", "/predict/stream", json={"fail": fail}) as answer:
        told = list(events(answer))
    assert told[0][0] == "progress"
    name, data = told[-1]
    assert (name, data["status"], data["detail"]["type"]) == ("error", status, kind)
    dawdler.wait("busy", 0)
