"""The tables of jobs. DBOS keeps its own beside them (`workflow_status`, `operation_outputs` …)."""

from __future__ import annotations

import sqlalchemy as sa

from tonewheel.library.tables import Json, Serial, metadata

jobs = sa.Table(
    "tonewheel_jobs", metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("request", Json, nullable=False),
    sa.Column("request_hash", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text, unique=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),  # of the audio asked for
    sa.Column("deadline_s", sa.Float, nullable=False),
    sa.Column("stage", sa.Text),
    sa.Column("fraction", sa.Float, nullable=False),
    sa.Column("eta_s", sa.Float),  # as told at `told_at`
    sa.Column("told_at", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("worker", sa.Text),  # its id
    sa.Column("run", sa.Text),  # a token of the current start: only its holder may write
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("error", Json),
    sa.Column("song_id", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("last_event", sa.Integer, nullable=False),
    sa.Index("tonewheel_jobs_state", "state", "model", "priority", "seq"),
    sa.Index("tonewheel_jobs_finished", "finished_at"),
    sqlite_autoincrement=True,
)  # fmt: skip

events = sa.Table(
    "tonewheel_job_events", metadata,
    sa.Column("job_id", sa.ForeignKey("tonewheel_jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("data", Json, nullable=False),
)  # fmt: skip

workers = sa.Table(
    "tonewheel_workers", metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("incarnation", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("slots", Json, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("beat_at", sa.Float, nullable=False),
)  # fmt: skip

# How fast each model has been: seconds of work per second of audio, smoothed.
rates = sa.Table(
    "tonewheel_rates", metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("real_time_factor", sa.Float, nullable=False),
    sa.Column("overhead_s", sa.Float, nullable=False),  # of a job beside its render
    sa.Column("renders", sa.Integer, nullable=False),
)  # fmt: skip
