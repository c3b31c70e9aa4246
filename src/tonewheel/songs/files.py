"""Song plans as text: JSON or YAML in, checked; JSON or YAML out.

What is read comes from people and the network, so it is looked at before it is trusted: size, depth, what
YAML's aliases unfold to, and keys said twice, which both formats would settle in silence.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from tonewheel.errors import InvalidPlan
from tonewheel.explain import explain
from tonewheel.songs.generated_song import from_generated_song, is_generated_song
from tonewheel.songs.plan import Section, SongPlan

MAX_BYTES = 1_000_000
_MAX_DEPTH = 24
_MAX_NODES = 200_000  # after aliases are unfolded; a plan of 100 full sections has about 50,000
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIELDS = tuple(dict.fromkeys((*SongPlan.model_fields, *Section.model_fields)))

Format = Literal["json", "yaml"]


def load_plan(path: Path) -> SongPlan:
    """Read a plan (or a GeneratedSong) from a `.json`, `.yaml` or `.yml` file.

    Raises InvalidPlan: one line that names the file, the field and what is wrong with it.
    """
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidPlan(f"plan {path} does not exist: check the path", param="plan") from None
    except IsADirectoryError:
        raise InvalidPlan(f"plan {path} is a folder: name a .json or .yaml file", param="plan") from None
    except OSError as e:
        raise InvalidPlan(f"plan {path} cannot be read: {e.strerror or e}", param="plan") from None
    if len(raw) > MAX_BYTES:
        raise InvalidPlan(_too_large(f"plan {path}"), param="plan")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidPlan(f"plan {path} is not UTF-8 text: save it as UTF-8 JSON or YAML", param="plan") from None
    suffix = path.suffix.casefold()
    fmt: Format | None = "json" if suffix == ".json" else "yaml" if suffix in (".yaml", ".yml") else None
    return parse_plan(text, fmt, where=f"plan {path.name}")


def parse_plan(text: str, fmt: Format | None = None, *, where: str = "plan") -> SongPlan:
    """A plan from JSON or YAML text; without `fmt` a text that opens with `{` is JSON. Raises InvalidPlan."""
    if len(text) > MAX_BYTES:
        raise InvalidPlan(_too_large(where), param="plan")
    fmt = fmt or ("json" if text.lstrip()[:1] == "{" else "yaml")
    value = _from_json(text, where) if fmt == "json" else _from_yaml(text, where)
    return plan_from_value(value, where)


def plan_from_value(value: object, where: str = "plan") -> SongPlan:
    """A plan from parsed JSON types: a SongPlan or a GeneratedSong. Raises InvalidPlan."""
    if not isinstance(value, dict):
        raise InvalidPlan(f"{where}: is not a mapping of fields: see docs/song-plan.md", param="plan")
    if is_generated_song(value):
        return from_generated_song(value, where)
    try:
        return SongPlan.model_validate(value)
    except ValidationError as e:
        raise explain(e, InvalidPlan, where, _FIELDS) from None


def dump_plan(plan: SongPlan, fmt: Format = "json") -> str:
    """The plan as text that `parse_plan` reads back unchanged."""
    value = plan.to_dict()
    if fmt == "json":
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def _too_large(where: str) -> str:
    return f"{where}: is larger than {MAX_BYTES // 1_000_000} MB: a song plan is a few kilobytes; is it the right file?"


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────


def _from_json(text: str, where: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise InvalidPlan(f"{where}: field {key[:60]!r} is given twice: keep one", param=key[:60])
            found[key] = value
        return found

    def no_constant(name: str) -> object:
        raise InvalidPlan(f"{where}: {name} is not a number JSON knows: write a finite number", param="plan")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except json.JSONDecodeError as e:
        place = f"line {e.lineno}, column {e.colno}"
        raise InvalidPlan(f"{where}: is not JSON: {e.msg} at {place}: correct it there", param="plan") from None
    except RecursionError:
        raise InvalidPlan(f"{where}: is nested too deeply: see docs/song-plan.md", param="plan") from None
    except ValueError as e:  # an integer of thousands of digits
        raise InvalidPlan(f"{where}: holds a number too long to be read: shorten it", param="plan") from e


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────


class _Dumper(yaml.SafeDumper):
    """Block style with short lists (chords) on one line and no aliases for strings said twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    short = all(isinstance(v, str) and len(v) <= 12 for v in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    """Lines as lines; what PyYAML would fold or lose (NEL, C1 controls, …) escaped in double quotes."""
    style = None
    if any(not c.isprintable() and c != "\n" for c in value):
        style = '"'
    elif "\n" in value and not any(line != line.strip() for line in value.split("\n")):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)


def _from_yaml(text: str, where: str) -> object:
    try:
        _check_depth(text, where)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise InvalidPlan(f"{where}: is empty: see docs/song-plan.md", param="plan")
            _check_nodes(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = e.problem or e.context
        raise InvalidPlan(f"{where}: is not YAML: {problem}{place}: correct it there", param="plan") from None
    except yaml.YAMLError as e:
        raise InvalidPlan(f"{where}: is not YAML: {str(e)[:200]}: correct it there", param="plan") from None
    except (ValueError, OverflowError) as e:  # an impossible date, a number of thousands of digits
        raise InvalidPlan(f"{where}: holds a value that cannot be read: {str(e)[:120]}", param="plan") from None


def _check_depth(text: str, where: str) -> None:
    """Before nodes are built, which costs a stack frame a level."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise InvalidPlan(f"{where}: is nested more than {_MAX_DEPTH} deep: see docs/song-plan.md", param="plan")


def _check_nodes(root: yaml.Node, where: str) -> None:
    """Count what aliases unfold to, refuse loops of them, and keys said twice."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_nodes:
            raise InvalidPlan(f"{where}: an alias refers to itself: write the value out", param="plan")
        open_nodes.add(id(node))
        children = node.value
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            children = [child for pair in node.value for child in pair]
        total = 1 + sum(size(child) for child in children)
        if total > _MAX_NODES:
            raise InvalidPlan(
                f"{where}: aliases unfold to more than {_MAX_NODES:,} values: write them out", param="plan"
            )
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    size(root)


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    seen: set[Hashable] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InvalidPlan(f"{where}: line {key.start_mark.line + 1}: a field name must be a word", param="plan")
        if key.value in seen:
            line = key.start_mark.line + 1
            raise InvalidPlan(
                f"{where}: line {line}: field {key.value[:60]!r} is given twice: keep one", param=key.value[:60]
            )
        seen.add(key.value)
