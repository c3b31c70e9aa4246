"""What a model made, as it goes out: JSON with base64 in it, the bytes themselves, or links to files.

A song as base64 in one JSON string is some 50 MB. Built in the ordinary way it would be copied five times and
hold the interpreter for a quarter of a second, in which `/health` would be silent. Here the text of the JSON is
cut where the files stand, and their base64 is made piece by piece while it is sent.
"""

from __future__ import annotations

import base64
import json
import math
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.audio.formats import INFO, Format
from tonewheel.models.base import Audio, Blob, Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE = 3 * 64 * 1024  # bytes made into base64 at a time: a multiple of 3, so that pieces join


@dataclass(frozen=True, slots=True)
class File:
    """Encoded bytes that leave the service."""

    data: bytes
    media_type: str
    file_name: str

    @property
    def base64_size(self) -> int:
        return 4 * ((len(self.data) + 2) // 3)

    def base64(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), _PIECE):
            yield base64.b64encode(memoryview(self.data)[start : start + _PIECE])


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished request: `body` in JSON types with `File`s in it, and the main audio where there is one."""

    body: Mapping[str, Any]
    audio: File | None
    seed: int | None
    duration_s: float | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def encode_files(
    result: Result, audio_format: Format | None, check: Callable[[float], None], *, bits: int = 16
) -> tuple[dict[str, Any], File | None]:
    """The fields with every Audio and Blob as a `File`, and the main audio as one; each encoded once.

    `audio_format` overrides the format of the main audio, `bits` are those of its samples where it is lossless.
    `check` is called while encoding and may raise.
    """
    done: dict[int, File] = {}

    def encoded(value: Audio | Blob) -> File:
        if id(value) not in done:
            main = value is result.audio
            done[id(value)] = _file(value, audio_format if main else None, check, bits if main else 16)
        return done[id(value)]

    fields = {name: _mapped(value, encoded) for name, value in result.fields.items()}
    if result.audio is None:
        return fields, None
    if id(result.audio) not in done:  # a family that names it nowhere: whoever reads JSON or a stream must find it
        fields["audio_base64"] = encoded(result.audio)
    return fields, encoded(result.audio)


def _mapped(value: Any, encoded: Callable[[Audio | Blob], File]) -> Any:
    if isinstance(value, (Audio, Blob)):
        return encoded(value)
    if isinstance(value, Mapping):
        return {k: _mapped(v, encoded) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(v, encoded) for v in value]
    return value


def _file(value: Audio | Blob, wanted: Format | None, check: Callable[[float], None], bits: int) -> File:
    if isinstance(value, Blob):
        return File(value.data, value.media_type, value.file_name)
    from tonewheel.audio.write import encode  # noqa: PLC0415  (a planner never needs it)

    name = wanted or value.format
    samples = value.samples if bits == 16 else _within_scale(value.samples)
    data = encode(samples, value.sample_rate, name, value.tags, bits=bits, on_progress=check)
    return File(data, INFO[name].media_type, f"audio.{name}")


def _within_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is worked on further gets its level later: where a model went beyond full scale it is made quieter, whole,
    not clipped."""
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
    return samples / peak if 1.0 < peak < math.inf else samples


# ── JSON with files in it ───────────────────────────────────────────────────────────────────────


def json_pieces(body: Any) -> tuple[list[bytes | File], int]:
    """`body` as JSON in pieces, files where their base64 goes between, and its size in bytes."""
    mark = secrets.token_hex(16)  # no text of the body can hold it
    files: list[File] = []

    def marked(value: object) -> str:
        if isinstance(value, File):
            files.append(value)
            return f"{mark}:{len(files) - 1}"
        raise TypeError(f"{type(value).__name__} is not a JSON type")

    text = json.dumps(body, default=marked, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    pieces: list[bytes | File] = []
    for i, part in enumerate(re.split(rf"{mark}:(\d+)", text)):
        pieces.append(files[int(part)] if i % 2 else part.encode("utf-8", "replace"))
    return pieces, sum(p.base64_size if isinstance(p, File) else len(p) for p in pieces)


def chunks(pieces: list[bytes | File]) -> Iterator[bytes]:
    """The bytes of `json_pieces`, never many at a time."""
    for piece in pieces:
        if isinstance(piece, File):
            yield from piece.base64()
        else:
            yield piece


class JSONWithFiles(Response):
    """A JSON answer sent in pieces. Built in a worker thread, sent from the event loop."""

    media_type = "application/json"

    def __init__(self, body: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.pieces, size = json_pieces(body)
        super().__init__(None, status_code, headers)
        self.headers["content-length"] = str(size)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for chunk in chunks(self.pieces):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def audio_response(answer: Answer) -> Response:
    """The main audio as bytes; what JSON would have told of it is in `X-Tonewheel-Metadata` (ASCII JSON)."""
    assert answer.audio is not None
    headers = {
        "content-disposition": f'attachment; filename="{answer.audio.file_name}"',
        "x-content-type-options": "nosniff",
        "x-tonewheel-metadata": json.dumps(dict(answer.metadata), ensure_ascii=True, separators=(",", ":")),
    }
    return Response(answer.audio.data, media_type=answer.audio.media_type, headers=headers)
