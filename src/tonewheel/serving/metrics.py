"""What Prometheus may ask of a service; a registry of its own for each, so that two in one process do not mix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from tonewheel import telemetry as names
from tonewheel.errors import ServiceBusy
from tonewheel.serving.faults import as_tonewheel
from tonewheel.serving.host import Host

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The usual buckets end at 10 s; a song may take half an hour.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one service. Only the event loop's thread writes them."""

    def __init__(self, host: Host) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        service, model = host.family.service, host.card.id
        self._service = service
        self._requests = Counter(names.REQUESTS, "Requests answered", ["service", "route", "status"], registry=registry)
        self._seconds = Histogram(
            names.REQUEST_SECONDS, "Time of a whole request", ["service", "route"], buckets=_SECONDS, registry=registry
        )
        self._work = Histogram(names.WORK_SECONDS, "Time of the work", ["model"], buckets=_SECONDS, registry=registry)
        self._audio = Counter(names.AUDIO_SECONDS, "Seconds of audio made or heard", ["model"], registry=registry)
        self._factor = Histogram(
            names.REAL_TIME_FACTOR, "Work per second of audio", ["model"], buckets=_FACTORS, registry=registry
        )
        self._failures = Counter(names.FAILURES, "Work that failed", ["model", "reason"], registry=registry)
        self._refused = Counter(names.REFUSED, "Refused before work began", ["model", "reason"], registry=registry)
        for name, text, value in (
            (names.LOAD_SECONDS, "Time it took to load the model", lambda: host.load_seconds or 0.0),
            (names.MODEL_READY, "Whether the model takes requests", lambda: float(host.state == "ready")),
            (names.SLOTS, "Requests the model runs at once", lambda: float(host.slots)),
            (names.SLOTS_BUSY, "Requests running now", lambda: float(host.busy)),
        ):
            Gauge(name, text, ["model"], registry=registry).labels(model).set_function(value)
        self._audio.labels(model)  # there from the start, as 0: a rate needs two samples

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(self._service, route, str(status)).inc()
        self._seconds.labels(self._service, route).observe(seconds)

    def worked(self, model: str, seconds: float, audio_s: float | None, error: BaseException | None) -> None:
        if error is not None:
            self._failures.labels(model, as_tonewheel(error).type).inc()
            return
        self._work.labels(model).observe(seconds)
        if audio_s:
            self._audio.labels(model).inc(audio_s)
            self._factor.labels(model).observe(seconds / audio_s)

    def refused(self, model: str, error: ServiceBusy) -> None:
        self._refused.labels(model, error.type).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
