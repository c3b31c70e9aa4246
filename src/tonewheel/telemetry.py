"""Traces and metrics: every name defined once, and spans that cost nothing where nobody listens.

Traces are sent only when `OTEL_EXPORTER_OTLP_ENDPOINT` is set and OpenTelemetry is installed; without
that the same calls only keep ids, so that every answer can carry a trace id. A trace context is
plain text (`TraceContext.traceparent()`), which is how it is kept with a job and goes on in a worker.

Prompts and lyrics are content: they are recorded only when `TONEWHEEL_TRACE_CONTENT=1` or
`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true` says so (`content`).
"""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

from tonewheel import __version__

log = logging.getLogger(__name__)

# ── names: metrics (Prometheus) ─────────────────────────────────────────────────────────────────

REQUESTS: Final = "tonewheel_requests"  # counter: service, route, status
REQUEST_SECONDS: Final = "tonewheel_request_duration_seconds"  # histogram: service, route
WORK_SECONDS: Final = "tonewheel_work_duration_seconds"  # histogram: model
AUDIO_SECONDS: Final = "tonewheel_audio_seconds"  # counter: model; seconds of audio made or heard
REAL_TIME_FACTOR: Final = "tonewheel_real_time_factor"  # histogram: model
FAILURES: Final = "tonewheel_failures"  # counter: model, reason (an error's type)
LOAD_SECONDS: Final = "tonewheel_model_load_seconds"  # gauge: model; of the process that runs
MODEL_READY: Final = "tonewheel_model_ready"  # gauge 0/1: model
SLOTS: Final = "tonewheel_slots"  # gauge: model; requests it can run at once
SLOTS_BUSY: Final = "tonewheel_slots_busy"  # gauge: model
REFUSED: Final = "tonewheel_requests_refused"  # counter: model, reason (busy, not_ready)
QUEUE_DEPTH: Final = "tonewheel_queue_depth"  # gauge: model
QUEUE_WAIT_SECONDS: Final = "tonewheel_queue_wait_seconds"  # histogram: model
JOBS_ENDED: Final = "tonewheel_jobs_ended"  # counter: model, state
RENDER_SECONDS: Final = "tonewheel_render_seconds"  # counter: model; by audio_seconds: the mean real-time factor
SMOOTHED_FACTOR: Final = "tonewheel_measured_real_time_factor"  # gauge: model; of the latest jobs
QUEUE_OLDEST_SECONDS: Final = "tonewheel_queue_oldest_seconds"  # gauge: model
WORKERS_ALIVE: Final = "tonewheel_workers_alive"  # gauge
DATABASE_UP: Final = "tonewheel_database_up"  # gauge 0/1
EVENT_STREAMS: Final = "tonewheel_event_streams"  # gauge; readers of jobs' events
RESIDENT_MODELS: Final = "tonewheel_resident_models"  # gauge; model processes of this machine
MODEL_REQUESTS: Final = "tonewheel_model_requests"  # gauge: model; requests that use its process now
RESIDENT_BYTES: Final = "tonewheel_resident_bytes"  # gauge: model, device

# ── names: spans and their attributes ───────────────────────────────────────────────────────────
# The GenAI conventions moved to a repository of their own and still change ("Development"): the few
# names used are written here, with the schema they were taken from, rather than imported.

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42"
OPERATION: Final = "gen_ai.operation.name"
GENERATE: Final = "generate_content"  # there is no music operation; "multimodal content generation"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_SEED: Final = "gen_ai.request.seed"
OUTPUT_TYPE: Final = "gen_ai.output.type"
INPUT_CONTENT: Final = "gen_ai.input.messages"
ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
JOB_ID: Final = "tonewheel.job.id"
JOB_ATTEMPT: Final = "tonewheel.job.attempt"
REQUEST_ID: Final = "tonewheel.request.id"
DURATION_S: Final = "tonewheel.audio.duration"
REAL_TIME: Final = "tonewheel.real_time_factor"

Kind = Literal["internal", "server", "client", "producer", "consumer"]

# ── trace context (W3C) ─────────────────────────────────────────────────────────────────────────

