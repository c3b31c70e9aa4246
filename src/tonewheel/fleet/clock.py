"""What a request will take on this machine, before a model is started for it."""

from __future__ import annotations

from tonewheel.fleet.memory import read_devices
from tonewheel.models.base import Card, Estimate, Family, ModelRequest
from tonewheel.models.clock import estimate


def expected_here(family: Family, card: Card, request: ModelRequest) -> Estimate | None:
    """As the model measured itself where it ran last; None = not known, as after a GPU has come since."""
    found = estimate(family, card, request)
    if found is None or found.device != "cpu":
        return found
    better = [device for device in read_devices() if device.kind != "cpu" and device.kind in card.devices]
    return None if better else found
