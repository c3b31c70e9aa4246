"""Streams as other programs hand them: closed, full, in an old encoding. One line or a result, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TONEWHEEL_DEBUG"}
    return subprocess.run(
        ["sh", "-c", f'"$0" -m tonewheel.cli.main {arguments} {shell}', sys.executable],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=clean | environment,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_empty_ones(tmp_path: Path, closed: str) -> None:
    ran = _run(f"plan Rain -o {tmp_path}/p.yaml", closed)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "p.yaml").is_file()
    ran = _run("plan", closed)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", ["plan Rain", "models --json", "styles"])
def test_a_full_disk_behind_standard_output_is_told(command: str) -> None:
    ran = _run(command, "> /dev/full")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[0].startswith("tonewheel: no room left")
    assert "fault of Tonewheel" not in ran.stderr


def test_an_encoding_that_lacks_a_letter_costs_nothing_but_the_letter() -> None:
    ran = _run("plan 'Über den Fluß' --title 'Für Elise 🎹' --as json", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["title"] == "Für Elise 🎹"
    ran = _run("plan Rain --as table", PYTHONIOENCODING="latin-1")
    assert ran.returncode == 0, ran.stderr
    assert "Rain" in ran.stdout


def test_what_is_no_url_of_a_server_is_told() -> None:
    ran = _run("song Rain --server ::::")
    assert ran.returncode == 2
    assert "'::::' is not the URL of a server" in ran.stderr
