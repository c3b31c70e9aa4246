"""Analyses: what a recording is like."""

from __future__ import annotations

import base64
import shutil
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from tonewheel.errors import NotFound
from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.listening import MAX_BODY_BYTES, AnalysisRequest, AnalysisView, Ears
from tonewheel.gateway.routes import backend_of, ears_of, song_of, while_wanted
from tonewheel.serving.body import parse_body, read_body

router = APIRouter(tags=["analyses"])

_EXAMPLE = {
    "duration_s": 60.0, "sample_rate": 44100, "channels": 2, "format": "MP3",
    "tempo": {"model": "onset", "bpm": 92.0, "confidence": 0.8, "octaves": {"half": 0.9, "same": 1.0, "double": 0.5}},
    "key": {"key": "D major", "confidence": 0.4, "runner_up": "B minor", "inside": 0.97},
    "loudness": {"lufs": -14.0, "range_lu": 4.2, "true_peak_dbtp": -1.0, "peak_dbfs": -1.2},
}  # fmt: skip


def _hum() -> str:
    """A twentieth of a second of sound as base64: an example that can be sent."""
    samples = bytes(128 + 60 * (i // 5 % 2) for i in range(200))  # 400 Hz, 8 bits
    form = struct.pack("<HHIIHH", 1, 1, 4000, 4000, 1, 8)
    parts = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(parts)) + parts).decode()


_TAKES = doc.takes(AnalysisRequest, An_upload={"audio": _hum(), "tasks": ["loudness", "key"]})
_TAKES["requestBody"]["content"]["multipart/form-data"] = {"schema": {"type": "object"}}


@router.post(
    "/v1/analyses", summary="Analyse a recording", dependencies=[needs("generate")], response_class=Response,
    responses=doc.answers(200, AnalysisView, "What was told", _EXAMPLE), openapi_extra=_TAKES,
)  # fmt: skip
async def analyse(request: Request) -> Response:
    """Send `audio` (base64, or as a multipart form) or a `song_id`. Tempo, beats, key, loudness and spectrum need no
    weights; beats come from a model where one is here. Genre, mood, embeddings and lyrics need one (409 without)."""
    backend, ears = backend_of(request), ears_of(request)
    with ears.room():
        data = await read_body(request, MAX_BODY_BYTES)
        asked = await parse_body(AnalysisRequest, data, request.headers.get("content-type", ""), None)
        del data
        view = await while_wanted(request, lambda gone: _hear(ears, backend, asked, gone))
    return doc.json_answer(view)


def _hear(ears: Ears, backend: Backend, asked: AnalysisRequest, gone: Callable[[], bool]) -> AnalysisView:
    with tempfile.TemporaryDirectory(prefix="tonewheel-analysis-") as folder:
        file = Path(folder) / "audio"
        if asked.audio is not None:
            file.write_bytes(asked.audio)
            asked.audio = b""  # it lies on the disk now
        else:
            _fetch(backend, str(asked.song_id), file)
        return ears.hear(asked, file, gone)


def _fetch(backend: Backend, song_id: str, file: Path) -> None:
    song = song_of(backend, song_id)
    main = song.artifact("song")
    if main is None:
        raise NotFound(f"the song {song_id[:40]!r} has no audio", param="song_id")
    with backend.library.open(main.id) as (_, source), file.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
