"""`tonewheel analyze` as a user meets it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tonewheel.audio.tags import Tags
from tonewheel.audio.write import encode
from tonewheel.settings import settings

Cli = Callable[..., Any]
RATE = 44_100


def _wave(seconds: float = 4.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    beat = np.exp(-((t * 2) % 1) * 12) * np.sin(2 * np.pi * 110 * t)
    return np.stack([0.5 * beat, 0.4 * np.sin(2 * np.pi * 220 * t) * 0.3], axis=1).astype(np.float32)


@pytest.fixture
def song(tmp_path: Path) -> Path:
    tags = Tags(
        title="Tide Song", artist="Somebody", lyrics="[Verse]\nThe tide is high", bpm=120.0, key="A minor",
        extra={"tonewheel_seed": "424242", "tonewheel_plan": json.dumps({"x": "y" * 5000})},
    )  # fmt: skip
    path = tmp_path / "song.mp3"
    path.write_bytes(encode(_wave(), RATE, "mp3", tags))
    return path


def test_a_file_is_described_with_its_tags(tonewheel: Cli, song: Path) -> None:
    ran = tonewheel("analyze", "song.mp3")
    assert ran.code == 0, ran.err
    for said in (
        "song.mp3",
        "MP3, 44100 Hz, stereo",
        "0:04.00",
        "LUFS",
        "dBTP",
        "Tide Song",
        "The tide is high",
        "424242",
    ):
        assert said in ran.out
    assert "yyyy" not in ran.out  # a plan of thousands of characters is only mentioned
    assert ran.err == ""


def test_json_holds_everything_and_nothing_else(tonewheel: Cli, song: Path) -> None:
    ran = tonewheel("analyze", "song.mp3", "--json")
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)
    assert row["file"] == "song.mp3"
    assert row["duration_s"] == pytest.approx(4.0, abs=0.001)
    assert row["tags"]["title"] == "Tide Song"
    assert len(row["tags"]["extra"]["tonewheel_plan"]) > 5000
    assert {"lufs", "true_peak_dbtp", "silence_share", "tempo", "key", "balance", "findings"} <= set(row)


def test_unreadable_files_are_told_and_the_others_reported(tonewheel: Cli, song: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    ran = tonewheel("analyze", "missing.wav", "song.mp3", "text.wav")
    assert ran.code == 2
    assert "Tide Song" in ran.out
    assert [line.split(":")[0] for line in ran.err.splitlines()] == ["tonewheel", "tonewheel"]
    ran = tonewheel("analyze", "missing.wav", "song.mp3", "text.wav", "--json")
    assert ran.code == 2
    rows = json.loads(ran.out)
    assert [row.get("error", {}).get("type") for row in rows] == ["unreadable_audio", None, "unreadable_audio"]


def test_a_plot_is_drawn_and_never_over_another_file(tonewheel: Cli, song: Path, tmp_path: Path) -> None:
    assert tonewheel("analyze", "song.mp3", "--plot", "out.png").code == 0
    first = (tmp_path / "out.png").read_bytes()
    assert Image.open(io.BytesIO(first)).size == (1600, 1000)
    (tmp_path / "out.png").write_bytes(b"mine")
    ran = tonewheel("analyze", "song.mp3", "--plot", "out.png")
    assert ran.code == 2
    assert "--force" in ran.err
    assert ran.out == ""  # refused before any work
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert tonewheel("analyze", "song.mp3", "--plot", "out.png", "--force").code == 0
    assert (tmp_path / "out.png").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.png", "song.mp3"]


def test_the_sections_of_our_own_songs_are_marked(tonewheel: Cli, tmp_path: Path) -> None:
    sections = [{"label": "Verse", "duration_s": 2}, {"label": "Chorus", "duration_s": 2}]
    pictures = []
    plans = [json.dumps({"sections": sections}), "[]", '{"sections": [{"label": 1}]}', "{" * 10_000, "\x00nothing"]
    for plan in plans:
        tags = Tags(title="T", extra={"tonewheel_plan": plan})
        (tmp_path / "x.wav").write_bytes(encode(_wave(), RATE, "wav", tags))
        ran = tonewheel("analyze", "x.wav", "--plot", "x.png", "--force")
        assert ran.code == 0, ran.err
        pictures.append((tmp_path / "x.png").read_bytes())
    assert pictures[0] != pictures[1]
    assert len(set(pictures[1:])) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["song.mp3", "song.mp3", "--plot", "x.png"], "one file"),
        (["song.mp3", "--plot", "missing/x.png"], "does not exist"),
        (["song.mp3", "--plot", "."], "folder"),
        ([], "Missing argument"),
    ],
)
def test_requests_that_cannot_be_met_end_with_2(tonewheel: Cli, song: Path, arguments: list[str], why: str) -> None:
    ran = tonewheel("analyze", *arguments)
    assert ran.code == 2
    assert why in ran.err
    assert len(ran.err.splitlines()) == 1


def test_tags_cannot_steer_the_terminal(tonewheel: Cli, tmp_path: Path) -> None:
    evil = Tags(title="\x1b]0;owned\x07\x9b31m[red]not markup[/red]", lyrics="a\rb\x1b[2J", extra={"k": "\x08\x08"})
    (tmp_path / "x.wav").write_bytes(encode(_wave(1.0), RATE, "wav", evil))
    ran = tonewheel("analyze", "x.wav")
    assert ran.code == 0, ran.err
    assert "[red]not markup[/red]" in ran.out
    assert not set(ran.out) & {"\x1b", "\x07", "\x9b", "\r", "\x08"}


def test_a_file_name_cannot_either(tonewheel: Cli, tmp_path: Path) -> None:
    name = "a\x1b[31m\udcff[bold].wav"
    (tmp_path / name).write_bytes(encode(_wave(1.0), RATE, "wav"))
    ran = tonewheel("analyze", name)
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out
    assert tonewheel("analyze", name, "--json").code == 0
    ran = tonewheel("analyze", name + ".missing")
    assert ran.code == 2
    assert "\x1b" not in ran.err


def test_broken_mp3s_make_no_noise(tmp_path: Path) -> None:
    data = bytearray(encode(_wave(), RATE, "mp3"))
    for at in range(2000, len(data), 997):
        data[at] ^= 0x5A
    (tmp_path / "broken.mp3").write_bytes(data)
    code = "import sys; sys.argv[1:] = ['analyze', 'broken.mp3', '--json']; from tonewheel.cli.main import main; main()"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0 or ran.stderr.startswith("tonewheel: ")
    assert len(ran.stderr.splitlines()) <= 1
    json.loads(ran.stdout)


def test_silence_is_reported_not_refused(tonewheel: Cli, tmp_path: Path) -> None:
    (tmp_path / "silence.flac").write_bytes(encode(np.zeros((RATE, 2), np.float32), RATE, "flac", bits=24))
    ran = tonewheel("analyze", "silence.flac")
    assert ran.code == 0, ran.err
    assert "silent throughout" in ran.out
    (row,) = json.loads(tonewheel("analyze", "silence.flac", "--json").out)
    assert row["lufs"] is None


def test_beats_are_told_and_drawn(tonewheel: Cli, tmp_path: Path) -> None:
    t = np.arange(20 * RATE) / RATE
    click = np.exp(-((t * 2) % 1) * 30) * np.random.default_rng(1).standard_normal(len(t)) * 0.3  # 120 BPM
    (tmp_path / "x.wav").write_bytes(encode(np.stack([click, click], axis=1).astype(np.float32), RATE, "wav"))
    ran = tonewheel("analyze", "x.wav", "--plot", "x.png")
    assert ran.code == 0, ran.err
    assert "120.0 bpm" in next(line for line in ran.out.splitlines() if line.strip().startswith("beats"))
    (row,) = json.loads(tonewheel("analyze", "x.wav", "--json").out)
    assert row["beats"]["model"] == "onset"
    assert row["beats"]["tempo"]["bpm"] == pytest.approx(120, rel=0.01)
    assert len(row["beats"]["beats"]) == pytest.approx(40, abs=3)
    assert row["tags"] == {} or "genre" not in row["tags"]


def test_tags_need_a_model_and_say_which(tonewheel: Cli, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(song.parent / "data"))
    settings.cache_clear()
    try:
        ran = tonewheel("analyze", "song.mp3", "--genre")
    finally:
        settings.cache_clear()
    assert ran.code == 2
    assert "tonewheel pull clap-htsat-unfused" in ran.err


def test_its_first_name_still_works(tonewheel: Cli, song: Path) -> None:
    assert tonewheel("inspect", "song.mp3", "--json").out == tonewheel("analyze", "song.mp3", "--json").out
    assert "inspect" not in tonewheel("--help").out
