"""What is refused, and that every refusal has one shape. Nothing renders here: the server has no worker."""

from __future__ import annotations

import http.client
import json
import re
import time
from typing import Any

import httpx
import pytest
from served import NARRATIVE, Served, serving

ORDER = {"narrative": NARRATIVE, "duration_s": 10.0, "seed": 3}


def refused(answer: httpx.Response, status: int, kind: str | None = None) -> dict[str, Any]:
    """The detail of an error body, which has exactly the documented fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    detail: dict[str, Any] = answer.json()["detail"]
    assert list(answer.json()) == ["detail"]
    assert {"type", "message", "retryable", "request_id"} <= set(detail) <= {
        "type", "message", "param", "retryable", "request_id", "error_id",
    }  # fmt: skip
    assert detail["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    if kind is not None:
        assert detail["type"] == kind
    return detail


def raw(served: Served, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, Any]]:
    """A request whose target no client library has tidied up."""
    host, port = served.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    connection.putrequest(method, target, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, json.loads(data) if data.startswith(b"{") else {}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b"null", b'"x"', b'{"a":' * 5000, b"\xff\xfe", b'{"narrative":"\\ud800"}']
)
def test_what_is_no_order_is_422(idle: Served, body: bytes) -> None:
    for path in ("/v1/songs", "/v1/plans", "/v1/music/generations", "/generate", "/jobs", "/compose"):
        refused(idle.client.post(path, content=body), 422)
    refused(idle.client.put("/v1/songs/mine", content=body), 422)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"narrative": 5}, "narrative"), ({"duration_s": "10"}, "duration_s"), ({"duration_s": True}, "duration_s"),
        ({"duration_s": 1e9}, "duration_s"), ({"seed": -1}, "seed"), ({"format": "exe"}, "format"),
        ({"variations": 9}, "variations"), ({"priority": 10}, "priority"), ({"unknown": 1}, "unknown"),
        ({"model": "nothing"}, "model"), ({"model": "../etc"}, "model"), ({"model": "jen1"}, "model"),
        ({"moods": "happy"}, "moods"), ({"style": "no such style at all"}, None), ({"narrative": ""}, None),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(idle: Served, change: dict[str, Any], param: str | None) -> None:
    detail = refused(idle.client.post("/v1/songs", json=ORDER | change), 422)
    assert param is None or detail["param"] == param
    assert not detail["retryable"]


def test_an_order_without_anything_to_sing_about_is_422(idle: Served) -> None:
    refused(idle.client.post("/v1/songs", json={"duration_s": 10}), 422)


def test_unknown_addresses_and_methods(idle: Served) -> None:
    assert "/openapi.json" in refused(idle.client.get("/v1/nothing"), 404, "not_found")["message"]
    answer = idle.client.patch("/v1/songs/mine")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"
    refused(idle.client.post("/livez"), 405)


FORGED = ("job_" + "A" * 22, "job_x", "..", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "a%00b", "%F0%9F%8E%B5", "A" * 4000,
          "art_" + "0" * 22, "'; DROP TABLE tonewheel_jobs; --")  # fmt: skip


@pytest.mark.parametrize("forged", FORGED)
def test_forged_ids_and_paths_find_nothing(idle: Served, forged: str) -> None:
    text = forged.replace(" ", "%20")
    for path in (
        "/v1/jobs/{}",
        "/v1/jobs/{}/events",
        "/v1/songs/{}",
        "/v1/artifacts/{}",
        "/audio/{}",
        "/jobs/{}",
        "/v1/models/{}",
    ):
        status, body = raw(idle, "GET", path.format(text))
        assert (status, body["detail"]["type"]) == (404, "not_found"), path
    for path in ("/v1/jobs/{}", "/v1/songs/{}"):
        assert raw(idle, "DELETE", path.format(text))[0] in (404, 405)
    assert raw(idle, "GET", f"/services/{text}/health")[0] in (404, 422)


OUTWARDS = (
    "/../../etc/passwd", "//etc/passwd", "/v1/artifacts/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "/services/jen1/../../v1/jobs", "/services/jen1/%2e%2e/%2e%2e/v1/jobs",
)  # fmt: skip


@pytest.mark.parametrize("path", OUTWARDS)
def test_no_path_leads_out(idle: Served, path: str) -> None:
    status, body = raw(idle, "GET", path)
    assert status == 404
    assert body["detail"]["type"] == "not_found"


@pytest.mark.parametrize("name", ["..", "-x", "a b", "a/b", "song_" + "A" * 22, "x" * 129, "ä"])
def test_not_every_text_can_be_a_songs_id(idle: Served, name: str) -> None:
    target = "/v1/songs/" + "".join(f"%{b:02X}" for b in name.encode())
    assert raw(idle, "PUT", target, json.dumps(ORDER).encode())[0] in (404, 405, 422)


def test_large_bodies_are_refused_while_they_stream(idle: Served) -> None:
    def endless() -> Any:
        for _ in range(1600):
            yield b" " * 65536

    for path in ("/v1/songs", "/v1/plans", "/v1/music/generations"):
        refused(idle.client.post(path, content=b"x" * (3 * 1024 * 1024)), 413, "too_large")
    refused(idle.client.post("/v1/songs", content=endless()), 413, "too_large")  # no Content-Length: 100 MB in chunks
    host, port = idle.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    connection.request("POST", "/v1/songs", headers={"Content-Length": "100000000"}, body=None)
    assert connection.getresponse().status == 413  # known from its length: not a byte of it is read
    connection.close()


def test_other_hosts_and_pages_are_not_served(idle: Served) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8900"):
        assert raw(idle, "GET", "/v1/songs", Host=host)[0] == 403
    for host in ("localhost:1", "127.0.0.1:8900", "[::1]:8900"):
        assert raw(idle, "GET", "/livez", Host=host)[0] == 200
    answer = idle.client.post("/v1/songs", json=ORDER, headers={"Origin": "https://evil.example"})
    refused(answer, 403, "forbidden")
    assert "access-control-allow-origin" not in answer.headers
    answer = idle.client.get("/v1/songs", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers  # a browser keeps the answer from that page


def test_request_ids_are_taken_or_made(idle: Served) -> None:
    assert idle.client.get("/livez", headers={"X-Request-Id": "abc-1:2"}).headers["x-request-id"] == "abc-1:2"
    for bad in ("a b", "x" * 200, "a\tb", "<script>"):
        made = idle.client.get("/livez", headers={"X-Request-Id": bad}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_an_idempotency_key_gives_the_same_job(idle: Served) -> None:
    def order(key: str, **change: Any) -> httpx.Response:
        return idle.client.post("/v1/songs", json=ORDER | change, headers={"Idempotency-Key": key})

    first = order("k-1")
    assert first.status_code == 202
    assert first.json()["idempotency_key"] == "k-1"
    assert order("k-1").json()["id"] == first.json()["id"]
    refused(order("k-1", seed=4), 409, "conflict")
    refused(order("k-1", variations=2), 409, "conflict")
    assert order("k-2").json()["id"] != first.json()["id"]
    for bad in ("", "a b", "x" * 161, "ä".encode("latin-1")):
        answer = idle.client.post(
            "/v1/songs", json=ORDER, headers={b"Idempotency-Key": bad if isinstance(bad, bytes) else bad.encode()}
        )
        refused(answer, 422)


def test_variations_differ_in_their_seeds_only(idle: Served) -> None:
    answer = idle.client.post("/v1/songs", json=ORDER | {"variations": 3}, headers={"Idempotency-Key": "three"})
    first, others = answer.json(), answer.json()["variations"]
    jobs = [first, *others]
    assert len({j["id"] for j in jobs}) == 3
    seeds = [j["request"]["seed"] for j in jobs]
    assert seeds[0] == ORDER["seed"]
    assert len(set(seeds)) == 3
    assert {json.dumps({k: v for k, v in j["request"].items() if k != "seed"}, sort_keys=True) for j in jobs} == {
        json.dumps({k: v for k, v in ORDER.items() if k != "seed"}, sort_keys=True)
    }
    again = idle.client.post("/v1/songs", json=ORDER | {"variations": 3}, headers={"Idempotency-Key": "three"})
    assert [j["id"] for j in again.json()["variations"]] == [j["id"] for j in others]


def test_a_cancelled_job_never_starts(idle: Served) -> None:
    job = idle.client.post("/v1/songs", json=ORDER).json()
    assert job["position"] >= 1
    assert idle.client.delete(job["url"]).json()["state"] == "cancelled"
    told = idle.client.get(job["events_url"]).text
    assert re.findall(r"^event: (\w+)$", told, re.MULTILINE) == ["queued", "cancelled"]


def test_a_full_queue_says_when_to_come_again(idle: Served) -> None:
    made = []
    for _ in range(60):
        answer = idle.client.post("/v1/songs", json=ORDER)
        if answer.status_code != 202:
            break
        made.append(answer.json())
    detail = refused(answer, 429, "queue_full")
    assert detail["retryable"]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-queue-position"] == "41"
    assert idle.client.get("/readyz").status_code == 503  # and it says why: nobody works here
    several = idle.client.post("/v1/songs", json=ORDER | {"variations": 8})
    refused(several, 429)
    idle.client.delete(made[0]["url"])
    before = idle.client.get("/v1/jobs", params={"state": "queued"}).json()["jobs"]
    refused(idle.client.post("/v1/songs", json=ORDER | {"variations": 2}), 429)  # room for one: none is kept
    assert idle.client.get("/v1/jobs", params={"state": "queued"}).json()["jobs"] == before
    for job in made:
        idle.client.delete(job["url"])


def test_one_who_waits_no_longer_leaves_no_job_behind(idle: Served) -> None:
    def states() -> list[str]:
        jobs = idle.client.get("/v1/jobs").json()["jobs"]
        return [j["state"] for j in jobs if j["request"].get("narrative") == "nobody waits for this"]

    def until(wanted: list[str]) -> None:
        limit = time.monotonic() + 120
        while states() != wanted:
            assert time.monotonic() < limit, states()
            time.sleep(0.05)

    connection = http.client.HTTPConnection(idle.url.removeprefix("http://"), timeout=120)
    connection.request("POST", "/compose", json.dumps({"narrative": "nobody waits for this", "duration": 10}))
    until(["queued"])
    connection.close()
    until(["cancelled"])


def test_lists_come_in_pages(idle: Served) -> None:
    for _ in range(3):
        idle.client.delete(idle.client.post("/v1/songs", json=ORDER).json()["url"])
    page = idle.client.get("/v1/jobs", params={"limit": 2}).json()
    assert len(page["jobs"]) == 2
    then = idle.client.get("/v1/jobs", params={"limit": 2, "after": page["next"]}).json()
    assert not {j["id"] for j in page["jobs"]} & {j["id"] for j in then["jobs"]}
    for wrong in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"state": "asleep"}, {"after": "x"}, {"model": "A\0"}):
        refused(idle.client.get("/v1/jobs", params=wrong), 422)
    for wrong in ({"after": "x"}, {"made_after": "nan"}, {"made_before": "soon"}, {"words": "x" * 201}):
        refused(idle.client.get("/v1/songs", params=wrong), 422)


def test_what_is_wrong_in_a_query_is_said_like_what_is_wrong_in_a_body(idle: Served) -> None:
    def told(path: str, **query: Any) -> str:
        detail = refused(idle.client.get(path, params=query), 422)
        assert detail["param"] == next(iter(query))
        return str(detail["message"])

    assert told("/v1/songs", limit=0) == "limit: must be at least 1, not '0'"
    assert "write a whole number" in told("/v1/jobs", limit="x")
    assert "seconds since 1970" in told("/v1/songs", made_after="yesterday")
    assert "`next` of the page before" in told("/v1/songs", after="zzz")


def test_pages_of_named_origins_may_use_the_server(tmp_path: Any) -> None:
    with serving(tmp_path, "--workers", "0", TONEWHEEL_CORS_ORIGINS="https://studio.example") as served:
        mine = {"Origin": "https://studio.example"}
        answer = served.client.post("/v1/songs", json=ORDER, headers=mine)
        assert answer.status_code == 202
        assert answer.headers["access-control-allow-origin"] == "https://studio.example"
        assert "access-control-allow-credentials" not in answer.headers
        before = served.client.options("/v1/songs", headers=mine | {"Access-Control-Request-Method": "POST"})
        assert before.status_code == 200
        refused(served.client.post("/v1/songs", json=ORDER, headers={"Origin": "https://evil.example"}), 403)


def test_nothing_of_what_was_asked_is_logged(idle: Served) -> None:
    secret = "a zebra sings in the attic"
    idle.client.post("/v1/songs", json=ORDER | {"narrative": secret}, headers={"Authorization": "Bearer tw_secret"})
    idle.client.post("/v1/songs", json={"narrative": secret, "duration_s": "x"})
    log = (idle.data_dir / "log").read_text()
    assert "zebra" not in log
    assert "tw_secret" not in log
