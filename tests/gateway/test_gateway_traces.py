"""One trace from the HTTP request through the queue to the model's step, sent to a real OTLP/HTTP receiver."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Served, serving
from test_gateway_survives import steps_of, workers_of

from freezing import freeze, thaw

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

SECRET = "a narrative nobody else may read"
LYRICS = "[Verse]\nwords that stay in the house"
CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[str, list[Any]]]:
    """An OTLP collector: its address, and (service, span) of all it was sent."""
    got: list[Any] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = trace_service.ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            for resource in sent.resource_spans:
                names = {a.key: a.value.string_value for a in resource.resource.attributes}
                got.extend((names["service.name"], s) for scope in resource.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def killed_in_render(served: Served) -> tuple[httpx.Response, str]:
    """The answer to an order whose worker was killed while it was rendered, however quick that is; and its trace."""
    for n in range(1, 11):
        trace = f"0af7651916cd43dd8448eb211c8{n:05}"
        headers = {"traceparent": f"00-{trace}-{CALLER}-01", "X-Request-Id": "mine-7"}
        body = {"narrative": SECRET, "lyrics": LYRICS, "duration_s": 120, "seed": 1}
        answer = served.client.post("/v1/songs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        job = answer.json()
        served.wait(job, lambda j: str(j["stage"]).startswith("render") or j["state"] == "done")
        (worker,) = workers_of(served)
        freeze(worker)
        if steps_of(served, job)[-1:] == ["render"]:
            os.kill(worker, signal.SIGKILL)
            return answer, trace
        thaw(worker)
        served.wait(job)
    raise AssertionError("the renders end before they are seen to begin")


def test_one_trace_leads_from_the_request_to_the_model_also_past_a_crash(
    collector: tuple[str, list[Any]], tmp_path: Path
) -> None:
    url, got = collector
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100",
    }  # fmt: skip
    with serving(tmp_path, **settings) as served:
        answer, trace = killed_in_render(served)
        job = answer.json()
        assert served.wait(job)["state"] == "done"
        # The end of the server sends what waits to be sent.
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(timeout=120) == 0

    ours = [(service, span) for service, span in got if span.trace_id.hex() == trace]
    by_id = {span.span_id: span for _, span in ours}

    def only(name: str) -> tuple[str, Any]:
        found = [(service, span) for service, span in ours if span.name == name]
        assert len(found) == 1, (name, sorted(span.name for _, span in ours))
        return found[0]

    def way(span: Any) -> list[str]:
        """Names from a span up to the caller's; one that leads elsewhere is of a start that was killed."""
        names = [span.name]
        while span.parent_span_id in by_id:
            span = by_id[span.parent_span_id]
            names.append(span.name)
        return names if span.parent_span_id.hex() == CALLER else []

    service, request = only("POST /v1/songs")
    assert (service, attributes(request)["tonewheel.request.id"]) == ("tonewheel-gateway", "mine-7")
    assert answer.headers["traceparent"] == f"00-{trace}-{request.span_id.hex()}-01"
    # The start that was killed could not send its own; what it had finished may have been sent.
    ways = [(service, way(span)) for service, span in ours if span.name == "generate_content composer" and way(span)]
    assert ways == [
        ("tonewheel-composer",
         ["generate_content composer", "POST /predict/stream", "step render", "job song", "POST /v1/songs"])
    ]  # fmt: skip
    last = next(s for service, s in ours if s.name == "job song" and attributes(s)["tonewheel.job.attempt"] == 2)
    assert attributes(last)["tonewheel.job.id"] == job["id"]
    # Under the last start each once; what the one that was killed had finished may have been sent as well.
    steps = [span.name for _, span in ours if span.parent_span_id == last.span_id and span.name.startswith("step ")]
    assert steps.count("step render") == steps.count("step store") == 1
    said = str(got)
    assert SECRET not in said and "stay in the house" not in said
