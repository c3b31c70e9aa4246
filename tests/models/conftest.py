"""Checkpoints that tests of models share, each made once a session; and one thread for all of torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tonewheel.settings import settings

Checkpoints = Callable[[str], Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from more, and the same bits are compared whatever the machine has."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def data_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What models keep (quantised weights, measured speeds) goes nowhere near the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        settings.cache_clear()
        yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def musicgen_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`musicgen_checkpoint("mono")`: the folder of a tiny checkpoint named in `musicgen_checkpoints.RECIPES`."""
    return _made_once("musicgen_checkpoints", tmp_path_factory.mktemp("musicgen"))


@pytest.fixture(scope="session")
def clap_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`clap_checkpoint("unfused")`: the folder of a tiny checkpoint named in `clap_checkpoints.RECIPES`."""
    return _made_once("clap_checkpoints", tmp_path_factory.mktemp("clap"))


@pytest.fixture(scope="session")
def ace_step_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`ace_step_checkpoint("turbo")`: the folder of a tiny checkpoint named in `ace_step_checkpoints.RECIPES`."""
    return _made_once("ace_step_checkpoints", tmp_path_factory.mktemp("ace-step"))


@pytest.fixture(scope="session")
def stable_audio_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`stable_audio_checkpoint("open")`: the folder of a tiny checkpoint in `stable_audio_checkpoints.RECIPES`."""
    return _made_once("stable_audio_checkpoints", tmp_path_factory.mktemp("stable-audio"))


@pytest.fixture(scope="session")
def audioldm2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """`audioldm2_checkpoint("old")`: the folder of a tiny checkpoint named in `audioldm2_checkpoints.RECIPES`."""
    return _made_once("audioldm2_checkpoints", tmp_path_factory.mktemp("audioldm2"))


def _made_once(module: str, below: Path) -> Checkpoints:
    """Folders of the module's `RECIPES`, by name, made by its `make` when they are first asked for."""
    recipes = importlib.import_module(module)  # with torch, which not every test needs
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = recipes.make(below / name, recipes.RECIPES[name])
        return made[name]

    return folder
