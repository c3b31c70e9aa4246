"""Models: which there are, and how they are."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from tonewheel.gateway import document as doc
from tonewheel.gateway.auth import needs
from tonewheel.gateway.routes import backend_of

router = APIRouter(tags=["models"])

_COMPOSER = {
    "id": "composer", "family": "composer", "title": "Tonewheel composer", "tasks": ["song", "music"],
    "source": "built-in", "state": "built-in", "code_license": "Apache-2.0", "weight_license": None,
    "sample_rate": 44100, "channels": 2, "max_duration_s": 600.0, "url": "/v1/models/composer",
}  # fmt: skip


class ModelView(BaseModel):
    """A model's card and its state."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    id: str
    state: str = Field(description="built-in, not pulled, partly pulled, pulled, starting, running, remote or failed.")
    url: str


class ModelList(BaseModel):
    """All models, by id."""

    models: list[ModelView]


@router.get(
    "/v1/models", summary="List models", dependencies=[needs("read")], response_model=ModelList,
    responses=doc.answers(200, None, "By id", {"models": [_COMPOSER]}),
)  # fmt: skip
async def listing(request: Request) -> Any:
    """Their cards, licences, limits and states."""
    return {"models": await asyncio.to_thread(backend_of(request).models.list)}


@router.get(
    "/v1/models/{model_id}", summary="A model", dependencies=[needs("read")], response_model=ModelView,
    responses=doc.answers(200, None, "Its card and state", _COMPOSER),
)  # fmt: skip
async def show(
    request: Request, model_id: Annotated[str, Path(description="The id of a model, or its service's name.")]
) -> Any:
    """By its id or its service's name."""
    return await asyncio.to_thread(backend_of(request).models.get, model_id)
