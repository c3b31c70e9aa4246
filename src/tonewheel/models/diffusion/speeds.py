"""Measured seconds of a model on its device, kept on disk: what an estimate is made of. No torch, nothing is loaded.

    speeds = Speeds("audioldm2", "cpu/float32")
    speeds.note("step", load=20.0, seconds=1.7)      after each run, and after the warm-up
    speeds.seconds("step", load=30.0)                2.5…: between two that were measured, or beyond the largest

One small file a model in the data folder, which whoever takes requests reads, too: a request that would take hours is
refused before the model is loaded.
"""

from __future__ import annotations

import contextlib
import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from tonewheel.errors import TonewheelError
from tonewheel.files import whole_file
from tonewheel.models.base import Estimate
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.settings import settings

Of = Literal["step", "decode"]

_WEIGHT = 0.5  # of the newest of equal measurements
_MOST = 24  # loads kept; the least like the newest go first
_lock = threading.Lock()


class Speeds:
    """What was measured of one model at one place (`Place.name`). None as the place: where it ran last."""

    def __init__(self, model: str, place: str | None = None) -> None:
        self._path = settings().data_dir / "speeds" / f"{model}.json"
        kept = _read(self._path)
        self.place = place or str(kept.get("last", ""))
        self._known: dict[str, dict[float, float]] = {}
        of_place = kept.get("places", {}).get(self.place, {})
        for of in ("step", "decode"):
            self._known[of] = {float(load): float(s) for load, s in of_place.get(of, {}).items()}

    @property
    def known(self) -> bool:
        return bool(self._known["step"])

    def note(self, of: Of, *, load: float, seconds: float) -> None:
        """Remember a measurement, blended with an earlier one of the same load."""
        load = float(f"{load:.3g}")
        known = self._known[of]
        before = known.get(load, seconds)
        known[load] = _WEIGHT * seconds + (1 - _WEIGHT) * before
        while len(known) > _MOST:
            del known[max(known, key=lambda other: abs(other - load))]

    def seconds(self, of: Of, *, load: float) -> float | None:
        """What it would take; None = nothing was measured. Less than the least measured takes as long: it is not the
        numbers that take the time there."""
        points = sorted(self._known[of].items())
        if not points:
            return None
        if load <= points[0][0]:
            return points[0][1]
        for (a, s), (b, t) in pairwise(points):
            if load <= b:
                return s + (t - s) * (load - a) / (b - a)
        last, seconds = points[-1]
        return seconds * load / last

    def keep(self) -> None:
        """Write them down; a folder that may not be written is no reason to fail."""
        with _lock, contextlib.suppress(OSError, TonewheelError):
            kept = _read(self._path)
            places = kept.setdefault("places", {})
            places[self.place] = {of: {f"{k:g}": v for k, v in known.items()} for of, known in self._known.items()}
            kept["last"] = self.place
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path, force=True) as file:
                file.write(json.dumps(kept, indent=1).encode())

    def estimate(self, recipe: Recipe, rows: int, most: int | None = None) -> Estimate | None:
        """What `rows` of a recipe take alone, `most` at a time; None = not measured yet."""
        total, left = 0.0, rows
        while left > 0:
            now = min(left, most or left)
            step = self.seconds("step", load=recipe.load * now)
            if step is None:
                return None
            total += recipe.steps * step + (self.seconds("decode", load=recipe.decode_load * now) or 0.0)
            left -= now
        return Estimate(total, self.place.partition("/")[0])


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
