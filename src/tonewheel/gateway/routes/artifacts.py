"""The files that were made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from tonewheel.gateway import document as doc
from tonewheel.gateway.artifacts import artifact_response
from tonewheel.gateway.auth import needs
from tonewheel.gateway.routes import backend_of

router = APIRouter(tags=["songs"])

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


@router.get(
    "/v1/artifacts/{artifact_id}", summary="A file", dependencies=[needs("read")], response_class=Response,
    responses={
        200: {"description": "The whole file, under its own media type", **_BYTES},
        206: {"description": "The range asked for", **_BYTES},
        304: {"description": "Yours is still right"},
    },
    openapi_extra={"parameters": [
        doc.header("Range", "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`."),
        doc.header("If-None-Match", "The ETag you have."),
    ]},
)  # fmt: skip
async def fetch(
    request: Request, artifact_id: Annotated[str, Path(description="From a song.", examples=[doc.ARTIFACT_ID])]
) -> Response:
    """Ids are opaque and never paths. HEAD, Range, If-Range and If-None-Match work as they should."""
    return await artifact_response(backend_of(request).library, artifact_id, request)
