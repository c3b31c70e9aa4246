"""`tonewheel generate --set`: every field of a model's request, files among them; several pieces in several files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tonewheel.audio.tags import read_tags

sys.path += [str(Path(__file__).parents[1] / "models")]
import ace_step_checkpoints  # the maker of checkpoints

Run = Callable[..., Any]
ACE = ("--model", "ace-step-turbo")


@pytest.fixture
def words(tmp_path: Path) -> str:
    path = tmp_path / "words.txt"
    path.write_text("[Verse]\nrain on the roof", "utf-8")
    return str(path)


def test_fields_are_asked_for_by_name(tonewheel: Run, words: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "tune.wav", np.zeros(3200), 32_000)
    ran = tonewheel(
        "generate", "rain", *ACE, "--set", f"lyrics=@{words}", "--set", "bpm=92", "--set", "task=cover", "--set",
        "src_audio=@tune.wav", "--set", "key=A minor", "--dry-run", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)["request"]
    assert told == {
        "prompt": "rain", "lyrics": "(a file)", "bpm": "92", "task": "cover", "src_audio": "(a file)", "key": "A minor",
    }  # fmt: skip


def test_as_many_files_as_pieces(tonewheel: Run, tmp_path: Path) -> None:
    several = ("generate", "rain", *ACE, "--set", "num_variations=3", "-o", "x.flac", "--dry-run", "--json")
    assert json.loads(tonewheel(*several).out)["files"] == ["x.flac", "x-2.flac", "x-3.flac"]
    (tmp_path / "x-3.flac").write_bytes(b"mine")
    ran = tonewheel(*several)
    assert ran.code == 2 and "x-3.flac" in ran.err  # told before a minute of work


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("bpm", "NAME=VALUE"),
        ("=92", "NAME=VALUE"),
        ("bmp=92", "did you mean bpm"),
        ("bpm=fast", "bpm"),
        ("bpm=29", "bpm"),
        ("lyrics=@nowhere.txt", "nowhere.txt"),
        ("src_audio=@nowhere.wav", "nowhere.wav"),
        ("src_audio=tune.wav", "src_audio=@FILE"),
        ("num_variations=9", "num_variations"),
    ],
)
def test_what_cannot_be_set_is_told_at_once(tonewheel: Run, given: str, said: str) -> None:
    ran = tonewheel("generate", "rain", *ACE, "--set", given)
    assert ran.code == 2 and said in ran.err and not ran.out
    assert len(ran.err.splitlines()) == 1


def test_a_real_model_gets_them_and_writes_every_piece(
    tonewheel: Run, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.settings import settings

    folder = ace_step_checkpoints.make(tmp_path / "turbo", ace_step_checkpoints.RECIPES["turbo"])
    monkeypatch.setenv("TONEWHEEL_ACE_STEP_TURBO_PATH", str(folder))
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings.cache_clear()
    try:
        ran = tonewheel(
            "generate", "rain", *ACE, "-d", "10", "--seed", "3", "--set", f"lyrics=@{words}", "--set", "bpm=92",
            "--set", "num_inference_steps=2", "--set", "num_variations=2", "-o", "x.flac", "--json",
        )  # fmt: skip
    finally:
        settings.cache_clear()
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["files"] == ["x.flac", "x-2.flac"] and told["license"] == "MIT"
    first, second = (soundfile.read(tmp_path / name)[0] for name in told["files"])
    assert first.shape == second.shape == (480_000, 2) and np.abs(first - second).max() > 0.01
    seeds = [read_tags(tmp_path / name).extra["tonewheel_seed"] for name in told["files"]]
    assert seeds[0] == "3" != seeds[1]
    tags = read_tags(tmp_path / "x-2.flac")
    assert (tags.license, tags.bpm, tags.lyrics) == ("MIT", 92.0, "[Verse]\nrain on the roof")
