"""`/predict/stream` for `Accept: audio/wav` alone: the music itself, sent while it is made, as players take it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tonewheel.audio import riff
from tonewheel.audio.tags import as_pairs
from tonewheel.models.base import Audio
from tonewheel.serving.answer import Answer, JSONWithFiles, audio_response
from tonewheel.serving.events import HEARTBEAT_S, pcm
from tonewheel.serving.faults import told
from tonewheel.serving.presence import while_here
from tonewheel.serving.work import Caller, Work


def wants_live(accept: str | None) -> bool:
    """Whether the header asks for a WAV and nothing else: events are what everybody else gets."""
    return {kind.partition(";")[0].strip().lower() for kind in (accept or "").split(",")} <= {
        "audio/wav",
        "audio/x-wav",
    }


class LiveWav(Response):
    """A WAV without a length, its tags in front. What goes wrong before the first sound is an ordinary error; after
    it, the connection is broken off, which no client takes for the end. A model that cannot stream sends it whole."""

    media_type = "audio/wav"

    def __init__(self, work: Work, caller: Caller) -> None:
        super().__init__(None, 200, {"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._work, self._caller = work, caller
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientDisconnect):
                rest = await while_here(receive, self._play(send))
                if rest is not None:
                    await rest(scope, receive, send)
        finally:
            self._work.cancel("the client went away")

    async def _play(self, send: Send) -> Response | None:
        """Send what comes; the response to send instead when nothing was to be heard."""
        answer: Answer | None = None
        try:
            async for news in self._work.news(HEARTBEAT_S):
                if isinstance(news, Audio):
                    await self._send(news, send)
            answer = await self._work.answer()
        except Exception as error:
            status, body, headers = told(error, self._caller.request_id)
            return None if self._begun else JSONWithFiles(body, status, headers)
        assert answer is not None
        if not self._begun:
            return audio_response(answer)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return None

    async def _send(self, audio: Audio, send: Send) -> None:
        data = await asyncio.to_thread(pcm, audio)
        if not self._begun:
            self._begun = True
            pairs = {} if audio.tags is None else as_pairs(audio.tags)
            data = riff.head(audio.sample_rate, audio.channels, pairs) + data
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": data, "more_body": True})
