"""Families are found, never named: by their folder, or by an entry point from anywhere."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tonewheel
from tonewheel.errors import ModelBroken, UnknownName
from tonewheel.models import registry
from tonewheel.models.base import RunContext

HUM = """
from pydantic import BaseModel
from tonewheel.models.base import Card, Family, Metadata, Model, ModelRequest, Result

class Ask(ModelRequest):
    words: str

class Made(BaseModel):
    said: str
    metadata: Metadata

class Hum(Model[Ask]):
    def load(self, context):
        context.progress("loading", 1.0)
    def run(self, request, context):
        return Result({"said": request.words.upper()})

def card(name):
    return Card(id=name, family="NAME", title="Hum", tasks=("sound",), code_license="MIT", service="SERVICE",
                default_port=48001)

FAMILY = Family(name="NAME", title="Hum", cards=(card("hum-small"), card("hum-large")), request=Ask, response=Made,
                create=Hum, memory_bytes=lambda card, request: 1)
"""


def install(folder: Path, module: str, source: str) -> None:
    """A package as pip leaves it: the module and a dist-info that declares the entry point."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tonewheel.models]\n{module} = {module}:FAMILY\n")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; the registry looks again before and after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.catalogue.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    registry.catalogue.cache_clear()
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {p.name for p in tmp_path.iterdir()}:
            del sys.modules[name]


def test_the_built_in_families_are_there() -> None:
    assert {"composer", "jen1"} <= set(registry.families())
    assert not registry.faults()
    family, card = registry.resolve("jen1")
    assert (family.service, card.default_port) == ("jen1", 4001)
    assert registry.card("composer").default_port == 8901


def test_a_family_is_added_by_an_entry_point_alone_and_runs(elsewhere: Path) -> None:
    install(elsewhere, "hum_family", HUM.replace("NAME", "hum").replace("SERVICE", "hummer"))
    family, card = registry.resolve("hum-large")
    assert card.id == "hum-large"
    assert registry.resolve("hummer")[1].id == "hum-small"  # a service's name means its first card
    model = family.create(card)
    model.load(RunContext())
    result = model.run(model.validate(family.request(words="hello")), RunContext())
    assert result.fields["said"] == "HELLO"
    model.release()


def test_a_broken_family_is_told_and_takes_nobody_down(elsewhere: Path) -> None:
    install(elsewhere, "broken_family", "raise RuntimeError('half installed')")
    install(elsewhere, "no_family", "FAMILY = 3")
    install(elsewhere, "twin_family", HUM.replace("NAME", "composer").replace("SERVICE", "hummer"))
    install(elsewhere, "port_family", HUM.replace("NAME", "hum").replace("SERVICE", "composer"))
    assert {"composer", "jen1"} <= set(registry.families())
    assert {"hum", "twin"}.isdisjoint(registry.families())
    faults = {source.split(":")[0]: error for source, error in registry.faults().items()}
    assert set(faults) == {"broken_family", "no_family", "twin_family", "port_family"}
    assert all(isinstance(e, ModelBroken) for e in faults.values())
    assert "half installed" in faults["broken_family"].message
    assert "already there" in faults["twin_family"].message
    assert registry.families()["composer"].title == "Composer"


def test_an_unknown_model_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean composer"):
        registry.resolve("compoer")


def test_no_code_outside_a_family_names_it() -> None:
    """No comparison with a family's name anywhere but in its own folder."""
    root = Path(tonewheel.__file__).parent
    names = set(registry.families()) - {"composer"}  # a tag of our own files says "composer"
    rooms = [root / "serving", root / "models", root / "telemetry.py"]
    for path in [p for room in rooms for p in ([room] if room.is_file() else room.glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                texts = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                assert not texts & (names | {"composer"}), f"{path.name}:{node.lineno}"


def test_cards_tell_what_a_user_asks_first() -> None:
    for card in registry.cards().values():
        assert card.code_license
        assert card.title
        assert registry.families()[card.family].memory_bytes(card, None) > 0
    composer = registry.families()["composer"]
    short, long = (composer.request.model_validate({"narrative": "x", "duration": d}) for d in (30, 300))
    card = composer.cards[0]
    idle, brief, much = (composer.memory_bytes(card, r) for r in (None, short, long))
    assert idle < brief < much
