"""What Prometheus may ask of the gateway: its own requests, what the database knows of jobs and workers, and which
models run on its machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from tonewheel import telemetry as names
from tonewheel.errors import BindRefused, InvalidRequest, TonewheelError

if TYPE_CHECKING:
    from tonewheel.gateway.backend import Backend
    from tonewheel.jobs.store import JobStore
    from tonewheel.jobs.totals import Totals

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


def gather(backend: Backend, metrics: GatewayMetrics) -> bytes:
    """The text Prometheus reads. Blocking. Without the database the gateway's own part is still told."""
    text: bytes = generate_latest(metrics.registry)
    try:
        families = [*_lanes(backend.store), *_totals(backend.store.totals())]
    except TonewheelError:
        families = []
    up = GaugeMetricFamily(names.DATABASE_UP, "Whether the database answers", value=float(bool(families)))
    streams = GaugeMetricFamily(names.EVENT_STREAMS, "Readers of jobs' events", value=backend.feed.watchers())
    return text + as_text([up, streams, *families, *resident(backend.models.data_dir)])


def serve_resident(data_dir: Path, address: str) -> str:
    """Tell Prometheus at HOST:PORT which models run on this machine, for a worker without a gateway beside it;
    the URL. The thread ends with the process. Raises BindRefused, InvalidRequest."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidRequest(
            f"{address[:80]!r} is no address: write HOST:PORT, such as 127.0.0.1:9200", param="metrics"
        )
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Fresh(lambda: resident(data_dir)))
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as e:
        raise BindRefused(f"metrics cannot be served at {address}: {e.strerror or e}", param="metrics") from None
    return f"http://{host}:{server.server_port}/metrics"


class _Fresh:
    """What is read anew at each question, as a collector."""

    def __init__(self, read: Callable[[], list[Metric]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []  # or it would be read at once

    def collect(self) -> list[Metric]:
        return self._read()


def as_text(families: list[Metric]) -> bytes:
    """Metrics as Prometheus reads them."""
    registry = CollectorRegistry()
    registry.register(_Fresh(lambda: families))
    return bytes(generate_latest(registry))


def _lanes(store: JobStore) -> list[Metric]:
    """The queues and the workers as they are now."""
    depth = GaugeMetricFamily(names.QUEUE_DEPTH, "Jobs that wait", labels=["model"])
    oldest = GaugeMetricFamily(names.QUEUE_OLDEST_SECONDS, "How long the first has waited", labels=["model"])
    slots = GaugeMetricFamily(names.SLOTS, "Jobs all workers run at once", labels=["model"])
    busy = GaugeMetricFamily(names.SLOTS_BUSY, "Jobs running now", labels=["model"])
    for lane in store.lanes():
        depth.add_metric([lane.model], lane.queued)
        oldest.add_metric([lane.model], lane.oldest_queued_s or 0.0)
        slots.add_metric([lane.model], lane.slots)
        busy.add_metric([lane.model], lane.running)
    factor = GaugeMetricFamily(names.SMOOTHED_FACTOR, "Work per second of audio, of the latest jobs", labels=["model"])
    for model, rate in store.rates().items():
        factor.add_metric([model], rate.real_time_factor)
    alive = sum(w.alive for w in store.workers())
    return [
        depth, oldest, slots, busy, factor, GaugeMetricFamily(names.WORKERS_ALIVE, "Workers heard of lately", alive),
    ]  # fmt: skip


def _totals(totals: Mapping[str, Totals]) -> list[Metric]:
    """What was done in all, whoever did it."""
    from tonewheel.jobs.totals import WAITS_S  # noqa: PLC0415  (with the database, not before)

    waits = HistogramMetricFamily(names.QUEUE_WAIT_SECONDS, "From the order to the first start", labels=["model"])
    audio = CounterMetricFamily(names.AUDIO_SECONDS, "Seconds of audio made", labels=["model"])
    render = CounterMetricFamily(names.RENDER_SECONDS, "Seconds that rendering it took", labels=["model"])
    ended = CounterMetricFamily(names.JOBS_ENDED, "Jobs that came to their end", labels=["model", "state"])
    failures = CounterMetricFamily(names.FAILURES, "Jobs that failed", labels=["model", "reason"])
    for model, one in sorted(totals.items()):
        count, buckets = 0.0, []
        for bound in (*(f"{b:g}" for b in WAITS_S), "+Inf"):
            count += one.waits.get(bound, 0.0)
            buckets.append((bound, count))
        waits.add_metric([model], buckets, one.waited_s)
        audio.add_metric([model], one.audio_s)
        render.add_metric([model], one.render_s)
        for state, jobs in sorted(one.ended.items()):
            ended.add_metric([model, state], jobs)
        for reason, jobs in sorted(one.failures.items()):
            failures.add_metric([model, reason], jobs)
    return [waits, audio, render, ended, failures]


def resident(data_dir: Path) -> list[Metric]:
    """The model processes of this machine, as the fleets of its data folder have written them down."""
    from tonewheel.fleet.catalogue import running  # noqa: PLC0415  (the fleet is loaded on first use)
    from tonewheel.fleet.records import Records  # noqa: PLC0415

    records = Records(data_dir)
    found = running(records) if records.live() else []  # devices are not asked for nothing
    models = GaugeMetricFamily(names.RESIDENT_MODELS, "Model processes on this machine", value=len(found))
    held = GaugeMetricFamily(names.RESIDENT_BYTES, "Memory of the device they hold", labels=["model", "device"])
    load = GaugeMetricFamily(names.LOAD_SECONDS, "Time it took to load the model", labels=["model"])
    busy = GaugeMetricFamily(names.MODEL_REQUESTS, "Requests that use it now", labels=["model"])
    for one in found:
        size = one.device_bytes if one.device_bytes is not None else one.memory_bytes
        if size is not None:
            held.add_metric([one.model, one.device], size)
        if one.load_s is not None:
            load.add_metric([one.model], one.load_s)
        busy.add_metric([one.model], one.requests)
    return [models, held, load, busy]
