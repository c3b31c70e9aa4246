"""Housekeeping, where something hangs."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from fake_renderer import FakePlanner, FakeRenderer
from job_house import House

from tonewheel.jobs import upkeep
from tonewheel.jobs.worker import Worker, WorkerSettings


def test_a_store_that_hangs_does_not_hold_up_the_end(
    sqlite_house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(
        data_dir=tmp_path / "own", database_url=sqlite_house.url, storage_url=f"file://{tmp_path / 'storage'}",
        min_free_bytes=0, drain_s=0.0,
    )  # fmt: skip
    monkeypatch.setattr(upkeep, "_QUIET_TICK_S", 0.01)
    monkeypatch.setattr(upkeep, "_RARELY_S", 0.0)
    hangs, let_go = threading.Event(), threading.Event()
    worker = Worker(settings, renderer=FakeRenderer(tmp_path, {"none": 1}), planner=FakePlanner(tmp_path))

    def hang() -> list[str]:
        hangs.set()
        let_go.wait(120)
        return []

    monkeypatch.setattr(worker.library.storage, "work_jobs", hang)
    worker.start()
    try:
        assert hangs.wait(60)
        began = time.monotonic()
        worker._upkeep.stop()
        assert time.monotonic() - began < 60  # of the two minutes that the store hangs
        assert not let_go.is_set()
    finally:
        let_go.set()
        worker.close()
