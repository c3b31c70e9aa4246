"""What a worker writes to its log when it starts: a line for a person, and the details for who asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("debug", [False, True])
def test_the_first_line_is_short_and_details_come_when_asked_for(tmp_path: Path, debug: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TONEWHEEL_DEBUG"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "tonewheel.cli.main", "worker", "--json", "--data-dir", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment | ({"TONEWHEEL_DEBUG": "1"} if debug else {}),
    )  # fmt: skip
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline().startswith("{")  # it is ready
        worker.terminate()
        _, log = worker.communicate(timeout=120)
    finally:
        worker.kill()
    first = next(line for line in log.splitlines() if "tonewheel.jobs" in line)
    assert "takes jobs for" in first
    assert len(first) < 120
    assert ("1 × composer" in log) is debug
