"""`/predict/stream`: the same work told as server-sent events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.models.base import Audio, Progress
from tonewheel.serving.answer import Answer, File, chunks, json_pieces
from tonewheel.serving.faults import told
from tonewheel.serving.presence import while_here
from tonewheel.serving.spool import Spool, linked
from tonewheel.serving.work import Caller, Work

HEARTBEAT_S = 10.0  # proxies close what is silent for a minute


class EventStream(Response):
    """Events of one piece of work until its result or error. When the client goes away, the work stops.

    `spool` not None = files are linked, not written as base64. Events:
    `progress {stage, fraction, eta_s}` (at least the last of every stage) · `audio {index, sample_rate, channels,
    format "pcm_s16le", audio_base64 or url}` · `result` (the body of /predict) · `error {detail, status}`.
    """

    media_type = "text/event-stream"

    def __init__(self, work: Work, caller: Caller, spool: Spool | None) -> None:
        super().__init__(None, 200, {"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._work, self._caller, self._spool = work, caller, spool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientDisconnect):
                await while_here(receive, self._tell(send))
        finally:
            self._work.cancel("the client went away")

    async def _tell(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for chunk in self._events():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncIterator[bytes]:
        yield _event("progress", {"stage": "start", "fraction": 0.0, "eta_s": None})
        index = 0
        try:
            async for news in self._work.news(HEARTBEAT_S):
                if news is None:
                    yield b": still at work\n\n"
                elif isinstance(news, Progress):
                    yield _event("progress", _progress(news))
                else:
                    yield _event("audio", await self._chunk(news, index))
                    index += 1
            answer = await self._work.answer()
        except Exception as error:  # the answer has begun: whatever went wrong is told as an event
            status, body, _ = told(error, self._caller.request_id)
            yield _event("error", {**body, "status": status})
            return
        assert answer is not None
        async for piece in self._result(answer):
            yield piece

    async def _result(self, answer: Answer) -> AsyncIterator[bytes]:
        try:
            body = answer.body if self._spool is None else await asyncio.to_thread(linked, answer.body, self._spool)
            pieces, _ = await asyncio.to_thread(json_pieces, body)
        except Exception as error:  # a full disk, or a model that answered what is no JSON
            status, shape, _ = told(error, self._caller.request_id)
            yield _event("error", {**shape, "status": status})
            return
        yield b"event: result\ndata: "
        for chunk in chunks(pieces):
            yield chunk
        yield b"\n\n"

    async def _chunk(self, audio: Audio, index: int) -> dict[str, Any]:
        head = {"index": index, "sample_rate": audio.sample_rate, "channels": audio.channels, "format": "pcm_s16le"}
        data = await asyncio.to_thread(pcm, audio)
        if self._spool is None:
            return head | {"audio_base64": base64.b64encode(data).decode()}
        kept = await asyncio.to_thread(self._spool.put, File(data, "application/octet-stream", f"{index}.pcm"))
        return head | kept.link()


def _progress(news: Progress) -> dict[str, Any]:
    eta = None if news.eta_s is None else round(news.eta_s, 2)
    return {"stage": news.stage, "fraction": round(news.fraction, 4), "eta_s": eta}


def _event(name: str, data: dict[str, Any]) -> bytes:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


def pcm(audio: Audio) -> bytes:
    """Samples as 16-bit little-endian numbers, channels interleaved."""
    import numpy as np  # noqa: PLC0415  (only a model with audio gets here)

    return bytes((np.clip(audio.samples, -1.0, 1.0) * np.float32(32767)).astype("<i2").tobytes())
