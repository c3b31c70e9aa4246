"""The planner behind the four verbs, and what it truthfully tells of torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tonewheel.models.base import Model, Result, RunContext
from tonewheel.models.jen1.contract import Jen1Request
from tonewheel.settings import settings
from tonewheel.songs.generated_song import to_generated_song
from tonewheel.songs.planner import make_plan
from tonewheel.styles.library import styles

_PLANNER = "template"
_NO_TORCH_PLANNER = (
    "USE_TORCH=1 asks for a local language model, but this version has only the template planner, which answered."
)


class Jen1(Model[Jen1Request]):
    """The template planner: no network, no weights."""

    def load(self, context: RunContext) -> None:
        context.progress("styles", 0.0)
        styles()
        context.progress("planner", 0.5)
        make_plan(Jen1Request(narrative="warm up", seed=0).to_plan_request())

    def run(self, request: Jen1Request, context: RunContext) -> Result:
        context.progress("plan", 0.0)
        if request.given_song is not None:
            return _given(request)
        plan = make_plan(request.to_plan_request())
        song = to_generated_song(plan)
        if settings().use_torch:
            song["notes"] = [*song.get("notes", ()), _NO_TORCH_PLANNER]
        return Result(song, seed=plan.seed)


def _given(request: Jen1Request) -> Result:
    """The song that was sent, found valid: as it was, with what it lacks of the contract added."""
    plan = request.given_plan()
    complete = to_generated_song(plan)
    given = {k: v for k, v in (request.given_song or {}).items() if v is not None and k != "sections"}
    return Result({"model": "given", **complete, **given}, seed=plan.seed)


def torch_state(model: Model[Any]) -> dict[str, Any]:
    """GET /debug/torch. `has_torch` looks without importing: torch would cost a planner 300 MB."""
    return {
        "has_torch": find_spec("torch") is not None,
        "device": model.device,
        "model_loaded": False,
        "model": None,
        "use_torch": settings().use_torch,
        "detail": "no torch planner in this version: the template planner answers",
    }


def model_state(model: Model[Any]) -> dict[str, Any]:
    """GET /debug/model."""
    return {
        "model": _PLANNER,
        "planner": _PLANNER,
        "revision": model.card.revision,
        "device": model.device,
        "dtype": None,
        "wanted_model": settings().jen1_model,
        "styles": len(styles()),
    }
