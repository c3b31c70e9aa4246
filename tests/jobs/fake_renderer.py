"""A renderer that is none: it sleeps in steps and writes one marker file a step, so that tests can count.

    python fake_renderer.py DATA_DIR DATABASE_URL     a real worker process that renders with it

The prompt of a request is its script, such as `steps=10 step_s=0.05`:
`hold=NAME` goes on until MARKS/NAME is there; `fail=TYPE` raises, `fail_times=N` only the first N times, `die` kills
the worker.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tonewheel.errors import Cancelled, DeadlineExceeded, InvalidRequest, OutOfMemory, ServiceBusy
from tonewheel.jobs.rendering import RenderedSong, RenderRequest, Tell
from tonewheel.jobs.request import SongRequest
from tonewheel.songs.plan import SongPlan

ERRORS = {"invalid": InvalidRequest, "busy": ServiceBusy, "memory": OutOfMemory}


class FakeRenderer:
    """Sleeps; writes DATA_DIR/marks/JOB.STEP.PID.COUNT files; answers a second of a tone."""

    def __init__(self, marks: Path, slots: Mapping[str, int]) -> None:
        self.marks = marks
        self._slots = slots
        marks.mkdir(parents=True, exist_ok=True)

    def slots(self) -> Mapping[str, int]:
        return self._slots

    def mark(self, job_id: str, what: str) -> None:
        with (self.marks / f"{job_id}.log").open("a") as f:
            f.write(f"{what} {os.getpid()} {time.time():.3f}\n")

    def render(
        self,
        request: RenderRequest,
        *,
        job_id: str,
        progress: Tell,
        deadline_s: float,
        cancelled: Callable[[], bool],
    ) -> RenderedSong:
        script = _script(request.prompt or "")
        self.mark(job_id, "start")
        if request.keep_alive is not None:
            self.mark(job_id, f"keep_alive={request.keep_alive}")
        until = time.monotonic() + deadline_s
        if "die" in script:
            os.kill(os.getpid(), signal.SIGKILL)
        self._fail(script, job_id)
        steps = int(script.get("steps", "2"))
        for step in range(steps):
            progress("sleep", step / steps, None)
            time.sleep(float(script.get("step_s", "0.01")))
            self._look_up(job_id, until, cancelled)
            self.mark(job_id, f"step{step}")
        if "hold" in script:
            self.mark(job_id, "held")
            while not (self.marks / script["hold"]).exists():
                time.sleep(0.02)
                self._look_up(job_id, until, cancelled)
        self.mark(job_id, "end")
        return RenderedSong(audio=tone(), seed=request.seed, model=request.model, revision="fake", licence="none")

    def _look_up(self, job_id: str, until: float, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            self.mark(job_id, "cancelled")
            raise Cancelled("the fake render was cancelled")
        if time.monotonic() > until:
            raise DeadlineExceeded("the fake render took longer than its deadline")

    def _fail(self, script: Mapping[str, str], job_id: str) -> None:
        if "fail" not in script:
            return
        starts = (self.marks / f"{job_id}.log").read_text().count("start")
        if starts <= int(script.get("fail_times", "1000000")):
            raise ERRORS[script["fail"]](f"the fake render fails: {script['fail']}")

    def close(self) -> None:
        pass


class ListeningRenderer(FakeRenderer):
    """One that has a model for beats: it `hears` two of them, is `deaf`, or has a `fault`."""

    def __init__(self, marks: Path, slots: Mapping[str, int], ears: str) -> None:
        super().__init__(marks, slots)
        self.ears = ears

    def embeds(self) -> str | None:
        return None

    def embed(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> list[float]:
        raise AssertionError("nobody embeds here")

    def tracks(self) -> str | None:
        return "ears"

    def track(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> Mapping[str, Any]:
        assert audio.read_bytes()[:4] == b"fLaC"
        if self.ears == "deaf":
            raise OutOfMemory("the ears do not fit")
        if self.ears == "fault":
            raise ValueError("a fault of ours")
        return {"beats": [0.25, 0.75], "downbeats": [0.25], "bpm": 120.0, "tempo": None, "meter": None, "markers": []}


class FakePlanner:
    """No plan, and a mark for having been asked."""

    def __init__(self, marks: Path) -> None:
        self.marks = marks

    def plan(
        self, request: SongRequest, *, job_id: str, deadline_s: float, cancelled: Callable[[], bool]
    ) -> SongPlan | None:
        with (self.marks / f"{job_id}.log").open("a") as f:
            f.write(f"plan {os.getpid()} {time.time():.3f}\n")
        return None


def tone(seconds: float = 1.0) -> bytes:
    """A quiet tone as a WAV file."""
    import math
    import struct

    rate = 8000
    samples = [int(8000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(int(rate * seconds))]
    out = io.BytesIO()
    with wave.open(out, "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(rate)
        f.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return out.getvalue()


def _script(prompt: str) -> dict[str, str]:
    return dict((*word.split("=", 1), "")[:2] for word in prompt.split())


def main() -> None:
    import argparse
    import logging

    from tonewheel.jobs.worker import Worker, WorkerSettings

    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--database")
    parser.add_argument("--storage")
    parser.add_argument("--marks", type=Path)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--dead-after", type=float, default=6.0)  # a busy machine must not seem dead
    parser.add_argument("--drain", type=float, default=5.0)
    parser.add_argument("--min-free", type=int, default=0)
    parser.add_argument("--ears", choices=["hears", "deaf", "fault"])
    a = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(relativeCreated)d %(message)s")
    marks = a.marks or a.data_dir / "marks"
    settings = WorkerSettings(
        data_dir=a.data_dir,
        database_url=a.database,
        storage_url=a.storage,
        dead_after_s=a.dead_after,
        drain_s=a.drain,
        min_free_bytes=a.min_free,
    )
    slots = {"fake": a.slots, "other": a.slots}
    renderer = ListeningRenderer(marks, slots, a.ears) if a.ears else FakeRenderer(marks, slots)
    worker = Worker(settings, renderer=renderer, planner=FakePlanner(marks))
    worker.run(on_ready=lambda: print("ready", flush=True))


if __name__ == "__main__":
    main()
