"""One request to a service by HTTP: its events, its files as bytes, its errors as ours."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tonewheel.errors import DiskFull, TonewheelError, Unavailable
from tonewheel.fleet.faults import ServiceFault, from_answer

Progress = Callable[[str, float, float | None], None]
"""`progress(stage, fraction, eta_s)`: the share of the whole request 0-1, seconds left or None."""

_MAX_EVENT = 512 * 1024 * 1024  # characters: a result with its audio as base64, nothing sane is longer
_SUFFIX = {
    "audio/wav": "wav", "audio/x-wav": "wav", "audio/flac": "flac", "audio/mpeg": "mp3", "audio/ogg": "ogg",
    "audio/opus": "opus", "audio/midi": "mid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A file of an answer. `field` is where it would stand in JSON (`audio_base64`, `stems[0].audio_base64`).

    Its bytes are `data`, or lie at `path` when the call named a folder for them.
    """

    field: str
    media_type: str
    file_name: str
    data: bytes | None = None
    path: Path | None = None

    def read(self) -> bytes:
        if self.data is not None:
            return self.data
        assert self.path is not None
        return self.path.read_bytes()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered: its JSON fields, and its files where audio was asked for as such."""

    fields: Mapping[str, Any]
    files: tuple[AnswerFile, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds: ready, slot, work

    @property
    def audio(self) -> AnswerFile | None:
        """The main audio."""
        return next((f for f in self.files if f.media_type.startswith("audio/") and f.media_type != "audio/midi"), None)

    @property
    def metadata(self) -> Mapping[str, Any]:
        found = self.fields.get("metadata") or self.fields.get("meta")
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a service."""

    body: Mapping[str, Any]
    accept: str | None  # an audio type: files come as bytes; None: as base64 in the fields
    into: Path | None  # a folder for the files
    headers: Mapping[str, str]
    progress: Progress


async def stream(client: httpx.AsyncClient, order: Order, accepted: Callable[[], None] | None = None) -> Answer:
    """Run by server-sent events; `accepted` is called once it has a slot.

    Raises what the service told, Unavailable, httpx.TransportError.
    """
    accept = "text/event-stream" if order.accept is None else f"text/event-stream, {order.accept}"
    headers = {**order.headers, "accept": accept}
    async with client.stream("POST", "/predict/stream", json=dict(order.body), headers=headers) as response:
        if response.status_code != 200:
            raise await refused(response)
        if accepted is not None:
            accepted()
        async for name, data in _events(response):
            if name == "progress":
                order.progress(str(data.get("stage", "")), float(data.get("fraction") or 0.0), data.get("eta_s"))
            elif name == "error":
                raise from_answer(int(data.get("status", 500)), data)
            elif name == "result":
                return await _with_files(client, order, data)
    raise Unavailable("the service broke off before its result")


async def plain(client: httpx.AsyncClient, order: Order, path: str, audio_url: str | None = None) -> Answer:
    """Run by an ordinary request; `audio_url` is the field with the address of the audio, where there is one."""
    response = await client.post(path, json=dict(order.body), headers=dict(order.headers))
    if response.status_code not in (200, 201):
        raise await refused(response)
    try:
        fields = response.json()
    except ValueError:
        raise ServiceFault("the service answered what is no JSON") from None
    if not isinstance(fields, dict):
        raise ServiceFault("the service answered no JSON object")
    if audio_url is not None and isinstance(fields.get(audio_url), str):
        link = {"field": "audio_base64", "url": fields.pop(audio_url)}
        return await _with_files(client, order, {**fields, "files": [link]})
    return _decoded(fields, order) if order.accept is not None else Answer(fields)


async def refused(response: httpx.Response) -> TonewheelError:
    """Why a service did not do it."""
    text = (await response.aread())[:65_536]
    try:
        body: Any = json.loads(text)
    except ValueError:
        body = None
    after = response.headers.get("retry-after", "")
    return from_answer(response.status_code, body, retry_after_s=float(after) if after.isdigit() else 1.0)


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """(name, data) of each server-sent event (WHATWG HTML, "event stream interpretation")."""
    name, data = "message", ""
    async for line in _lines(response):
        if not line:
            if data:
                yield name, _object(data)
            name, data = "message", ""
        elif line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].lstrip(" ")


async def _lines(response: httpx.Response) -> AsyncIterator[str]:
    # httpx's own splitter breaks lines at U+2028 and the like, which JSON texts may hold.
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*pieces, end)).decode("utf-8", "replace").rstrip("\r")
            pieces, size = [], 0
        pieces.append(rest)
        size += len(rest)
        if size > _MAX_EVENT:
            raise ServiceFault("the service sent an event without end")


def _object(data: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise ServiceFault("the service sent an event that is no JSON") from None
    return value if isinstance(value, dict) else {"value": value}


# ── files ───────────────────────────────────────────────────────────────────────────────────────


async def _with_files(client: httpx.AsyncClient, order: Order, fields: dict[str, Any]) -> Answer:
    if order.accept is None:
        return Answer(fields)
    files: list[AnswerFile] = []
    by_url: dict[str, AnswerFile] = {}  # one file may stand at two places: the first of several songs, say
    for index, link in enumerate(fields.pop("files", [])):
        url = str(link["url"])
        if url not in by_url:
            by_url[url] = await _fetched(client, order, index, link)
        files.append(replace(by_url[url], field=str(link.get("field", ""))))
    return Answer(fields, tuple(files))


async def _fetched(client: httpx.AsyncClient, order: Order, index: int, link: Mapping[str, Any]) -> AnswerFile:
    """The bytes behind a link. Only the path is followed: a service cannot send us to another host."""
    address = urlsplit(str(link["url"]))
    path = address.path + (f"?{address.query}" if address.query else "")
    async with client.stream("GET", path, headers=dict(order.headers)) as response:
        if response.status_code != 200:
            raise await refused(response)
        kind = str(link.get("media_type") or response.headers.get("content-type", "application/octet-stream"))
        kind = kind.partition(";")[0].strip()
        name = f"{index}.{_SUFFIX.get(kind, 'bin')}"
        if order.into is None:
            data: bytes | None = await response.aread()
            target = None
        else:
            data, target = None, order.into / name
            await _save(response, target)
    if path.startswith("/v1/files/"):
        await client.delete(path, headers=dict(order.headers))  # ours: it need not be kept ten minutes
    return AnswerFile(str(link.get("field", "")), kind, str(link.get("file_name") or name), data, target)


async def _save(response: httpx.Response, target: Path) -> None:
    try:
        with target.open("wb") as file:
            async for chunk in response.aiter_bytes(1 << 20):
                file.write(chunk)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise DiskFull(f"cannot write {target.name}: {error.strerror}: free some room") from error


def _decoded(fields: dict[str, Any], order: Order) -> Answer:
    """Base64 audio of a server that knows no other way, as a file."""
    text = fields.get("audio_base64")
    if not isinstance(text, str):
        return Answer(fields)
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ServiceFault("the service answered audio that is no base64") from None
    kind = f"audio/{fields.get('format', 'wav')}".replace("audio/mp3", "audio/mpeg")
    rest = {k: v for k, v in fields.items() if k != "audio_base64"}
    name = f"0.{_SUFFIX.get(kind, 'wav')}"
    if order.into is None:
        return Answer(rest, (AnswerFile("audio_base64", kind, name, data),))
    target = order.into / name
    target.write_bytes(data)
    return Answer(rest, (AnswerFile("audio_base64", kind, name, None, target),))
