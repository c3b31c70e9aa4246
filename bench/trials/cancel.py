"""Cancelled work: what waits never starts, what runs stops within a step and gives its slot and memory back."""

from __future__ import annotations

import time
from statistics import median

import psutil

from servers import Server, serving
from trials.common import Trial

_LONG_S = 300
# The composer looks up between stems: about a second of work in a song of five minutes.
# Judged by the CPU time of its process, since a full machine stretches every step.
_STEP_CPU_S = 2.0


def run(trial: Trial) -> None:
    times = 2 if trial.quick else 10
    with serving(trial.folder) as server:
        server.wait(server.order())
        queued = sum(trial.judge(f"cancelled while queued, {n + 1}", _queued(server)) for n in range(times))
        trial.count("cancelled while queued: never starts", queued, times)
        model = server.model()
        before = _memory_mb(model)
        kept, stops, works, peaks, afters = 0, [], [], [], []
        for n in range(times):
            faults, stopped_s, worked_s, peak, after = _running(server, model)
            kept += trial.judge(f"cancelled while running, {n + 1}", faults)
            stops.append(stopped_s)
            works.append(worked_s)
            peaks.append(peak)
            afters.append(after)
        trial.count("cancelled while running: stops, slot free for the next", kept, times)
        trial.measured("DELETE to model idle, median", median(stops), "s")
        trial.measured("DELETE to model idle, longest", max(stops), "s")
        trial.measured("… CPU time the model still used, longest", max(works), "s")
        trial.measured("memory of the model's process before", before, "MB")
        trial.measured("… while it rendered 300 s, highest seen", max(peaks), "MB")
        trial.measured("… 2 s after each cancel, median", median(afters), "MB")
        trial.measured("… 2 s after each cancel, last", afters[-1], "MB")


def _queued(server: Server) -> list[str]:
    running, waiting = server.order(duration_s=_LONG_S), server.order()
    server.rendering(running, past=0.041)
    answer = server.client.delete(f"/v1/jobs/{waiting}")
    server.client.delete(f"/v1/jobs/{running}")
    faults = server.faults(server.order())  # whatever was to come has come by now
    if answer.json()["state"] != "cancelled" or server.job(waiting)["state"] != "cancelled":
        faults.append(f"it is {server.job(waiting)['state']}")
    if begun := server.steps_begun(waiting):
        faults.append(f"it began {begun}")
    return faults


def _running(server: Server, model: psutil.Process) -> tuple[list[str], float, float, float, float]:
    """What is wrong; seconds and CPU seconds until the model was idle; MB it held at most and 2 s later."""
    job_id = server.order(duration_s=_LONG_S)
    server.rendering(job_id, past=0.15)
    peak = _memory_mb(model)
    begin, used = time.monotonic(), _cpu_s(model)
    server.client.delete(f"/v1/jobs/{job_id}")
    while busy(server) and time.monotonic() < begin + 60:
        peak = max(peak, _memory_mb(model))
        time.sleep(0.01)
    stopped_s, worked_s = time.monotonic() - begin, _cpu_s(model) - used
    time.sleep(2.0)
    after = _memory_mb(model)
    faults = server.faults(server.order())
    if worked_s > _STEP_CPU_S:
        faults.append(f"the model worked on for {worked_s:.1f} s")
    if server.job(job_id)["state"] != "cancelled":
        faults.append(f"it is {server.job(job_id)['state']}")
    if not model.is_running():
        faults.append("the model's process had to be ended")
    return faults, stopped_s, worked_s, peak, after


def busy(server: Server) -> int:
    """Requests the composer's service is working on."""
    return int(server.client.get("/services/composer/health").json()["busy"])


def _cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _memory_mb(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20
