"""Files over HTTP: one range at a time, ETags, and headers under which no browser takes them for a page."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import BinaryIO
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from tonewheel.errors import TonewheelError
from tonewheel.library import Artifact, Library

_PIECE = 256 * 1024
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})", re.IGNORECASE)


class RangeNotSatisfiable(TonewheelError):
    """The bytes asked for are not there, or several ranges were asked for."""

    type = "range_not_satisfiable"
    exit_code = 2
    http_status = 416

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message, param="Range")
        self.size = size


def byte_range(given: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte (inclusive) of a Range header; None = the whole file.

    What is no byte range is ignored (RFC 9110 §14.2). Raises RangeNotSatisfiable for several ranges, whose
    answer no player needs and any client may use to make a server read a file many times over.
    """
    if not given or not given.strip().lower().startswith("bytes"):
        return None
    if "," in given:
        raise RangeNotSatisfiable("ask for one range at a time", size)
    m = _RANGE.fullmatch(given.strip())
    if m is None or not (m[1] or m[2]):
        return None
    if not m[1]:
        length = min(int(m[2]), size)
        if length == 0:
            raise RangeNotSatisfiable(f"the file has {size} bytes", size)
        return size - length, size - 1
    first, last = int(m[1]), min(int(m[2]) if m[2] else size - 1, size - 1)
    if m[2] and int(m[2]) < first:
        return None
    if first >= size:
        raise RangeNotSatisfiable(f"the file has {size} bytes", size)
    return first, last


async def artifact_response(library: Library, artifact: Artifact, asked: Headers) -> Response:
    """The file, a part of it, or 304. Raises NotFound when the storage lost it, RangeNotSatisfiable."""
    etag = f'"{artifact.sha256}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=31536000, immutable",  # an id is never used for other bytes
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; media-src 'self'; sandbox",
        "content-disposition": disposition(artifact.name),
    }
    if _matches(asked.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    whole = asked.get("if-range") not in (None, etag)
    part = None if whole else byte_range(asked.get("range"), artifact.size_bytes)
    first, last = part or (0, artifact.size_bytes - 1)
    headers["content-length"] = str(last - first + 1)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{last}/{artifact.size_bytes}"
    files = contextlib.ExitStack()
    _, file = await asyncio.to_thread(files.enter_context, library.open(artifact.id))
    return StreamingResponse(
        _pieces(files, file, first, last - first + 1), 206 if part else 200, headers, artifact.media_type
    )


async def _pieces(files: contextlib.ExitStack, file: BinaryIO, first: int, length: int) -> AsyncIterator[bytes]:
    with files:
        await asyncio.to_thread(file.seek, first)
        while length > 0:
            piece = await asyncio.to_thread(file.read, min(_PIECE, length))
            if not piece:
                return
            length -= len(piece)
            yield piece


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in header.split(","))


def disposition(name: str) -> str:
    """A download under that name, whatever is in it (RFC 6266: a plain name, and the real one as UTF-8)."""
    base = name.replace("\\", "/").rpartition("/")[2] or "file"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", base.encode("ascii", "replace").decode().replace("?", "_"))[:120]
    said = f'attachment; filename="{plain}"'
    return said if plain == base else f"{said}; filename*=UTF-8''{quote(base[:200], safe='')}"
