"""When will it be done? From what the machine has measured of itself."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tonewheel.jobs.tables import rates
from tonewheel.library.database import Database

# Before anything was measured: a model's render takes as long as the song, the rest two seconds.
UNKNOWN_RTF = 1.0
UNKNOWN_OVERHEAD_S = 2.0
_WEIGHT = 0.3  # of the newest measurement


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds of work per second of audio, and what a job takes beside its render."""

    real_time_factor: float = UNKNOWN_RTF
    overhead_s: float = UNKNOWN_OVERHEAD_S

    def seconds(self, duration_s: float) -> float:
        return self.real_time_factor * duration_s + self.overhead_s


def read_rates(c: sa.Connection) -> dict[str, Rate]:
    return {r.model: Rate(r.real_time_factor, r.overhead_s) for r in c.execute(sa.select(rates))}


def note_rate(c: sa.Connection, database: Database, model: str, real_time_factor: float, overhead_s: float) -> None:
    """Take a finished job into account, in the caller's transaction."""
    new = {"real_time_factor": real_time_factor, "overhead_s": overhead_s}
    c.execute(
        database.insert(rates)
        .values(model=model, renders=1, **new)
        .on_conflict_do_update(
            index_elements=["model"],
            set_={name: rates.c[name] * (1 - _WEIGHT) + value * _WEIGHT for name, value in new.items()}
            | {"renders": rates.c.renders + 1},
        )
    )


def finish_times(slots: int, running_left: Sequence[float], queued: Sequence[float]) -> list[float]:
    """Seconds from now until each of the `queued` jobs (what each takes, in order) is done.

    `running_left` are the seconds the running ones still need; `slots` of them run at once.
    """
    free: list[float] = sorted(max(0.0, s) for s in running_left)[: max(1, slots)]
    free += [0.0] * (max(1, slots) - len(free))
    heapq.heapify(free)
    ends: list[float] = []
    for takes_s in queued:
        end = heapq.heappop(free) + takes_s
        ends.append(end)
        heapq.heappush(free, end)
    return ends


def left_of_running(rate: Rate, duration_s: float, ran_s: float, told: tuple[float, float] | None) -> float:
    """Seconds a running job still needs: as its model told (`eta_s`, seconds since), else by the model's rate."""
    if told is not None:
        return max(0.0, told[0] - told[1])
    return max(0.0, rate.seconds(duration_s) - ran_s)


def slots_of(workers: Sequence[Mapping[str, int]], model: str) -> int:
    return sum(w.get(model, 0) for w in workers)
