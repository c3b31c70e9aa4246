"""Styles are found by name; a user's folder adds and replaces; a broken file says where it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tonewheel.errors import InvalidStyle, UnknownName
from tonewheel.settings import settings
from tonewheel.styles import library
from tonewheel.styles.library import get_style, load_style, styles

MINIMAL = """
id: my-style
title: My style
description: A pad and a tune.
aliases: [mine, Meine Musik]
moods: [calm]
tempo: {min: 60, max: 80, default: 70}
modes: {major: 1}
progressions:
  major:
    verse: [[I, IV]]
    chorus: [[IV, V|I]]
bass:
  instrument: sub_bass
  levels:
    low: ["R--- ---- ---- ----"]
    mid: ["R--- ---- R--- ----"]
    high: ["R--- R--- R--- R-a-"]
comps:
  - id: pad
    role: pad
    instrument: warm_pad
    low: 55
    high: 72
    levels: {low: ["x--- ---- ---- ----"], mid: ["x--- ---- ---- ----"], high: ["X--- ---- X--- ----"]}
melody: {instrument: flute, low: 64, high: 82}
"""


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Sets TONEWHEEL_STYLES_DIR; nothing cached before or after."""

    def forget() -> None:
        settings.cache_clear()
        library._library.cache_clear()
        library._one.cache_clear()

    def use(folder: Path) -> None:
        monkeypatch.setenv("TONEWHEEL_STYLES_DIR", str(folder))
        forget()

    forget()
    yield use
    monkeypatch.undo()
    forget()


def _write(folder: Path, text: str, name: str = "my-style.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_style_is_found_by_id_title_and_alias_in_any_case() -> None:
    lofi = get_style("lofi-hip-hop")
    for name in ("Lo-fi hip hop", "LOFI", "lofi_hip_hop", "  study   beats ", "chillhop"):
        assert get_style(name).id == lofi.id


@pytest.mark.parametrize(
    ("wrong", "right"), [("hose", "house"), ("drum and base", "drum-and-bass"), ("raggae", "reggae")]
)
def test_an_unknown_style_offers_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UnknownName, match="did you mean") as e:
        get_style(wrong)
    assert right in e.value.nearest


def test_a_name_like_none_lists_what_there_is() -> None:
    with pytest.raises(UnknownName) as e:
        get_style("qqqqqqqqqqqqqq")
    assert "known:" in e.value.message
    assert "house" in e.value.message


def test_a_users_folder_adds_styles(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    _write(tmp_path, MINIMAL)
    fresh(tmp_path)
    assert get_style("Meine Musik").title == "My style"
    assert get_style("house").id == "house"
    assert "my-style" in styles()


def test_a_users_file_replaces_a_shipped_style(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    _write(tmp_path, MINIMAL.replace("id: my-style", "id: house"), "house.yaml")
    count = len(styles())
    fresh(tmp_path)
    assert get_style("house").title == "My style"
    assert len(styles()) == count


def test_files_that_are_no_styles_are_left_alone(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    _write(tmp_path, "not a style", "README.md")
    _write(tmp_path, "\x00", "._my-style.yaml")
    fresh(tmp_path)
    assert len(styles()) >= 12


def test_a_folder_that_is_missing_is_said(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    fresh(tmp_path / "nowhere")
    with pytest.raises(InvalidStyle, match="TONEWHEEL_STYLES_DIR"):
        get_style("house")


def _broken(change: tuple[str, str]) -> str:
    assert change[0] in MINIMAL
    return MINIMAL.replace(*change, 1)


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        (("role: pad", "role: tuba"), "comps[0].role", "pad"),
        (("sub_bass", "zither"), "bass.instrument", "known:"),
        (("R--- R--- R--- R-a-", "R--- R--- R--- R-a"), "bass.high.0", "15 steps"),
        (("R--- R--- R--- R-a-", "R--- Q--- R--- R-a-"), "bass.levels.high[0]", "may hold only"),
        (("verse: [[I, IV]]", "verse: [[I, XIV]]"), "progressions.major.verse", "Roman numeral"),
        (("chorus:", "refrain:"), "progressions.major", "chorus is missing"),
        (("max: 80", "max: 20"), "tempo.max", "30"),
        (("modes: {major: 1}", "modes: {locrian: 1}"), "locrian", "known:"),
        (("title: My style", "title: My style\ncolour: red"), "colour", "unknown field: remove it"),
        (("moods: [calm]\n", ""), "moods", "is missing: give it"),
    ],
)
def test_a_broken_style_says_where_and_what_in_one_line(
    tmp_path: Path, change: tuple[str, str], place: str, says: str
) -> None:
    path = _write(tmp_path, _broken(change))
    with pytest.raises(InvalidStyle) as e:
        load_style(path)
    message = e.value.message
    assert "my-style.yaml" in message
    assert place in message
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id: [unclosed", "at line"),
        ("- a\n- b\n", "not a mapping"),
        ("", "not a mapping"),
        ("id: a\nid: b\n", "'id' is written twice"),
        ("!!python/object/apply:os.system ['true']", "constructor"),
        ("[" * 2000, "style file"),
    ],
)
def test_a_file_that_is_no_style_says_so_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(InvalidStyle) as e:
        load_style(path)
    assert says in e.value.message
    assert "\n" not in e.value.message


def test_a_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my-style.yaml"
    path.write_bytes(b"\xff\xfe\x00title")
    with pytest.raises(InvalidStyle, match="cannot be read"):
        load_style(path)


def test_a_style_is_named_like_its_file(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    _write(tmp_path, MINIMAL, "other.yaml")
    fresh(tmp_path)
    with pytest.raises(InvalidStyle, match=r"name the file my-style\.yaml"):
        get_style("other")


def test_one_broken_file_does_not_hide_a_style_asked_for_by_id(tmp_path: Path, fresh: Callable[[Path], None]) -> None:
    _write(tmp_path, "- nothing", "broken.yaml")
    fresh(tmp_path)
    assert get_style("house").id == "house"
    with pytest.raises(InvalidStyle, match=r"broken\.yaml"):
        styles()
