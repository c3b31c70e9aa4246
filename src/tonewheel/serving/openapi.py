"""What the OpenAPI document says of bodies that are read by hand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from tonewheel.models.base import Family, ModelRequest, WorkRoute

_REF = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """What went wrong, for people (`message`) and for programs (`type`)."""

    type: str = Field(examples=["invalid_request"])
    message: str
    param: str | None = Field(default=None, description="The field it is about.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str
    error_id: str | None = Field(default=None, description="Of a fault of ours; the log has it.")


class ErrorBody(BaseModel):
    detail: ErrorDetail


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "401 key, 403 host, 404, 405, 413 too large, 422 wrong request"},
    "5XX": {"model": ErrorBody, "description": "500 fault, 503 busy or not ready, 504 deadline, 507 memory or disk"},
}


def documented(kind: type[ModelRequest]) -> dict[str, Any]:
    """The `requestBody` of an operation that reads `kind`."""
    schema = {"$ref": _REF.format(model=kind.__name__)}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "parameters": [
            {"name": "client_job_id", "in": "query", "required": False, "schema": {"type": "string"}},
            {"name": "X-Request-Id", "in": "header", "required": False, "schema": {"type": "string"}},
        ],
    }


def with_requests(app: FastAPI, family: Family) -> None:
    """Add the schemas of the request types, which FastAPI does not see, to the document."""
    kinds = {family.request, *(r.request for r in family.routes if isinstance(r, WorkRoute))}
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        known = document.setdefault("components", {}).setdefault("schemas", {})
        for kind in kinds:
            schema = kind.model_json_schema(ref_template=_REF)
            known.update(schema.pop("$defs", {}))
            known[kind.__name__] = schema
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
