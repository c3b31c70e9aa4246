"""The OpenAPI document: complete, with examples, and no request made from it finds a fault of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.schemas import BaseSchema
from served import Served, serving

from tonewheel.gateway.access import Gate
from tonewheel.gateway.app import create_app
from tonewheel.gateway.backend import Backend
from tonewheel.settings import Settings


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    backend = Backend.open(Settings(data_dir=tmp_path_factory.mktemp("schema"), queue_limit=30))
    yield create_app(backend, Gate(None, None))
    backend.close()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_every_route_is_described_with_an_example(app: FastAPI) -> None:
    document = app.openapi()
    found = list(operations(document))
    assert len(found) >= 25
    for method, path, operation in found:
        where = f"{method} {path}"
        assert operation["summary"], where
        if method in ("post", "put"):
            content = operation["requestBody"]["content"]["application/json"]
            assert content.get("example") or content.get("examples"), where
        if "204" not in operation["responses"]:
            contents = [c for r in operation["responses"].values() for c in r.get("content", {}).items()]
            assert any("example" in c or kind.startswith(("audio/", "application/octet")) for kind, c in contents), (
                where
            )
        assert {"4XX", "5XX"} <= set(operation["responses"]), where


_NOT_HERE = ("/compose", "/v1/music/generations", "/v1/search")  # without a worker, or without a model that embeds


def test_the_examples_of_the_document_are_accepted(app: FastAPI) -> None:
    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8900", timeout=180) as client:
            for method, path, operation in operations(app.openapi()):
                if method != "post" or path.startswith("/services") or path in _NOT_HERE:
                    continue
                for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
                    answer = await client.post(path, json=example["value"])
                    assert answer.status_code in (200, 202), (path, answer.text)

    asyncio.run(ask())


# Those that wait for a worker, which there is none here, and those that start a model's process: asked below.
_WAITING = r"^/(compose|v1/music/generations|services/.*)$"


def test_no_request_made_from_the_document_finds_a_fault_of_ours(idle: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{idle.url}/openapi.json").exclude(path_regex=_WAITING)
    assert ask_everything(schema, 3) > 60


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose queue takes nothing: what would wait for a song is refused once it was found right."""
    with serving(tmp_path_factory.mktemp("full") / "data", "--workers", "0", TONEWHEEL_QUEUE_LIMIT="0") as served:
        yield served


def test_no_request_finds_a_fault_of_ours_where_it_would_wait_for_a_song(full: Served) -> None:
    schema = schemathesis.openapi.from_url(f"{full.url}/openapi.json").include(path_regex=_WAITING)
    assert ask_everything(schema, 4) > 15


@pytest.mark.parametrize("name", ["jen1", "composer"])
def test_no_request_made_from_the_document_of_a_model_finds_a_fault_through_the_gateway(
    full: Served, name: str
) -> None:
    document = full.client.get(f"/services/{name}/openapi.json").json()
    works = {path: methods for path, methods in document["paths"].items() if "post" in methods or "{" in path}
    document["paths"] = {f"/services/{name}{path}": methods for path, methods in works.items()}
    assert ask_everything(schemathesis.openapi.from_dict(document), 2, full.url) >= 12


def ask_everything(schema: BaseSchema, examples: int, url: str | None = None) -> int:
    """Ask right and wrong requests of every operation; how many. Every refusal must be a documented one."""
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
            def ask(case: schemathesis.Case) -> None:
                nonlocal asked
                if isinstance(case.body, dict) and "duration" in case.body and "/composer/" in case.path:
                    case.body["duration"] = 10  # two seconds of work, not half a minute
                answer = case.call(base_url=url, timeout=180)
                asked += 1
                fault = answer.status_code >= 500 and (case.path, answer.status_code) != ("/readyz", 503)
                assert not fault, (case.method, case.path, case.body, answer.text)
                if answer.status_code >= 400:
                    assert list(answer.json()) in (["detail"], ["status", "detail"]), answer.text

            with suppress(Unsatisfiable):
                ask()
    return asked
