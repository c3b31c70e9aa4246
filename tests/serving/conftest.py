"""Service processes shared by the tests of this folder: each is started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Service, service, write_plugin


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which the family `dawdler` is installed."""
    return write_plugin(tmp_path_factory.mktemp("plugins"))


@pytest.fixture(scope="session")
def dawdler(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service("dawdler", tmp_path_factory.mktemp("log"), PYTHONPATH=str(plugins)) as running:
        yield running


@pytest.fixture(scope="session")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service("composer", tmp_path_factory.mktemp("log")) as running:
        yield running


@pytest.fixture(scope="session")
def jen1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service("jen1", tmp_path_factory.mktemp("log")) as running:
        yield running
