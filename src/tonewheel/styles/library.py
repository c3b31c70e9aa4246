"""The styles that are there: those that ship, and the user's own in `TONEWHEEL_STYLES_DIR`."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from tonewheel.errors import InvalidStyle, UnknownName, nearest
from tonewheel.explain import explain
from tonewheel.settings import settings
from tonewheel.styles.schema import Style

if TYPE_CHECKING:
    _Fast = yaml.SafeLoader
else:
    _Fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has libyaml


class _Loader(_Fast):
    """A key written twice is an error: the second `kick` row of a groove would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} is written twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_style(path: Path) -> Style:
    """Read and validate one style file. Raises InvalidStyle with the place of the first fault."""
    try:
        data: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidStyle(f"style file {path} is not valid YAML{where}: {e.problem or e.context}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise InvalidStyle(f"style file {path} cannot be read: {e}") from e
    except RecursionError:
        raise InvalidStyle(f"style file {path} is nested too deeply: see docs/styles.md") from None
    if not isinstance(data, dict):
        raise InvalidStyle(f"style file {path} is not a mapping of fields: see docs/styles.md")
    try:
        style = Style.model_validate(data)
    except ValidationError as e:
        raise explain(e, InvalidStyle, f"style file {path.name}", tuple(Style.model_fields)) from None
    if style.id != path.stem:
        raise InvalidStyle(f"style file {path.name}: id is {style.id!r}: name the file {style.id}.yaml")
    return style


def _files(folder: Path | None) -> dict[str, Path]:
    found = _in(_shipped())
    if folder:
        if not folder.is_dir():
            raise InvalidStyle(f"TONEWHEEL_STYLES_DIR is {str(folder)!r}, which is no folder: create it or unset it")
        found |= _in(folder)  # a user's file may replace ours
    return found


def _in(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in sorted(folder.glob("*.yaml")) if not p.name.startswith(".")}


def _shipped() -> Path:
    return Path(str(resources.files("tonewheel.styles"))) / "data"


@lru_cache(maxsize=4)
def _library(folder: Path | None) -> dict[str, Style]:
    return {stem: _one(path) for stem, path in _files(folder).items()}


def styles() -> dict[str, Style]:
    """All styles by id. Raises InvalidStyle when a user's file is wrong."""
    return _library(settings().styles_dir)


@lru_cache(maxsize=64)
def _one(path: Path) -> Style:
    return load_style(path)


def get_style(name: str) -> Style:
    """The style a name means (id, title or alias, any case). Raises UnknownName with the nearest ones."""
    wanted = _fold(name)
    path = _files(settings().styles_dir).get(wanted.replace(" ", "-"))
    if path:  # the usual case needs one file, not all of them
        return _one(path)
    names: dict[str, Style] = {}
    for style in styles().values():
        for n in (style.id, style.title, *style.aliases):
            names.setdefault(_fold(n), style)
    if wanted in names:
        return names[wanted]
    known = {style.id if n in (_fold(style.id), _fold(style.title)) else n for n, style in names.items()}
    # All names to find the nearest among, but only the styles themselves to choose from when none is near.
    raise UnknownName("style", name, known if nearest(name, known) else styles(), param="style")


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("-", " ").replace("_", " ").split())
