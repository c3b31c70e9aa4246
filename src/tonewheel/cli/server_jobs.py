"""`tonewheel jobs --server`: the jobs of a running server, as `JobStore` tells those of a database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from tonewheel.cli.server_client import Refused, Server
from tonewheel.jobs.types import Job, JobEvent, JobPage


class ServerJobs:
    """What `tonewheel jobs` asks of a server. Raises Refused for what it answers instead, Unavailable."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def find(self, *, state: str | None, model: str | None, limit: int, after: str | None) -> JobPage:
        wanted = {"state": state, "model": model, "limit": limit, "after": after}
        query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in wanted.items() if value is not None)
        said = self._server.ask("GET", f"/v1/jobs?{query}")
        return JobPage(jobs=tuple(_job(job) for job in said["jobs"]), next=said["next"])

    def get(self, job_id: str) -> Job:
        return _job(self._server.ask("GET", _path(job_id)))

    def events(self, job_id: str) -> list[JobEvent]:
        said = self._server.ask("GET", f"{_path(job_id)}/events", accept="application/json")
        return [_event(event) for event in said["events"]]

    def watch(self, job_id: str) -> Iterator[JobEvent]:
        for event in self._server.follow({"id": job_id, "events_url": f"{_path(job_id)}/events"}):
            yield _event(event)

    def cancel(self, job_id: str) -> Job:
        return _job(self._server.ask("DELETE", _path(job_id)))

    def nobody_works(self) -> bool:
        try:
            self._server.ask("GET", "/readyz")
        except Refused as refused:
            return refused.param == "worker"
        return False


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _job(said: dict[str, Any]) -> Job:
    """Without the addresses that a server adds; what a newer one tells besides is passed over."""
    return Job.model_validate({name: value for name, value in said.items() if name in Job.model_fields})


def _event(said: dict[str, Any]) -> JobEvent:
    known = ("id", "job_id", "type", "at")
    return JobEvent(
        **{name: said[name] for name in known}, data={name: v for name, v in said.items() if name not in known}
    )
