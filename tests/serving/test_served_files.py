"""Files that `/predict/stream` links to: in parts, with the errors of every service, gone when they are let go of."""

from __future__ import annotations

from typing import Any

import pytest
from processes import Service, error_of, events


@pytest.fixture(scope="module")
def link(dawdler: Service) -> dict[str, Any]:
    headers = {"accept": "text/event-stream, audio/wav"}
    with dawdler.client.stream("POST", "/predict/stream", json={"duration": 1}, headers=headers) as answer:
        result = next(data for name, data in events(answer) if name == "result")
    return next(f for f in result["files"] if f["media_type"] == "audio/wav")


def test_a_file_comes_whole_in_parts_or_not_again(dawdler: Service, link: dict[str, Any]) -> None:
    whole = dawdler.get(link["url"])
    assert len(whole.content) == link["size_bytes"] and whole.content[:4] == b"RIFF"
    part = dawdler.get(link["url"], headers={"Range": "bytes=-4"})
    assert (part.status_code, part.content) == (206, whole.content[-4:])
    assert dawdler.get(link["url"], headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    head = dawdler.client.head(link["url"])
    assert (head.content, head.headers["content-length"]) == (b"", str(link["size_bytes"]))


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=999999999-", "bytes=-0"])
def test_parts_that_cannot_be_had_are_refused_like_everything_else(
    dawdler: Service, link: dict[str, Any], asked: str
) -> None:
    refused = dawdler.get(link["url"], headers={"Range": asked})
    error_of(refused, 416, "range_not_satisfiable")
    assert refused.headers["content-range"] == f"bytes */{link['size_bytes']}"


def test_forged_ids_find_nothing_and_a_file_let_go_of_is_gone(dawdler: Service, link: dict[str, Any]) -> None:
    for forged in ("x", "..", "%2e%2e%2fetc%2fpasswd", "a%00b", "A" * 4000):
        assert dawdler.get(f"/v1/files/{forged}").status_code == 404
    assert dawdler.client.delete(link["url"]).status_code == 204
    error_of(dawdler.get(link["url"]), 404, "not_found")
