"""What all tests share: the command line in this process, as a user would call it; an S3 server."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from s3_server import S3Server

# The same examples on every machine and in every run, and no clock: a search at random, which may find what nobody has
# touched, is for thorough runs.
settings.register_profile(
    "same", derandomize=not os.environ.get("TONEWHEEL_THOROUGH"), deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("same")

# Shells start what runs in the background with Ctrl-C ignored, and every child inherits that: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def tonewheel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    """Run the real entry point with arguments, in an empty folder."""
    from tonewheel.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TONEWHEEL_DEBUG", raising=False)
    # A terminal as wide as no line needs: rich wraps by the terminal, tests read whole lines.
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tonewheel", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))  # an empty pipe
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def s3() -> S3Server:
    """An S3 server, the same one for the whole run."""
    from s3_server import s3_server

    return s3_server()
