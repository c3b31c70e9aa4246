"""Traces: one trace from the request to the model's step, sent only when asked, without prompts unless opted in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import service

from tonewheel import telemetry
from tonewheel.telemetry import TraceContext

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
SECRET = "a-narrative-nobody-else-may-read"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector: its address and the spans it was sent."""
    spans: list[Any] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = trace_service.ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collect)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("opted_in", [False, True])
def test_one_trace_from_the_request_to_the_model_and_prompts_only_by_opt_in(
    collector: tuple[str, list[Any]], tmp_path: Path, opted_in: bool
) -> None:
    url, spans = collector
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **({"TONEWHEEL_TRACE_CONTENT": "1"} if opted_in else {})}
    trace = "0af7651916cd43dd8448eb211c80319c"
    with service("jen1", tmp_path, **env) as running:
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        answer = running.post("/generate", {"narrative": SECRET}, headers=headers)
        metadata = answer.json()["metadata"]
        running.post("/generate", {"narrative": SECRET, "duration": 1})
        assert running.stop() == 0  # what waits is sent at the end
    ours = {s.name: s for s in spans if s.trace_id.hex() == trace}
    assert set(ours) == {"POST /generate", "generate_content jen1"}
    request, work = ours["POST /generate"], ours["generate_content jen1"]
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert request.span_id.hex() == metadata["span_id"]
    assert work.parent_span_id == request.span_id
    assert not any(s.name.endswith(("/health", "/readyz")) for s in spans)
    assert (SECRET in str(spans)) is opted_in


def test_without_an_address_nothing_is_sent_and_ids_are_still_there() -> None:
    with telemetry.span("x") as one, telemetry.span("y", parent=one.context) as two:
        one.set("a", 1)
        one.fail("b")
        assert two.context.trace_id == one.context.trace_id
        assert two.context.span_id != one.context.span_id
    assert not telemetry.is_on()
    assert TraceContext.parse(two.context.traceparent()) == two.context


def test_names_are_what_dashboards_and_collectors_know() -> None:
    """Renaming one breaks somebody's dashboard: it is done on purpose, here too."""
    names = {k: v for k, v in vars(telemetry).items() if k.isupper() and isinstance(v, str)}
    assert names.pop("SCHEMA_URL").startswith("https://")
    assert set(names.values()) >= {
        "tonewheel_requests", "tonewheel_request_duration_seconds", "tonewheel_work_duration_seconds",
        "tonewheel_audio_seconds", "tonewheel_real_time_factor", "tonewheel_failures", "tonewheel_queue_depth",
        "tonewheel_queue_wait_seconds", "tonewheel_resident_models", "tonewheel_resident_bytes",
        "gen_ai.operation.name", "gen_ai.request.model", "gen_ai.output.type", "error.type",
    }  # fmt: skip
    assert len(set(names.values())) == len(names)
