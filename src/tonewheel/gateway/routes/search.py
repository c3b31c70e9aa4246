"""Songs by what they sound like."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.listening import MAX_BODY_BYTES, SearchRequest
from tonewheel.gateway.routes import ears_of, while_wanted
from tonewheel.gateway.views import SongPageView, similar_songs_view
from tonewheel.serving.body import parse_body, read_body

router = APIRouter(tags=["songs"])

_FOUND = {"songs": [doc.SONG | {"similarity": 0.71}], "next": None, "total": 1}
_TAKES = doc.takes(SearchRequest, Words={"text": "slow piano in an empty hall", "limit": 10})
_TAKES["requestBody"]["content"]["multipart/form-data"] = {"schema": {"type": "object"}}


@router.post(
    "/v1/search", summary="Find songs by what they sound like", dependencies=[needs("read")], response_class=Response,
    responses=doc.answers(200, SongPageView, "The nearest first", _FOUND), openapi_extra=_TAKES,
)  # fmt: skip
async def search(request: Request) -> Response:
    """Give `text` or `audio` (base64, or a file of a multipart form). Each song tells its `similarity`, the cosine.
    Needs a model that embeds, such as CLAP (409 without one)."""
    ears = ears_of(request)
    with ears.room():
        data = await read_body(request, MAX_BODY_BYTES)
        asked = await parse_body(SearchRequest, data, request.headers.get("content-type", ""), None)
        del data
        found = await while_wanted(request, lambda gone: ears.find(asked, gone))
    return doc.json_answer(similar_songs_view(found))