_TRACEPARENT = re.compile(r"\s*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\s*")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace something happens: 32 and 16 hex digits."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @classmethod
    def parse(cls, traceparent: str | None) -> TraceContext | None:
        """From a `traceparent` header; None when it is absent or not valid (then a new trace begins)."""
        m = _TRACEPARENT.fullmatch(traceparent or "")
        if m is None or m[1] == "ff" or (m[1] == "00" and m[5]) or not int(m[2], 16) or not int(m[3], 16):
            return None
        return cls(m[2], m[3], bool(int(m[4], 16) & 1))

    @classmethod
    def child_of(cls, parent: TraceContext | None) -> TraceContext:
        """A new span, in the trace of `parent` or in one of its own."""
        span_id = f"{secrets.randbits(64) or 1:016x}"
        if parent is None:
            return cls(f"{secrets.randbits(128) or 1:032x}", span_id)
        return cls(parent.trace_id, span_id, parent.sampled)

    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


# ── spans ───────────────────────────────────────────────────────────────────────────────────────


class Span:
    """A piece of work in a trace. `context` is there whether or not anything is sent."""

    def __init__(self, context: TraceContext, real: Any = None) -> None:
        self.context = context
        self._real = real

    def rename(self, name: str) -> None:
        """Another name, where the right one is known only afterwards."""
        if self._real is not None:
            self._real.update_name(name)

    def set(self, name: str, value: str | int | float | bool | None) -> None:
        """Set an attribute; None is left out."""
        if self._real is not None and value is not None:
            self._real.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        """Mark it as failed; `error_type` is an error's `type`, never a message (messages may hold content)."""
        if self._real is not None:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

            self._real.set_attribute(ERROR_TYPE, error_type)
            self._real.set_status(Status(StatusCode.ERROR, error_type))


class _Tracing:
    """The tracer of this process; None until `configure` found somewhere to send to."""

    tracer: Any = None
    provider: Any = None


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: TraceContext | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span]:
    """A span around a block. It is not made current: what belongs under it is given its `context` as parent."""
    if _Tracing.tracer is None:
        yield Span(TraceContext.child_of(parent))
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    given = {k: v for k, v in (attributes or {}).items() if v is not None}
    real = _Tracing.tracer.start_span(name, context=_remote(parent), kind=SpanKind[kind.upper()], attributes=given)
    found = real.get_span_context()
    context = TraceContext(f"{found.trace_id:032x}", f"{found.span_id:016x}", found.trace_flags.sampled)
    one = Span(context, real)
    try:
        yield one
    except BaseException as error:
        one.fail(str(getattr(error, "type", type(error).__name__)))
        raise
    finally:
        real.end()


def _remote(parent: TraceContext | None) -> Any:
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import (  # noqa: PLC0415
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    remote = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def configure(service: str) -> bool:
    """Send the spans of this process over OTLP, if the environment says where. Returns whether it does.

    `service` becomes `service.name` unless OTEL_SERVICE_NAME says otherwise. Called once, at start.
    """
    wanted = any(os.environ.get(f"OTEL_EXPORTER_OTLP{part}_ENDPOINT") for part in ("", "_TRACES"))
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as missing:
        log.warning("traces are not sent: %s is not installed; pip install 'tonewheel[telemetry]'", missing.name)
        return False
    name = os.environ.get("OTEL_SERVICE_NAME") or f"tonewheel-{service}"
    resource = Resource.create({"service.name": name, "service.version": __version__})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)
    return True


def use(provider: Any) -> None:
    """Make spans with this OpenTelemetry provider (None = none any more)."""
    _Tracing.provider = provider
    _Tracing.tracer = provider and provider.get_tracer("tonewheel", __version__, schema_url=SCHEMA_URL)


def is_on() -> bool:
    """Whether spans go anywhere."""
    return _Tracing.tracer is not None


def shutdown() -> None:
    """Send what is waiting; called at the end of a process."""
    if _Tracing.provider is not None:
        _Tracing.provider.shutdown()
        use(None)


def content(text: Callable[[], str]) -> str | None:
    """What `text` gives where recording prompts and lyrics was opted in, otherwise None."""
    from tonewheel.settings import settings  # noqa: PLC0415

    capture = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower()
    return text() if settings().trace_content or capture in ("1", "true", "span_only", "span_and_event") else None
