"""Checkpoints that tests of models share, each made once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def musicgen_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`musicgen_checkpoint("mono")`: the folder of a tiny checkpoint named in `musicgen_checkpoints.RECIPES`."""
    import musicgen_checkpoints

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            recipe = musicgen_checkpoints.RECIPES[name]
            made[name] = musicgen_checkpoints.make(tmp_path_factory.mktemp("musicgen") / name, recipe)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def clap_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`clap_checkpoint("unfused")`: the folder of a tiny checkpoint named in `clap_checkpoints.RECIPES`."""
    import clap_checkpoints

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            recipe = clap_checkpoints.RECIPES[name]
            made[name] = clap_checkpoints.make(tmp_path_factory.mktemp("clap") / name, recipe)
        return made[name]

    return folder
