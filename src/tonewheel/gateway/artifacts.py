"""Artifacts of the library as files that can be sent."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from tonewheel.errors import NotFound
from tonewheel.library import Artifact, Library
from tonewheel.serving.ranges import Stored, file_response

_CACHE = "private, max-age=31536000, immutable"  # an id is never used for other bytes


async def artifact_response(library: Library, artifact_id: str, request: Request, *, only: str = "") -> Response:
    """The artifact, a part of it, or 304; `only` is how its media type must begin.

    Raises NotFound, also when the storage lost it, and RangeNotSatisfiable.
    """
    artifact: Artifact = await asyncio.to_thread(library.artifact, artifact_id)
    if not artifact.media_type.startswith(only):
        raise NotFound("there is no such audio", param="file")
    stored = Stored(
        artifact.name, artifact.media_type, artifact.size_bytes, artifact.sha256, _CACHE,
        lambda: library.storage.open(artifact.sha256),
    )  # fmt: skip
    return await file_response(stored, request)
