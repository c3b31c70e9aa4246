"""What a killed writer left half written is swept, and nothing that is still being written."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tonewheel.files import sweep, whole_file, write_set

_WRITER = """
import sys
from tonewheel.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write(b" and whole")
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing `song`."""
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "song")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    yield child
    child.kill()
    child.communicate()


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_a_killed_writer_left_is_swept(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    writer.kill()
    writer.wait()
    assert len(_left(tmp_path)) == 1
    sweep(tmp_path)
    assert _left(tmp_path) == []


def test_what_is_being_written_stays_and_becomes_whole(writer: subprocess.Popen[str], tmp_path: Path) -> None:
    sweep(tmp_path)
    assert len(_left(tmp_path)) == 1
    writer.communicate("go on\n")
    assert writer.returncode == 0
    assert (tmp_path / "song").read_bytes() == b"half and whole"
    assert _left(tmp_path) == ["song"]


def test_sweeping_all_the_time_costs_no_writer_its_file(tmp_path: Path) -> None:
    done = threading.Event()

    def busy() -> None:
        while not done.is_set():
            sweep(tmp_path)

    sweepers = [threading.Thread(target=busy) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for n in range(40):
            with whole_file(tmp_path / f"{n}") as file:
                file.write(b"%d" % n)
            write_set({tmp_path / "a": b"%d" % n, tmp_path / "b": b"%d" % n}, force=True)
    finally:
        done.set()
        for sweeper in sweepers:
            sweeper.join()
    assert all((tmp_path / f"{n}").read_bytes() == b"%d" % n for n in range(40))
    assert sorted(_left(tmp_path)) == sorted([*map(str, range(40)), "a", "b"])


def test_other_files_and_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"mine")
    (tmp_path / ".tonewheel-folder.part").mkdir()
    (tmp_path / ".tonewheel-link.part").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "song.part").write_bytes(b"mine")
    before = sorted(_left(tmp_path))
    sweep(tmp_path)
    assert sorted(_left(tmp_path)) == before
    assert (tmp_path / "elsewhere").read_bytes() == b"mine"
