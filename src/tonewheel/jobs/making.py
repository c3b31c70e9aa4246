"""What each step does to make a song: plan → render → check → analyse → finish → store.

Sound goes from step to step as work files of the storage, so that another worker can go on where one died.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tonewheel import __version__
from tonewheel.errors import Cancelled, DeadlineExceeded, DiskFull, NotFound, TonewheelError, Unavailable
from tonewheel.jobs import totals
from tonewheel.jobs.children import Children
from tonewheel.jobs.control import Control
from tonewheel.jobs.craft import rhythm, sidecar
from tonewheel.jobs.engine import Interrupted
from tonewheel.jobs.estimate import note_rate, read_rates
from tonewheel.jobs.packing import media_type_of, tags_for, title_of
from tonewheel.jobs.records import Records, Start
from tonewheel.jobs.rendering import Listener, Planner, RenderedSong, Renderer, RenderRequest
from tonewheel.jobs.request import SongRequest
from tonewheel.jobs.steps import Failed, Result, Steps
from tonewheel.jobs.tables import jobs
from tonewheel.library.songs import Library
from tonewheel.library.storage import measured
from tonewheel.library.types import Kept, NewArtifact, NewSong
from tonewheel.library.vectors import record_vector
from tonewheel.seeds import draw
from tonewheel.songs.plan import SongPlan
from tonewheel.telemetry import TraceContext

log = logging.getLogger("tonewheel.jobs")

_STEP_DEADLINE_S = 300.0  # of the steps that compute little
_GRACE_S = 10.0  # a renderer that was to stop may take so long to do it
_JSON = "application/json"
_MARGIN = 3.0  # of a deadline over what the model has needed before


@dataclass(frozen=True, slots=True)
class Tools:
    """What steps are done with."""

    records: Records
    library: Library
    renderer: Renderer
    planner: Planner
    children: Children
    scratch: Path
    min_free_bytes: int
    keep_songs_s: float | None = None


@dataclass
class Making:
    """One job on its way through the steps."""

    tools: Tools
    start: Start
    control: Control
    steps: Steps

    def __post_init__(self) -> None:
        self.request = SongRequest.model_validate(self.start.request)
        self.job_id = self.start.job_id
        self.storage = self.tools.library.storage

    def make(self) -> None:
        planned = self.steps.do("plan", lambda _: self._plan())
        plan = SongPlan.model_validate(planned["plan"]) if planned["plan"] else None
        rendered = self.steps.do("render", lambda trace: self._render(plan, planned["seed"], trace))
        checked = self.steps.do("check", lambda _: self._check(plan, rendered))
        heard = self._heard(rendered)
        finished = self.steps.do("finish", lambda _: self._finish(plan, rendered, checked, heard))
        self.steps.do("store", lambda _: self._store(planned, rendered, checked, heard, finished))

    # ── the steps ──

    def _plan(self) -> Result:
        if self.request.plan is not None:
            return {"plan": self.request.plan.to_dict(), "seed": self.request.plan.seed}
        plan = self.tools.planner.plan(
            self.request, job_id=self.job_id, deadline_s=_STEP_DEADLINE_S, cancelled=self.control.cancelled
        )
        if plan is not None:
            return {"plan": plan.to_dict(), "seed": plan.seed}
        seed = self.request.seed if self.request.seed is not None else draw()
        return {"plan": None, "seed": seed}

    def _render(self, plan: SongPlan | None, seed: int, trace: TraceContext) -> Result:
        self._refuse_full_disk()
        scratch = self._scratch("render")
        asked = RenderRequest(
            model=self.request.model, duration_s=self.start.duration_s, seed=seed, plan=plan,
            prompt=self.request.prompt, lyrics=self.request.lyrics, midi=self.request.midi, lrc=self.request.lrc,
            stems=self.request.stems, options=self.request.options, scratch=scratch, request_id=self.start.request_id,
            traceparent=trace.traceparent(), keep_alive=self.request.keep_alive,
        )  # fmt: skip
        began = time.monotonic()
        made = self._bounded(asked, self._deadline_s())
        took = time.monotonic() - began
        return {
            "files": self._keep(made, scratch), "seed": made.seed, "model": made.model, "revision": made.revision,
            "licence": made.licence, "mastered": made.mastered, "tags": made.tags, "details": dict(made.details),
            "timings": dict(made.timings), "render_s": took,
        }  # fmt: skip

    def _check(self, plan: SongPlan | None, rendered: Result) -> Result:
        # Only who mastered the whole plan promises its length to a tenth of a second.
        expected = plan.duration_s if plan is not None and rendered["mastered"] else None
        return self._help("check", {"audio": self._audio(rendered), "duration_s": expected})

    def _heard(self, rendered: Result) -> Result:
        """What the analyse step tells. That a song could not be listened to must not undo it: then `notes` says why."""
        try:
            return self.steps.do("analyse", lambda _: self._analyse(rendered))
        except Failed as e:
            if e.error.type == Cancelled.type:
                raise
            log.warning("%s: the song could not be analysed: %s", self.job_id, e.error.type)
            nothing = dict.fromkeys(("tempo", "beats", "key"))
            return nothing | {"notes": [f"it could not be analysed: {e.error.message}"], "took_s": 0.0}

    def _analyse(self, rendered: Result) -> Result:
        heard = self._help("analyse", {"audio": self._audio(rendered)})
        ears = self.tools.renderer
        if not isinstance(ears, Listener) or (ears.embeds() is None and ears.tracks() is None):
            return heard
        out = self._scratch("analyse") / "hearable.flac"
        self._help("hearable", {"audio": self._audio(rendered), "out": str(out)})
        return heard | self._asked(ears, out)

    def _asked(self, ears: Listener, audio: Path) -> Result:
        """What the models that are here hear: `embedding` [model, vector], so that the song is found by what it sounds
        like, and better `beats`; of those that cannot, `notes` tell."""
        told: Result = {}
        notes = []
        limits: dict[str, Any] = {"deadline_s": _STEP_DEADLINE_S, "cancelled": self.control.cancelled}
        listeners: dict[str, tuple[str | None, Callable[[str], Any]]] = {
            "embedding": (ears.embeds(), lambda model: [model, ears.embed(audio, **limits)]),
            "beats": (ears.tracks(), lambda model: rhythm(model, ears.track(audio, **limits))),
        }
        for what, (model, listen) in listeners.items():
            if model is None:
                continue
            try:
                told[what] = listen(model)
            except Cancelled:
                raise
            except TonewheelError as e:
                log.warning("%s: %s could not listen to the song: %s", self.job_id, model, e.message)
                notes.append(f"{model} could not listen: {e.message}")
        return told | ({"notes": notes} if notes else {})

    def _finish(self, plan: SongPlan | None, rendered: Result, checked: Result, heard: Result) -> Result:
        out = self._scratch("finish") / f"song.{self.request.format}"
        args = {
            "audio": self._audio(rendered), "format": self.request.format, "mastered": rendered["mastered"],
            "tags": tags_for(self.request, plan, rendered), "out": str(out),
        }  # fmt: skip
        made = self._help("finish", args)
        title = title_of(self.request, plan)
        files: list[tuple[list[str], Path | bytes]] = [
            (["song", f"song.{self.request.format}", media_type_of(self.request.format)], out)
        ]
        files += [(said, self._fetch(work)) for *said, work in rendered["files"]["more"]]
        if plan is not None:
            data = plan.model_dump_json(indent=2, exclude_none=True).encode()
            files.append((["plan", "song.plan.json", _JSON], data))
        side = sidecar({
            "tonewheel": __version__, "title": title, "model": rendered["model"], "revision": rendered["revision"],
            "licence": rendered["licence"], "seed": rendered["seed"], "request": self.start.request,
            "plan": plan.to_dict() if plan else None, "checks": checked["report"], "analysis": _told(heard),
            "details": rendered["details"], "sha256": measured(out)[0], "job_id": self.job_id,
        })  # fmt: skip
        files.append((["sidecar", "song.json", _JSON], side))
        kept = self.tools.library.hold(self.job_id, [source for _, source in files])
        told = [[*said, *k] for (said, _), k in zip(files, kept, strict=True)]
        return {"files": told, "duration_s": made["duration_s"], "gain_db": made["gain_db"], "title": title}

    def _store(self, planned: Result, rendered: Result, checked: Result, heard: Result, finished: Result) -> Result:
        plan = planned["plan"]
        steps = {"plan": planned, "render": rendered, "check": checked, "analyse": heard, "finish": finished}
        new = NewSong(
            title=finished["title"], artist=(plan or {}).get("artist", "Tonewheel"), model=rendered["model"],
            revision=rendered["revision"], licence=rendered["licence"], seed=rendered["seed"],
            duration_s=finished["duration_s"], format=self.request.format, prompt=self.request.prompt,
            lyrics=self.request.lyrics, plan=plan, request=self.start.request, details=rendered["details"],
            checks=_at_level(checked["report"], finished["gain_db"]), timings=_timings(steps), job_id=self.job_id,
            analysis=_told(heard), expires_in_s=self.tools.keep_songs_s,
            files=tuple(NewArtifact(kind, name, media) for kind, name, media, _, _ in finished["files"]),
        )  # fmt: skip
        kept = [Kept(sha256, size) for *_, sha256, size in finished["files"]]
        song_id = f"song_{self.job_id.removeprefix('job_')}"  # a store step that is repeated makes no second song
        mine = [jobs.c.id == self.job_id, jobs.c.state == "running", jobs.c.run == self.start.run]
        library = self.tools.library

        def work(c: sa.Connection) -> bool:
            if not self.tools.records.end(c, mine, "done", song_id=song_id):
                return False
            library.record(c, song_id, new, kept, holder=self.job_id)
            if "embedding" in heard:
                record_vector(c, library.database, song_id, *heard["embedding"])
            overhead_s = sum(step["took_s"] for name, step in steps.items() if name != "render")
            speed = rendered["render_s"] / finished["duration_s"]
            note_rate(c, library.database, self.start.model, speed, overhead_s)
            totals.made(c, library.database, self.start.model, finished["duration_s"], rendered["render_s"])
            return True

        # When it was not to be written, it may be that this very transaction was, and its answer was lost.
        if not library.database.write(work) and library.of_job(self.job_id) is None:
            raise Interrupted
        return {"song_id": song_id}

    # ── what they share ──

    def _bounded(self, asked: RenderRequest, deadline_s: float) -> RenderedSong:
        """Have it rendered; a renderer that neither ends nor stops in time is left behind."""
        outcome: list[RenderedSong | BaseException] = []

        def render() -> None:
            try:
                outcome.append(
                    self.tools.renderer.render(
                        asked, job_id=self.job_id, progress=self.control.progress, deadline_s=deadline_s,
                        cancelled=self.control.cancelled,
                    )
                )  # fmt: skip
            except BaseException as e:  # handed to the thread that waits
                outcome.append(e)

        thread = threading.Thread(target=render, name=f"render-{self.job_id}", daemon=True)
        thread.start()
        until = time.monotonic() + deadline_s + _GRACE_S
        stopped_at: float | None = None
        while thread.is_alive():
            thread.join(0.05 if stopped_at is None else 0.2)
            now = time.monotonic()
            if stopped_at is None and self.control.cancelled():
                stopped_at = now
            if stopped_at is not None and now > stopped_at + _GRACE_S:
                raise Interrupted
            if now > until:
                raise DeadlineExceeded(f"the render was stopped: it took longer than {deadline_s:.0f} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _deadline_s(self) -> float:
        rate = self.tools.library.database.read(read_rates).get(self.start.model)
        known = 0.0 if rate is None else _MARGIN * rate.seconds(self.start.duration_s)
        return max(self.start.deadline_s, known)

    def _keep(self, made: RenderedSong, scratch: Path) -> Result:
        """Put what was rendered where the next steps, perhaps on another host, find it."""
        audio = made.audio
        if isinstance(audio, bytes):
            (scratch / "received").write_bytes(audio)
            audio = scratch / "received"
        more: list[list[str]] = []
        for kind, name, media_type, data in (
            ("midi", "song.mid", "audio/midi", made.midi), ("lrc", "song.lrc", "text/plain; charset=utf-8", made.lrc),
        ):  # fmt: skip
            if data is not None:
                path = scratch / f"{kind}.bin"
                path.write_bytes(data)
                more.append([kind, name, media_type, self._put_work(kind, path)])
        for number, (part, path) in enumerate(made.stems.items()):
            more.append(["stem", f"{part}.flac", "audio/flac", self._put_work(f"stem-{number}", path)])
        return {"audio": self._put_work("audio", audio), "more": more}

    def _put_work(self, name: str, path: Path) -> str:
        key = f"{self.job_id}/{name}.bin"
        self.storage.put_work(key, path)
        return key

    def _fetch(self, key: str) -> Path:
        try:
            return self.storage.fetch_work(key, self._scratch("fetched"))
        except NotFound:
            raise Unavailable(
                "what an earlier step made is not in this worker's storage: let all workers share one (storage_url)"
            ) from None

    def _audio(self, rendered: Result) -> str:
        return str(self._fetch(rendered["files"]["audio"]))

    def _help(self, task: str, args: Result) -> Result:
        deadline_s = max(_STEP_DEADLINE_S, self.start.duration_s)
        return self.tools.children.call(
            task, args, deadline_s=deadline_s, cancelled=self.control.cancelled,
            progress=self.control.progress,
        )  # fmt: skip

    def _scratch(self, name: str) -> Path:
        # Of this start: an earlier one, which another worker took for dead, may just be clearing up its own.
        folder = self.tools.scratch / self.start.run / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _refuse_full_disk(self) -> None:
        here = shutil.disk_usage(self.tools.scratch).free
        there = self.storage.free_bytes()
        free = here if there is None else min(here, there)
        # Float stereo as rendered, twice, and the encoded song.
        needed = round(self.start.duration_s * 44_100 * 2 * 4 * 2.2) + self.tools.min_free_bytes
        if free < needed:
            raise DiskFull(
                f"no room left to make this song: {free // 10**6} MB are free and {needed // 10**6} MB are needed; "
                "free some space and ask again"
            )


def _told(heard: Result) -> Result:
    """What the analyse step tells of a song."""
    return {k: v for k, v in heard.items() if k not in ("took_s", "embedding")}


def _timings(steps: Mapping[str, Result]) -> dict[str, float]:
    """Seconds of each step, and of the stages of the render."""
    stages = {f"render.{stage}": seconds for stage, seconds in steps["render"]["timings"].items()}
    return {name: step["took_s"] for name, step in steps.items()} | stages


def _at_level(report: Result, gain_db: float) -> Result:
    """The measures of the sound as it was stored: its level may have been changed after they were taken."""
    moved = {name: report[name] for name in ("peak_dbfs", "true_peak_dbtp", "lufs") if report[name] is not None}
    return report | {name: round(value + gain_db, 6) for name, value in moved.items()}
