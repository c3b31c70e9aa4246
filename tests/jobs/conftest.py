"""Houses for job tests, on SQLite and on a PostgreSQL that the tests start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_house import THOROUGH, House, open_house
from postgres_server import Postgres


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/tonewheel-pg-XXXXXX"], text=True).strip())
    server = Postgres(folder)
    yield server
    server.stop()
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.fixture
def sqlite_house(tmp_path: Path) -> Iterator[House]:
    yield from open_house(tmp_path, f"sqlite:///{tmp_path / 'jobs.sqlite'}")


@pytest.fixture
def postgres_house(tmp_path: Path, postgres: Postgres) -> Iterator[House]:
    yield from open_house(tmp_path, postgres.new_database())


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """On both databases."""
    yield from _house_on(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgres"] if THOROUGH else ["sqlite"])
def any_house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """On SQLite; thorough tests also run on PostgreSQL."""
    yield from _house_on(request, tmp_path)


def _house_on(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    else:
        url = request.getfixturevalue("postgres").new_database()
    yield from open_house(tmp_path, url)
