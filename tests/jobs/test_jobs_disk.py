"""A full disk: the job ends with a clear error, nothing is lost, and work goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_house import House, open_house

from tonewheel.errors import DiskFull


@pytest.fixture
def small_house(tmp_path: Path) -> Iterator[House]:
    """A house whose database, storage and scratch share a disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "small"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    houses = open_house(disk, f"sqlite:///{disk / 'jobs.sqlite'}", tmp_path / "marks")
    yield next(houses)
    next(houses, None)
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(house: House) -> Path:
    """Take the last byte of the disk."""
    ballast = house.folder / "ballast"
    with ballast.open("wb", buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError:
                pass
    return ballast


def test_a_full_disk_ends_the_job_and_work_goes_on_when_there_is_room(small_house: House) -> None:
    house = small_house
    house.worker("--slots", "1")
    running, queued = house.order("hold=go"), house.order("steps=1")
    house.until(lambda: house.held(running))
    ballast = fill(house)
    with pytest.raises(DiskFull):
        for _ in range(300):  # what is free inside the database may still take a few
            house.order("x" * 3000)
    house.let_go("go")
    house.until(lambda: "end" in house.marks(running))
    accepted = [j.id for j in house.store.find(limit=200).jobs]
    assert {running.id, queued.id} <= set(accepted)
    assert _states(house, [running.id]) <= {"failed", "running", "queued"}
    ballast.unlink()
    after = house.order("steps=1")
    ended = house.ended(running)
    if ended.state == "failed":
        assert ended.error is not None
        assert ended.error.type == "disk_full"
        assert "free" in ended.error.message
    else:
        assert ended.state == "done", "it had not come to writing when there was room again"
    assert house.ended(after).state == "done"
    house.until(lambda: not _states(house, accepted) & {"queued", "running"}, timeout_s=120)


def _states(house: House, ids: list[str]) -> set[str]:
    return {house.store.get(i).state for i in ids}


def test_a_disk_with_too_little_room_for_a_song_is_told_before_it_is_rendered(small_house: House) -> None:
    house = small_house
    house.worker()
    job = house.ended(house.order("steps=1", duration_s=600))
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.type, job.error.http_status) == ("disk_full", 507)
    assert "MB are free" in job.error.message
    assert house.marks(job) == ["plan"]
    assert house.ended(house.order("steps=1")).state == "done"
