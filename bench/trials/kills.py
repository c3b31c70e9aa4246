"""kill -9 of the gateway, the worker and the model's process, each in the middle of a render."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil

from servers import Server, serving
from trials.common import Trial

_DURATION_S = 60
_SETTINGS = {"TONEWHEEL_WORKER_DEAD_AFTER_S": "3"}


def run(trial: Trial) -> None:
    times = 2 if trial.quick else 10
    with ExitStack() as stack:
        server = stack.enter_context(serving(trial.folder, settings=_SETTINGS))
        victims: dict[str, Callable[[], psutil.Process]] = {
            "gateway": server.gateway, "worker": server.worker, "model process": server.model,
        }  # fmt: skip
        for name, victim in victims.items():
            kept = repeated = 0
            for n in range(times):
                faults = killed_in_render(server, victim, seed=n)
                kept += trial.judge(f"{name} killed, {n + 1}", faults)
                repeated += any("again" in fault for fault in faults)
            trial.count(f"SQLite, {name} killed in a render: done once, no step repeated", kept, times)


def killed_in_render(server: Server, victim: Callable[[], psutil.Process], seed: int) -> list[str]:
    """Order a song, kill a process while it is rendered; what is wrong with the end of it."""
    job_id = server.order(duration_s=_DURATION_S, seed=seed)
    server.rendering(job_id, past=random.Random(seed).uniform(0.05, 0.4))
    victim().kill()
    kept, then = server.kept_steps(job_id), server.mark()
    faults = server.faults(job_id)
    time.sleep(0.2)  # the last lines of the log
    again = kept.intersection(server.steps_begun(job_id, then))
    faults += [f"{step} was kept and is done again" for step in again]
    begun = server.steps_begun(job_id)
    faults += [
        f"{step} was begun {begun.count(step)} times"
        for step in set(begun)
        if begun.count(step) > 1 + (step == "render")
    ]
    if "render" in kept:
        faults.append("the kill came after the render: this trial proves nothing")
    return faults
