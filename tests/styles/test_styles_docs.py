"""docs/styles.md says what is there: every field, every sign, every style, and examples that work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from tonewheel.styles import schema
from tonewheel.styles.instruments import DRUM_VOICES, INSTRUMENTS
from tonewheel.styles.library import load_style, styles
from tonewheel.theory import MODES

TEXT = (Path(__file__).parents[2] / "docs" / "styles.md").read_text(encoding="utf-8")
MODELS = [
    m
    for m in vars(schema).values()
    if isinstance(m, type) and issubclass(m, BaseModel) and m.__module__ == schema.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_field_is_documented(model: type[BaseModel]) -> None:
    missing = {name for name in model.model_fields if not re.search(rf"\b{name}\b", TEXT)}
    assert not missing


def test_every_drum_voice_kit_and_mode_is_named() -> None:
    kits = {i for i in INSTRUMENTS if i.startswith("kit_")}
    assert not (set(DRUM_VOICES) | kits | set(MODES)) - set(re.findall(r"\w+", TEXT))


@pytest.mark.parametrize("alphabet", [schema.BassRow, schema.CompRow], ids=["bass", "comp"])
def test_every_sign_of_the_pattern_language_is_explained(alphabet: object) -> None:
    signs = "Rr35678awx.-" if alphabet is schema.BassRow else "Xxdubh18.-"
    assert not [s for s in signs if f"`{s}`" not in TEXT]


def test_the_table_tells_every_style_with_its_tempo_and_metre() -> None:
    for style in styles().values():
        row = next((line for line in TEXT.splitlines() if line.startswith(f"| `{style.id}` ")), "")
        assert f"| {style.tempo.min:.0f}–{style.tempo.max:.0f} |" in row, style.id
        assert f"| {style.time_signature}" in row, style.id


def test_the_smallest_style_is_whole(tmp_path: Path) -> None:
    example = next(block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if block.startswith("id:"))
    path = tmp_path / "small.yaml"
    path.write_text(example, encoding="utf-8")
    assert load_style(path).title == "Small"
