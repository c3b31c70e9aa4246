"""How long a request will take, told before it is begun, and refused where it cannot be done in time.

A family that has measured itself says so by `Family.estimate`; for others nothing is known and nothing is refused.
"""

from __future__ import annotations

from tonewheel.errors import TooSlow
from tonewheel.models.base import Card, Estimate, Family, ModelRequest

_MARGIN = 2.0  # times the estimate, for a request that was forced: other work may share the machine
_MARGIN_S = 60.0


def estimate(family: Family | None, card: Card | None, request: ModelRequest) -> Estimate | None:
    """Seconds the request takes alone where the model ran last; None = not known."""
    if family is None or card is None or family.estimate is None:
        return None
    return family.estimate(card, request)


def ensure_in_time(card: Card, request: ModelRequest, expected: Estimate | None, deadline_s: float) -> None:
    """Raises TooSlow for a request that a CPU would be stopped at before its end, unless it says `force`."""
    if expected is None or expected.device != "cpu" or expected.seconds <= deadline_s or _forced(request):
        return
    smaller = [name for name in ("num_inference_steps", "duration") if name in type(request).model_fields]
    raise TooSlow(
        f"{card.id} would take about {told_s(expected.seconds)} on this CPU and is stopped after {told_s(deadline_s)}: "
        f"ask for less ({', '.join(smaller) or 'a smaller request'}), use a GPU, or send force: true (--force) to wait",
        param="force",
    )


def longer_if_forced(deadline_s: float, request: ModelRequest, expected: Estimate | None) -> float:
    """The deadline of a request that is to be done however long it takes: by its estimate, with a margin."""
    if expected is None or not _forced(request):
        return deadline_s
    return max(deadline_s, _MARGIN * expected.seconds + _MARGIN_S)


def takes_force(family: Family) -> bool:
    """Whether its requests can say `force`."""
    return "force" in family.request.model_fields


def told_s(seconds: float) -> str:
    """Such as `40 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _forced(request: ModelRequest) -> bool:
    return bool(getattr(request, "force", False))
