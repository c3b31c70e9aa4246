"""Files over HTTP: one range at a time, ETags, and headers under which no browser takes them for a page."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.audio.formats import INFO
from tonewheel.errors import NotFound, TonewheelError
from tonewheel.serving.edge import asked_method
from tonewheel.serving.presence import while_here

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


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that can be sent. `open` raises NotFound when it is gone; `cache` is its Cache-Control."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    cache: str
    open: Callable[[], AbstractContextManager[BinaryIO]]


def stored(file: Path) -> Stored:
    """A file of a folder, as it is now; its tag is made of its name, size and time of change. Raises NotFound."""

    @contextlib.contextmanager
    def opened() -> Iterator[BinaryIO]:
        try:
            reading = file.open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no file {file.name}", param="name") from None
        with reading:
            yield reading

    try:
        about = file.stat()
    except FileNotFoundError:
        raise NotFound(f"there is no file {file.name}", param="name") from None
    tag = hashlib.sha256(f"{file.name}\0{about.st_size}\0{about.st_mtime_ns}".encode()).hexdigest()
    media_type = next(
        (i.media_type for name, i in INFO.items() if f".{name}" == file.suffix), "application/octet-stream"
    )
    return Stored(file.name, media_type, about.st_size, tag, "private", opened)


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


async def file_response(file: Stored, request: Request) -> Response:
    """The file, a part of it, or 304; for HEAD what GET would say of it, without opening it.

    Raises what `file.open` does, RangeNotSatisfiable.
    """
    asked, etag = request.headers, f'"{file.sha256}"'
    headers = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": file.cache,
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; media-src 'self'; sandbox",
        "content-disposition": disposition(file.name),
    }
    if _matches(asked.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if asked_method(request.scope) == "HEAD":  # RFC 9110 §14.2: a range is defined for GET only
        headers["content-length"] = str(file.size_bytes)
        return Response(None, 200, headers, file.media_type)
    whole = asked.get("if-range") not in (None, etag)
    part = None if whole else byte_range(asked.get("range"), file.size_bytes)
    first, last = part or (0, file.size_bytes - 1)
    headers["content-length"] = str(last - first + 1)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{last}/{file.size_bytes}"
    files = contextlib.ExitStack()
    opened = await asyncio.to_thread(files.enter_context, file.open())
    return _Part(files, opened, first, last - first + 1, 206 if part else 200, headers, file.media_type)


class _Part(Response):
    """Bytes of an open file, which is closed whatever happens; a client that goes away ends the reading."""

    def __init__(
        self, files: contextlib.ExitStack, file: BinaryIO, first: int, length: int, status: int,
        headers: dict[str, str], media_type: str,
    ) -> None:  # fmt: skip
        super().__init__(None, status, headers, media_type)
        self._files, self._file, self._first, self._length = files, file, first, length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._files, contextlib.suppress(ClientDisconnect):
            await while_here(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await asyncio.to_thread(self._file.seek, self._first)
        left = self._length
        while left > 0:
            piece = await asyncio.to_thread(self._file.read, min(_PIECE, left))
            if not piece:
                raise OSError("a stored file is shorter than it was when it was stored")
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
