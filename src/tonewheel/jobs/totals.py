"""What was done in all, for metrics: sums in the database, changed in the transaction of what they count.

So they count each job once, whoever does it, and outlive workers, gateways and the jobs themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa

from tonewheel.jobs.tables import jobs
from tonewheel.library.database import Database
from tonewheel.library.tables import metadata

# Upper bounds in seconds; a wait beyond the last is counted under "+Inf".
WAITS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
_INFINITE = "+Inf"

_totals = sa.Table(
    "tonewheel_totals", metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)  # fmt: skip


@dataclass
class Totals:
    """Sums since the database was made, of one model."""

    waits: dict[str, float] = field(default_factory=dict)  # upper bound → jobs that waited so long, not cumulative
    waited_s: float = 0.0
    audio_s: float = 0.0
    render_s: float = 0.0
    ended: dict[str, float] = field(default_factory=dict)  # state → jobs
    failures: dict[str, float] = field(default_factory=dict)  # an error's type → jobs


def started(c: sa.Connection, database: Database, job_id: str) -> None:
    """A job was started for the first time: count how long it waited."""
    query = sa.select(jobs.c.model, (jobs.c.started_at - jobs.c.created_at).label("waited")).where(jobs.c.id == job_id)
    row = c.execute(query).one()
    waited = max(0.0, row.waited)
    bound = next((f"{b:g}" for b in WAITS_S if waited <= b), _INFINITE)
    _add(c, database, row.model, {("waits", bound): 1.0, ("waited_s", ""): waited})


def made(c: sa.Connection, database: Database, model: str, audio_s: float, render_s: float) -> None:
    """A song of `audio_s` seconds was made; its render took `render_s`."""
    _add(c, database, model, {("audio_s", ""): audio_s, ("render_s", ""): render_s})


def ended(c: sa.Connection, database: Database, job_ids: list[str], state: str, reason: str | None) -> None:
    """Jobs came to their end; `reason` is the type of the error, where it was one."""
    query = sa.select(jobs.c.model).where(jobs.c.id.in_(job_ids))
    for model in sorted(c.scalars(query)):
        changes = {("ended", state): 1.0} | ({("failures", reason): 1.0} if reason else {})
        _add(c, database, model, changes)


def _add(c: sa.Connection, database: Database, model: str, changes: dict[tuple[str, str], float]) -> None:
    for (name, label), value in sorted(changes.items()):  # sorted: two transactions never wait for each other
        row = database.insert(_totals).values(name=name, model=model, label=label, value=value)
        c.execute(
            row.on_conflict_do_update(
                index_elements=["name", "model", "label"], set_={"value": _totals.c.value + row.excluded.value}
            )
        )


def read_totals(c: sa.Connection) -> dict[str, Totals]:
    """By model."""
    return _by_model(c.execute(sa.select(_totals)).all())


def _by_model(rows: Iterable[sa.Row[tuple[str, str, str, float]]]) -> dict[str, Totals]:
    found: dict[str, Totals] = {}
    for row in rows:
        one = found.setdefault(row.model, Totals())
        if row.label:
            getattr(one, row.name)[row.label] = row.value
        else:
            setattr(one, row.name, row.value)
    return found
