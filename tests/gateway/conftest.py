"""Servers that the tests of this folder share: each is started once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

sys.path.append(str(Path(__file__).parents[1] / "serving"))  # processes.py: the model that does as it is told


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One with a worker, shared: leave it working."""
    with serving(tmp_path_factory.mktemp("server") / "data") as served:
        yield served


@pytest.fixture(scope="session")
def made(server: Served) -> dict[str, Any]:
    """A song of 10 s with all its files, made once."""
    job = server.order(format="mp3", midi=True, lrc=True, stems=True)
    return server.client.get(server.wait(job)["song_url"]).json()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One without workers: what is ordered waits."""
    with serving(tmp_path_factory.mktemp("idle") / "data", "--workers", "0", TONEWHEEL_QUEUE_LIMIT="40") as served:
        yield served


@pytest.fixture(scope="session")
def dawdling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One without workers, with the model `dawdler` of the services' tests."""
    from processes import write_plugin

    path = os.pathsep.join([str(write_plugin(tmp_path_factory.mktemp("plugins"))), os.environ.get("PYTHONPATH", "")])
    with serving(tmp_path_factory.mktemp("dawdling") / "data", "--workers", "0", PYTHONPATH=path) as served:
        yield served
