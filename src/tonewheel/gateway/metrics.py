"""What Prometheus may ask of the gateway: its own requests, and what the database knows of jobs and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from tonewheel import telemetry as names
from tonewheel.errors import TonewheelError

if TYPE_CHECKING:
    from tonewheel.gateway.backend import Backend

_SERVICE = "gateway"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class GatewayMetrics:
    """Counters of this process. Only the event loop's thread writes them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(names.REQUESTS, "Requests answered", ["service", "route", "status"], registry=registry)
        self._seconds = Histogram(
            names.REQUEST_SECONDS, "Time of a whole request", ["service", "route"], buckets=_SECONDS, registry=registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(_SERVICE, route, str(status)).inc()
        self._seconds.labels(_SERVICE, route).observe(seconds)


class _Gauges:
    """Gauges read at one moment, as a collector."""

    def __init__(self, families: list[GaugeMetricFamily]) -> None:
        self._families = families

    def collect(self) -> list[GaugeMetricFamily]:
        return self._families


def gather(backend: Backend, metrics: GatewayMetrics) -> bytes:
    """The text Prometheus reads. Blocking. Without the database the gateway's own part is still told."""
    text: bytes = generate_latest(metrics.registry)
    try:
        families = _read(backend)
    except TonewheelError:
        families = []
    registry = CollectorRegistry()
    up = GaugeMetricFamily("tonewheel_database_up", "Whether the database answers", value=float(bool(families)))
    streams = GaugeMetricFamily(names.EVENT_STREAMS, "Readers of jobs' events", value=backend.feed.watchers())
    registry.register(_Gauges([up, streams, *families]))
    return text + bytes(generate_latest(registry))


def _read(backend: Backend) -> list[GaugeMetricFamily]:
    depth = GaugeMetricFamily(names.QUEUE_DEPTH, "Jobs that wait", labels=["model"])
    oldest = GaugeMetricFamily("tonewheel_queue_oldest_seconds", "How long the first has waited", labels=["model"])
    slots = GaugeMetricFamily(names.SLOTS, "Jobs all workers run at once", labels=["model"])
    busy = GaugeMetricFamily(names.SLOTS_BUSY, "Jobs running now", labels=["model"])
    for lane in backend.store.lanes():
        depth.add_metric([lane.model], lane.queued)
        oldest.add_metric([lane.model], lane.oldest_queued_s or 0.0)
        slots.add_metric([lane.model], lane.slots)
        busy.add_metric([lane.model], lane.running)
    factor = GaugeMetricFamily("tonewheel_measured_real_time_factor", "Work per second of audio", labels=["model"])
    for model, rate in backend.store.rates().items():
        factor.add_metric([model], rate.real_time_factor)
    workers = backend.store.workers()
    alive = GaugeMetricFamily("tonewheel_workers_alive", "Workers heard of lately", value=sum(w.alive for w in workers))
    return [depth, oldest, slots, busy, factor, alive]
