"""Tab completion, as a shell asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word."""
    command = "import sys; sys.argv = ['tonewheel']; from tonewheel.cli.main import main; main()"
    asked = {"COMP_WORDS": " ".join(("tonewheel", *words)), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", command], env=os.environ | asked | {"_TONEWHEEL_COMPLETE": "complete_bash"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered", "not_offered"),
    [
        (("song", "--style", "sy"), {"synth-pop"}, {"house"}),
        (("song", "--model", "co"), {"composer"}, {"jen1"}),
        (("generate", "--model", "m"), {"musicgen-small", "musicgen-large"}, {"composer"}),
        (("generate", "--model", "cl"), set(), {"clap-htsat-fused"}),  # it only listens
        (("pull", "heart"), {"heartmula", "heartmula-3b-rl", "heart-transcriptor"}, {"clap"}),
        (("service", "cl"), {"clap", "clap-htsat-unfused"}, {"composer"}),
        (("so",), {"song"}, {"serve"}),
    ],
)
def test_the_tab_key_offers_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], offered: set[str], not_offered: set[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = set(completed(*words))
    assert offered <= found and not found & not_offered
