"""`tonewheel song`, `plan`, `compose`, `styles` as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tonewheel.audio.loudness import integrated_lufs, true_peak_dbtp
from tonewheel.audio.read import read
from tonewheel.audio.tags import read_tags
from tonewheel.songs.files import load_plan

Cli = Callable[..., "object"]
WORDS = "A paper boat sails down the gutter to the sea. A girl runs beside it in the rain."


def song(tonewheel: Cli, *more: str):  # type: ignore[no-untyped-def]
    return tonewheel("song", WORDS, "--duration", "12", "--style", "lofi-hip-hop", "--seed", "5", "--quiet", *more)


def test_a_narrative_becomes_a_playable_mp3_whose_tags_tell_how_it_was_made(tonewheel: Cli, tmp_path: Path) -> None:
    ran = song(tonewheel, "--json")
    assert ran.code == 0, ran.err
    answer = json.loads(ran.out)
    path = tmp_path / answer["files"][0]
    assert path.suffix == ".mp3"
    audio = read(path)
    assert len(audio.samples) / audio.rate == pytest.approx(12, abs=0.1)
    tags = read_tags(path)
    assert tags.title == answer["title"]
    assert tags.extra["tonewheel_seed"] == "5"
    assert json.loads(tags.extra["tonewheel_plan"]) == answer["plan"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "opus"])
def test_every_format_holds_the_whole_song(tonewheel: Cli, tmp_path: Path, ending: str) -> None:
    ran = song(tonewheel, "--output", f"x.{ending}")
    assert ran.code == 0, ran.err
    audio = read(tmp_path / f"x.{ending}")
    assert len(audio.samples) / audio.rate == pytest.approx(12, abs=0.05)
    assert audio.samples.shape[1] == 2
    assert read_tags(tmp_path / f"x.{ending}").extra["tonewheel_seed"] == "5"


def test_the_same_seed_gives_the_same_bytes_and_another_gives_another_song(tonewheel: Cli, tmp_path: Path) -> None:
    for name, seed in (("a", "9"), ("b", "9"), ("c", "10")):
        ran = tonewheel("song", WORDS, "-d", "10", "-s", "house", "--seed", seed, "-q", "-o", f"{name}.mp3", "--midi")
        assert ran.code == 0, ran.err
    for ending in ("mp3", "mid"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b
        assert a != c


def test_stems_midi_lyrics_and_plan_come_beside_the_song(tonewheel: Cli, tmp_path: Path) -> None:
    ran = song(tonewheel, "-o", "boat.flac", "--stems", "--midi", "--lrc", "--plan")
    assert ran.code == 0, ran.err
    assert {p.name for p in tmp_path.iterdir()} == {"boat.flac", "boat.mid", "boat.lrc", "boat.plan.json", "boat-stems"}
    stems = [read(p) for p in (tmp_path / "boat-stems").iterdir()]
    assert len(stems) >= 4
    assert {len(s.samples) for s in stems} == {12 * 44100}
    assert (tmp_path / "boat.mid").read_bytes().startswith(b"MThd")
    assert load_plan(tmp_path / "boat.plan.json").seed == 5


def test_a_plan_can_be_edited_and_composed(tonewheel: Cli, tmp_path: Path) -> None:
    assert tonewheel("plan", WORDS, "-d", "20", "--seed", "3", "-s", "folk", "-o", "p.yaml").code == 0
    text = (tmp_path / "p.yaml").read_text()
    plan = load_plan(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text(text.replace(plan.title, "Renamed Boat"))
    ran = tonewheel("compose", "p.yaml", "-q", "-o", "p.wav")
    assert ran.code == 0, ran.err
    assert read_tags(tmp_path / "p.wav").title == "Renamed Boat"


def test_compose_repeats_what_song_made_from_the_plan_in_its_tags(tonewheel: Cli, tmp_path: Path) -> None:
    assert song(tonewheel, "-o", "one.wav").code == 0
    (tmp_path / "again.json").write_text(read_tags(tmp_path / "one.wav").extra["tonewheel_plan"])
    assert tonewheel("compose", "again.json", "-q", "-o", "two.wav").code == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_song_from_a_file_makes_the_same_song_again(tonewheel: Cli, tmp_path: Path) -> None:
    assert song(tonewheel, "-o", "one.flac").code == 0
    assert tonewheel("song", "--from", "one.flac", "-q", "-o", "two.flac").code == 0
    assert (tmp_path / "one.flac").read_bytes() == (tmp_path / "two.flac").read_bytes()
    ran = tonewheel("song", "--from", "one.flac", "other words", "-q")
    assert ran.code == 2
    (tmp_path / "foreign.wav").write_bytes((tmp_path / "one.flac").read_bytes()[:0])
    assert tonewheel("song", "--from", "foreign.wav", "-q").code == 2


def test_own_lyrics_are_kept_word_for_word(tonewheel: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(
        "[Verse]\nFour grey geese went over\nThe mill pond, low and loud\n[Chorus]\nGo on, go on\n"
    )
    ran = tonewheel("plan", "--lyrics", "mine.txt", "-d", "40", "--as", "json")
    assert ran.code == 0, ran.err
    sung = [line for s in json.loads(ran.out)["sections"] for line in s["lyrics"]]
    assert {"Four grey geese went over", "The mill pond, low and loud", "Go on, go on"} <= set(sung)


def test_a_dry_run_makes_nothing(tonewheel: Cli, tmp_path: Path) -> None:
    ran = song(tonewheel, "--dry-run", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["dry_run"] is True
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced(tonewheel: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.mp3").write_text("precious")
    ran = song(tonewheel, "-o", "x.mp3")
    assert ran.code == 2
    assert "--force" in ran.err
    assert (tmp_path / "x.mp3").read_text() == "precious"
    assert song(tonewheel, "-o", "x.mp3", "--force").code == 0
    assert (tmp_path / "x.mp3").read_bytes() != b"precious"


BAD: list[tuple[list[str], str]] = [
    (["song", ""], "narrative"),
    (["song", "\x00\x07\x1b"], "narrative"),
    (["song", "x" * 4001], "4,000"),
    (["song", WORDS, "-d", "nan"], "duration"),
    (["song", WORDS, "-d", "-5"], "duration"),
    (["song", WORDS, "-d", "inf"], "duration"),
    (["song", WORDS, "-d", "9"], "10"),
    (["song", WORDS, "-d", "601"], "600"),
    (["song", WORDS, "-d", "soon"], "duration"),
    (["song", WORDS, "--style", "lofi-hip-hopp"], "lofi-hip-hop"),
    (["song", WORDS, "--style", "zzzzzz"], "known"),
    (["song", WORDS, "--tempo", "nan"], "tempo"),
    (["song", WORDS, "--tempo", "-10"], "tempo"),
    (["song", WORDS, "--key", "H moll"], "key"),
    (["song", WORDS, "--seed", "-1"], "seed"),
    (["song", WORDS, "-o", "x.xyz"], ".mp3"),
    (["song", WORDS, "-o", "nowhere/x.mp3"], "nowhere"),
    (["song", WORDS, "-o", "/proc/x.mp3"], "/proc"),
    (["song", WORDS, "--lyrics", "missing.txt"], "missing.txt"),
    (["song", WORDS, "--soundfont", "missing.sf2"], ""),
    (["song", WORDS, "--file", "missing.txt"], ""),
    (["compose", "missing.json"], "missing.json"),
    (["styles", "polka"], "polka"),
    (["inspect", "missing.wav"], "missing.wav"),
    (["nonsense"], "nonsense"),
    (["song", WORDS, "--nonsense"], "--nonsense"),
]


@pytest.mark.parametrize(("arguments", "hint"), BAD, ids=lambda v: " ".join(v)[:50] if isinstance(v, list) else "")
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(
    tonewheel: Cli, tmp_path: Path, arguments: list[str], hint: str
) -> None:
    ran = tonewheel(*arguments)
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err
    lines = [line for line in ran.err.splitlines() if line.startswith("tonewheel: ")]
    assert len(lines) == 1, ran.err
    assert hint in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "🎹🔥🌊",
        "1234 5678",
        "مرحبا بالعالم هذه أغنية",
        "夜の海を船が行く",
        "\u202eevil\u202c text",
        "...",
        "a",
        "A" * 4000,
        "e\u0301" * 50,
    ],
)
def test_any_text_of_allowed_length_becomes_a_plan(tonewheel: Cli, text: str) -> None:
    ran = tonewheel("plan", text, "-d", "20", "--as", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["title"]


def test_a_10_mb_narrative_is_refused_from_a_file_and_from_standard_input(tonewheel: Cli, tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"la " * 3_500_000)
    ran = tonewheel("song", "--file", "big.txt")
    assert ran.code == 2
    assert "4,000" in ran.err
    with (tmp_path / "big.txt").open("rb") as big:
        child = subprocess.run(
            [sys.executable, "-m", "tonewheel.cli.main", "song", "-"], stdin=big, capture_output=True, check=False
        )
    assert child.returncode == 2
    assert b"4,000" in child.stderr


@pytest.mark.parametrize(
    ("edit", "hint"),
    [
        ({"duration_s": 300.0}, "sections"),
        ({"sections": []}, "sections"),
        ({"tempo": -4}, "tempo"),
        ({"key": "H"}, "key"),
        ({"surprise": 1}, "surprise"),
        ({"time_signature": "0/4"}, "time_signature"),
    ],
)
def test_a_contradictory_plan_is_refused_in_one_line(tonewheel: Cli, tmp_path: Path, edit: dict, hint: str) -> None:
    plan = json.loads(tonewheel("plan", WORDS, "-d", "20", "--as", "json").out)
    (tmp_path / "p.json").write_text(json.dumps(plan | edit))
    ran = tonewheel("compose", "p.json", "-o", "p.mp3")
    assert ran.code == 2
    assert hint in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert not (tmp_path / "p.mp3").exists()


def test_unreadable_chords_are_named(tonewheel: Cli, tmp_path: Path) -> None:
    plan = json.loads(tonewheel("plan", WORDS, "-d", "20", "--as", "json").out)
    plan["sections"][0]["chords"] = ["Am", "Hmm7"]
    (tmp_path / "p.json").write_text(json.dumps(plan))
    ran = tonewheel("compose", "p.json")
    assert ran.code == 2
    assert "Hmm7" in ran.err


def test_unknown_labels_in_own_lyrics_are_named(tonewheel: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("[Verse]\nla la la\n[Wibble]\nla\n")
    ran = tonewheel("song", "--lyrics", "mine.txt")
    assert ran.code == 2
    assert "Wibble" in ran.err
    assert not list(tmp_path.glob("*.mp3"))


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tonewheel.cli.main",
        "song",
        WORDS,
        "-d",
        "300",
        "-o",
        "x.wav",
        "--stems",
        "--midi",
    ]
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 180
    # The stems' folder appears when rendering has begun; the files before it are there for a moment only, as a trial.
    while not (began := any(path.is_dir() for path in tmp_path.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert began, "rendering never began"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=180)
    assert child.returncode == 130, err
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_with_a_clear_error_and_nothing_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.decode().strip()}")
    try:
        command = [sys.executable, "-m", "tonewheel.cli.main", "song", WORDS, "-d", "15", "-o", str(disk / "x.wav")]
        child = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"COLUMNS": "200"})
        assert child.returncode == 1, child.stderr
        assert b"no room" in child.stderr
        assert b"Traceback" not in child.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tonewheel', '--help']\n"
        "from tonewheel.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'scipy', 'soundfile', 'pydantic', 'yaml', 'PIL', 'mido', 'torch'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in ran.stdout
    assert "song" in ran.stdout


@pytest.mark.parametrize("command", ["song", "plan", "compose", "styles", "inspect"])
def test_every_command_explains_itself_with_examples(tonewheel: Cli, command: str) -> None:
    ran = tonewheel(command, "--help")
    assert ran.code == 0
    assert "Examples" in ran.out
    assert f"tonewheel {command}" in ran.out


def test_styles_are_listed_and_shown(tonewheel: Cli) -> None:
    listed = json.loads(tonewheel("styles", "--json").out)
    assert len(listed) >= 12
    assert "house" in tonewheel("styles").out
    shown = json.loads(tonewheel("styles", "house", "--json").out)
    assert shown["id"] == "house"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(narrative=st.text(max_size=300), duration=st.floats(allow_nan=True), seed=st.integers(-2, 2**63))
def test_whatever_is_asked_a_plan_or_one_line_comes_back(
    tonewheel: Cli, narrative: str, duration: float, seed: int
) -> None:
    ran = tonewheel("song", f"--duration={duration}", f"--seed={seed}", "--dry-run", "--json", "--", narrative)
    assert ran.code in (0, 2)
    assert "Traceback" not in ran.err
    if ran.code:
        assert len([line for line in ran.err.splitlines() if line.startswith("tonewheel: ")]) == 1
    else:
        plan = json.loads(ran.out)["plan"]
        assert sum(s["duration_s"] for s in plan["sections"]) == pytest.approx(plan["duration_s"])


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(narrative=st.text(min_size=1, max_size=300))
def test_a_hundred_random_narratives_are_planned_or_refused_in_one_line(tonewheel: Cli, narrative: str) -> None:
    ran = tonewheel("plan", "--duration=45", "--as", "json", "--", narrative)
    assert ran.code in (0, 2)
    assert "Traceback" not in ran.err
    assert ran.code == 0 or "narrative" in ran.err


def test_a_decoded_mp3_stays_under_minus_1_dbtp(tonewheel: Cli, tmp_path: Path) -> None:
    for style in ("folk", "rock"):
        ran = tonewheel("song", WORDS, "-d", "20", "-s", style, "--seed", "5", "-q", "-o", f"{style}.mp3")
        assert ran.code == 0, ran.err
        audio = read(tmp_path / f"{style}.mp3")
        assert true_peak_dbtp(audio.samples, audio.rate) <= -1.0
        assert integrated_lufs(audio.samples, audio.rate) == pytest.approx(-14.0, abs=0.5)
