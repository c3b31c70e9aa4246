"""The OpenAPI document: bodies that are read by hand, and an example for every route."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel

_REF = "#/components/schemas/{model}"
_taken: dict[str, type[BaseModel]] = {}

JOB_ID = "job_4Xo0cWk9sZ2tGqLrNvY1eA"
SONG_ID = "song_9sZ2tGqLrNvY1eA4Xo0cW"
ARTIFACT_ID = "art_2tGqLrNvY1eA4Xo0cWk9sZ"

NARRATIVE = "An old lighthouse keeper counts the waves every night."
JOB: dict[str, Any] = {
    "id": JOB_ID, "kind": "song", "state": "running", "model": "composer",
    "request": {"narrative": NARRATIVE, "duration_s": 60, "format": "mp3"}, "priority": 5, "stage": "render: stems",
    "fraction": 0.42, "eta_s": 3.1, "position": None, "attempts": 1, "created_at": 1795250000.0,
    "started_at": 1795250000.1, "finished_at": None, "error": None, "song_id": None, "deadline_s": 330.0,
    "worker": "studio-0", "idempotency_key": None, "request_id": "5f0c…", "traceparent": None,
    "url": f"/v1/jobs/{JOB_ID}", "events_url": f"/v1/jobs/{JOB_ID}/events", "song_url": None,
}  # fmt: skip
SONG: dict[str, Any] = {
    "id": SONG_ID, "title": "Every Night the Lamp", "artist": "Tonewheel", "model": "composer", "revision": "0.1.0",
    "licence": "", "seed": 7, "duration_s": 60.0, "format": "mp3", "prompt": None, "lyrics": None, "plan": None,
    "request": {"narrative": NARRATIVE}, "timings": {"render": 5.1}, "checks": {}, "analysis": {}, "details": {},
    "job_id": JOB_ID, "created_at": 1795250007.0, "expires_at": None, "url": f"/v1/songs/{SONG_ID}",
    "audio_url": f"/v1/artifacts/{ARTIFACT_ID}",
    "artifacts": [{
        "id": ARTIFACT_ID, "song_id": SONG_ID, "kind": "song", "name": "every-night-the-lamp.mp3",
        "media_type": "audio/mpeg", "size_bytes": 1920000, "sha256": "0" * 64, "created_at": 1795250007.0,
        "url": f"/v1/artifacts/{ARTIFACT_ID}",
    }],
}  # fmt: skip


def takes(kind: type[BaseModel], **examples: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads `kind` by hand; `examples` by their names."""
    _taken[kind.__name__] = kind
    content = {
        "schema": {"$ref": _REF.format(model=kind.__name__)},
        "examples": {name.replace("_", " "): {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def header(name: str, description: str) -> dict[str, Any]:
    """A request header, for `openapi_extra`."""
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}


IDEMPOTENCY_KEY = header(
    "Idempotency-Key", "Your own name for this order: sent again, it gives the same jobs. 1-160 visible characters."
)


def answers(status: int, kind: type[BaseModel] | None, description: str, example: Any) -> dict[int | str, Any]:
    """`responses` of a route that answers JSON; `kind` None = any object."""
    content = {"application/json": {"example": example}}
    return {status: {"description": description, "content": content} | ({"model": kind} if kind else {})}


def text(status: int, media_type: str, description: str, example: str) -> dict[int | str, Any]:
    """`responses` of a route that answers something else."""
    return {status: {"description": description, "content": {media_type: {"example": example}}}}


def with_bodies(app: FastAPI) -> None:
    """Add the types of bodies, which FastAPI does not see, and the keys, to the document."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        parts = document.setdefault("components", {})
        known = parts.setdefault("schemas", {})
        for name, kind in _taken.items():
            schema = kind.model_json_schema(ref_template=_REF)
            for other, shape in schema.pop("$defs", {}).items():
                known.setdefault(other, shape)
            known[name] = schema
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}, {}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def json_answer(value: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A typed answer, written once."""
    return Response(value.model_dump_json(), status, headers, "application/json")
