"""`tonewheel generate` and `song --model`: what is refused before a model is started, and what would be done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

Run = Callable[..., Any]


@pytest.fixture
def tune(tmp_path: Path) -> str:
    path = tmp_path / "tune.wav"
    soundfile.write(path, np.zeros(3200), 32_000)
    return str(path)


def test_a_dry_run_tells_what_would_be_asked_and_makes_nothing(tonewheel: Run, tune: str, tmp_path: Path) -> None:
    ran = tonewheel("generate", "slow rain", "-d", "8", "--top-k", "5", "--continue-from", tune, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {
        "dry_run": True, "model": "musicgen-small", "files": ["slow-rain.wav"],
        "request": {"prompt": "slow rain", "duration": 8.0, "top_k": 5, "continue_from": "(a file)"},
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["tune.wav"]
    assert "would write x.flac" in tonewheel("generate", "-o", "x.flac", "--dry-run").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "musicgen-smal"), "did you mean musicgen-small"),
        (("--model", "jen1"), "takes no prompt"),
        (("--model", "composer"), "takes no prompt"),
        (("-d", "301"), "duration"),
        (("--temperature", "0"), "temperature"),
        (("-o", "x.xyz"), "'.xyz' is not known"),
        (("--melody", "nowhere.wav"), "does not exist"),
        (("--melody", "{tune}"), "follows no melody"),
        (("-o", "{tune}"), "tune.wav"),
    ],
)
def test_what_cannot_be_is_told_at_once(tonewheel: Run, tune: str, arguments: tuple[str, ...], said: str) -> None:
    ran = tonewheel("generate", "rain", *(a.format(tune=tune) for a in arguments))
    assert ran.code == 2 and said in ran.err and not ran.out


def test_weights_that_restrict_their_use_need_a_yes_first(
    tonewheel: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    ran = tonewheel("generate", "rain")
    settings.cache_clear()
    assert ran.code == 2 and "tonewheel pull musicgen-small --accept-license" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "musicgen-small", "--stems"), "makes no stems"),
        (("--model", "musicgen-small", "-d", "400"), "at most 300 s"),
        (("--model", "jen1"), "makes no songs"),
        (("--model", "nothing"), "unknown model"),
        (("--model", "musicgen-small", "--soundfont", "x.sf2"), "plays no SoundFont"),
    ],
)
def test_a_song_by_a_model_is_refused_likewise(tonewheel: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = tonewheel("song", "Neon rain", *arguments)
    assert ran.code == 2 and said in ran.err


def test_a_song_by_a_model_can_be_tried_out(tonewheel: Run) -> None:
    ran = tonewheel("song", "Neon rain", "--model", "musicgen-small", "-d", "20", "--dry-run", "--json")
    told = json.loads(ran.out)
    assert (told["model"], told["plan"]["duration_s"]) == ("musicgen-small", 20.0) and told["files"][0].endswith(".mp3")


def test_a_song_by_a_model_that_is_not_there_is_refused_before_its_plan_is_shown(
    tonewheel: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    ran = tonewheel("song", "Neon rain", "--model", "heartmula-3b", "-d", "20")
    settings.cache_clear()
    assert ran.code == 2 and "tonewheel pull heartmula-3b" in ran.err
    assert len(ran.err.strip().splitlines()) == 1 and not ran.out


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("song", "x", "--duration", "abc"), "'--duration' / '-d': write a number, not 'abc' (try --help)"),
        (("serve", "--port", "80000"), "must be at most 65535, not '80000'"),
        (("serve", "--workers", "1.5"), "write a whole number, not '1.5'"),
        (("song", "x", "--format", "exe"), "'exe' is not one of 'mp3', 'wav'"),
    ],
)
def test_a_wrong_value_of_an_option_is_told_in_our_words(tonewheel: Run, asked: tuple[str, ...], says: str) -> None:
    ran = tonewheel(*asked)
    assert ran.code == 2 and says in ran.err and "Input should" not in ran.err
