"""Planning: a narrative becomes a song plan at once, without a job."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.bodies import body_of
from tonewheel.songs.plan import SongPlan
from tonewheel.songs.request import PlanRequest

router = APIRouter(tags=["plans"])

_PLAN = {
    "title": "Every Night the Lamp", "genre": "Folk", "tempo": 92.0, "key": "D major", "duration_s": 60.0, "seed": 7,
    "sections": [{"id": "verse-1", "label": "Verse 1", "duration_s": 60.0, "lyrics": ["An old lighthouse keeper"]}],
}  # fmt: skip


@router.post(
    "/v1/plans", summary="Plan a song", dependencies=[needs("generate")], response_class=Response,
    responses=doc.answers(200, SongPlan, "Edit it and order it with POST /v1/songs {plan}", _PLAN),
    openapi_extra=doc.takes(PlanRequest, A_narrative={"narrative": doc.NARRATIVE, "duration_s": 60, "seed": 7}),
)  # fmt: skip
async def plan(request: Request) -> Response:
    """Title, sections, lyrics, chords, instruments, tempo and key; the same seed gives the same plan."""
    asked = await body_of(request, PlanRequest)
    made = await asyncio.to_thread(_plan, asked)
    return Response(made.model_dump_json(exclude_none=True), media_type="application/json")


def _plan(asked: PlanRequest) -> SongPlan:
    from tonewheel.songs.planner import make_plan  # noqa: PLC0415  (loaded in the thread that needs it)

    return make_plan(asked)
