"""Fleets of small test models (fleet_help.py), each in a data directory of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_help import MakeFleet, end_at_once, forget_settings, install_tester, quick_fleet

from tonewheel.fleet.client import Fleet
from tonewheel.fleet.records import Records


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data directory with the tester family installed beside it."""
    yield install_tester(tmp_path, monkeypatch)
    forget_settings()


@pytest.fixture
def make_fleet(data_dir: Path) -> Iterator[MakeFleet]:
    """Fleets that end what they started when the test ends."""
    made: list[Fleet] = []

    def make(**options: Any) -> Fleet:
        made.append(quick_fleet(Records(data_dir), **options))
        return made[-1]

    yield make
    for fleet in made:
        end_at_once(fleet)


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    return make_fleet()
