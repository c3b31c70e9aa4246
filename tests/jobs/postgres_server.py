"""A real PostgreSQL for tests, started by them; skipped, with the reason, where it is not installed."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ports import free_port

_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def binaries() -> Path:
    """The folder of `initdb` and `postgres`; skips the test when there is none."""
    for folder in _PLACES:
        if (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    pytest.skip("PostgreSQL is not installed (apt install postgresql)")


class Postgres:
    """A server in a folder of its own; `restart` as in life: at once, without asking anybody."""

    def __init__(self, folder: Path) -> None:
        self._bin = binaries()
        self._folder = folder
        self._as_other: list[str] = []
        if os.geteuid() == 0:  # the server refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_other = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c fsync=off -c max_connections=200"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-l", log, "-w", "-t", "120", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", mode, "-w", "-t", "60", "stop")

    def restart(self, away_s: float) -> None:
        self.stop()
        time.sleep(away_s)
        self.start()

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(self._numbers)}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_other, str(self._bin / program), *arguments]
        done = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout.decode()
