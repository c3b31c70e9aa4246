"""Songs: ordering them, finding them, deleting them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from tonewheel.errors import NotFound
from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs, principal
from tonewheel.gateway.backend import Backend
from tonewheel.gateway.bodies import body_of
from tonewheel.gateway.moments import Moment
from tonewheel.gateway.names import checked_name
from tonewheel.gateway.orders import Desk, SongOrder, idempotency_key
from tonewheel.gateway.routes import backend_of, caller_of, ears_of, song_of, while_wanted
from tonewheel.gateway.views import (
    OrderView,
    SongPageView,
    SongView,
    job_url,
    order_view,
    similar_songs_view,
    song_page_view,
    song_view,
)
from tonewheel.library.ids import is_id

router = APIRouter(tags=["songs"])

_EXAMPLES = {
    "A_narrative": {"narrative": doc.NARRATIVE, "duration_s": 60, "format": "mp3"},
    "A_style_and_options": {"prompt": "warm lo-fi with brushes", "duration_s": 90, "seed": 7, "variations": 3},
    "Own_lyrics": {"lyrics": "[Verse]\nThe tide comes in\n[Chorus]\nAnd I go home", "style": "folk", "stems": True},
}
_ACCEPTED = doc.answers(202, OrderView, "Accepted: it will be done", {**doc.JOB, "variations": []})
_WHEN = "A date or time (2026-11-21, 2026-11-21T16:00:00Z; UTC where no zone is told), or seconds since 1970."
SongId = Annotated[str, Path(description="The id of a song, or the one you chose with PUT.", examples=[doc.SONG_ID])]


@router.post(
    "/v1/songs", status_code=202, summary="Order a song", responses=_ACCEPTED, dependencies=[needs("generate")],
    openapi_extra=doc.takes(SongOrder, **_EXAMPLES) | {"parameters": [doc.IDEMPOTENCY_KEY]}, response_class=Response,
)  # fmt: skip
async def order(request: Request) -> Response:
    """Give a `narrative`, a `plan`, a `prompt` or `lyrics`. The answer is a durable job: follow `events_url`, then
    get `song_url`. Further `variations` are jobs of their own with seeds derived from the first."""
    key = idempotency_key(request.headers)
    asked = await body_of(request, SongOrder)
    desk = Desk(backend_of(request))
    made = await asyncio.to_thread(desk.order, asked, caller_of(request), principal(request), key)
    return doc.json_answer(order_view(made), 202, {"location": job_url(made[0].id)})


@router.put(
    "/v1/songs/{song_id}", status_code=202, summary="Order a song under an id of your own", response_class=Response,
    responses=_ACCEPTED | doc.answers(200, OrderView, "It was ordered before", {**doc.JOB, "variations": []}),
    dependencies=[needs("generate")], openapi_extra=doc.takes(SongOrder, **_EXAMPLES),
)  # fmt: skip
async def order_named(request: Request, song_id: SongId) -> Response:
    """Sent again it gives the same job, so it can be repeated when an answer got lost; another request under the
    same id is refused (409). DELETE frees the id."""
    checked_name(song_id)
    asked = await body_of(request, SongOrder)
    desk = Desk(backend_of(request))
    job, new = await asyncio.to_thread(desk.order_named, song_id, asked, caller_of(request))
    return doc.json_answer(order_view([job]), 202 if new else 200, {"location": job_url(job.id)})


@router.get(
    "/v1/songs", summary="Find songs", dependencies=[needs("read")], response_class=Response,
    responses=doc.answers(200, SongPageView, "Newest first", {"songs": [doc.SONG], "next": None, "total": 1}),
)  # fmt: skip
async def find(
    request: Request,
    words: Annotated[str, Query(max_length=200, description="All of these, in title, lyrics, narrative …")] = "",
    model: Annotated[
        str | None, Query(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$", description="Made by this model.")
    ] = None,
    made_after: Annotated[Moment | None, Query(description=_WHEN)] = None,
    made_before: Annotated[Moment | None, Query(description=_WHEN)] = None,
    after: Annotated[str | None, Query(pattern=r"^\d{1,18}$", description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    similar_to: Annotated[
        str | None, Query(max_length=200, description="A song: those that sound most like it, the nearest first.")
    ] = None,
) -> Response:
    """By words, model and date, a page at a time; or by what they sound like (POST /v1/search takes words for it)."""
    library = backend_of(request).library
    if similar_to is not None:
        return await _similar(request, similar_to, limit)
    page = await asyncio.to_thread(
        lambda: library.search(
            words=words, model=model, made_after=made_after, made_before=made_before, after=after, limit=limit
        )
    )
    return doc.json_answer(song_page_view(page))


async def _similar(request: Request, song_id: str, limit: int) -> Response:
    song = await asyncio.to_thread(song_of, backend_of(request), song_id)
    ears = ears_of(request)
    return doc.json_answer(
        similar_songs_view(await while_wanted(request, lambda gone: ears.similar(song, limit, gone)))
    )


@router.get(
    "/v1/songs/{song_id}", summary="A song", dependencies=[needs("read")], response_class=Response,
    responses=doc.answers(200, SongView, "With its plan, its provenance and its files", doc.SONG),
)  # fmt: skip
async def show(request: Request, song_id: SongId) -> Response:
    """By its id, or by the one you chose with PUT."""
    return doc.json_answer(song_view(await asyncio.to_thread(song_of, backend_of(request), song_id)))


@router.delete(
    "/v1/songs/{song_id}", status_code=204, summary="Delete a song and its files", dependencies=[needs("admin")],
    response_class=Response,
)  # fmt: skip
async def delete(request: Request, song_id: SongId) -> Response:
    """An id of your own is free again afterwards; its order is cancelled if it is still open."""
    await asyncio.to_thread(_delete, backend_of(request), song_id)
    return Response(status_code=204)


def _delete(backend: Backend, song_id: str) -> None:
    if is_id("song", song_id):
        backend.library.delete(song_id)
        return
    named = backend.names.get(song_id)
    if named.job_id is None:
        raise NotFound(f"there is no song {song_id[:40]!r}", param="id")
    with contextlib.suppress(NotFound):  # forgotten long ago
        backend.store.cancel(named.job_id)
    song = backend.library.of_job(named.job_id)
    if song is not None:
        backend.library.delete(song.id)
    backend.names.free(named)
