"""Which families and models there are: the folders beside this file, and entry points of others.

    registry.families()          name → Family
    registry.card("composer")    a Card by model id (UnknownName otherwise)
    registry.resolve("jen1")     (Family, Card) by model id or by service name (its default model)

Nothing here knows a family by name. A family that cannot be imported does not take the others down:
it is left out and told by `faults()`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from types import MappingProxyType

from tonewheel import models
from tonewheel.errors import ModelBroken, UnknownName
from tonewheel.models.base import Card, Family

ENTRY_POINTS = "tonewheel.models"
_SHARED_ROOMS = frozenset({"tonewheel.models.diffusion"})  # what several families share lies beside them


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All families that could be imported, and why others could not (by where they come from)."""

    families: Mapping[str, Family]
    faults: Mapping[str, ModelBroken]

    @property
    def cards(self) -> Mapping[str, Card]:
        return {c.id: c for f in self.families.values() for c in f.cards}


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    """Look for families; done once a process (`catalogue.cache_clear()` looks again)."""
    found: dict[str, Family] = {}
    faults: dict[str, ModelBroken] = {}
    for source, load in _sources():
        try:
            family = _checked(load(), found)
        except Exception as error:  # a plug-in may fail in any way; it must not take the server down
            faults[source] = ModelBroken(f"model family {source}: {type(error).__name__}: {error}")
            continue
        found[family.name] = family
    return Catalogue(MappingProxyType(found), MappingProxyType(faults))


def families() -> Mapping[str, Family]:
    return catalogue().families


def faults() -> Mapping[str, ModelBroken]:
    return catalogue().faults


def cards() -> Mapping[str, Card]:
    """Every model by its id."""
    return catalogue().cards


def card(model: str) -> Card:
    """The card of a model id. Raises UnknownName."""
    return resolve(model)[1]


def services() -> Mapping[str, Family]:
    """Families by the name of their service."""
    return {f.service: f for f in families().values()}


def resolve(name: str) -> tuple[Family, Card]:
    """A model id, or a service's name for its default model. Raises UnknownName offering the nearest."""
    found = cards().get(name)
    if found is not None:
        return families()[found.family], found
    if name in services():
        family = services()[name]
        return family, family.cards[0]
    raise UnknownName("model", name, {*cards(), *services()}, param="model")


def _sources() -> Iterator[tuple[str, Callable[[], object]]]:
    """Where a family may come from, and how to get it."""
    for module in pkgutil.iter_modules(models.__path__, models.__name__ + "."):
        if module.ispkg and module.name not in _SHARED_ROOMS:
            yield module.name, partial(_family_of, module.name)
    # Sorted: the order of installed packages on the path must not decide which of two equal names wins.
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda p: (p.name, p.value)):
        yield point.value, point.load


def _family_of(module: str) -> object:
    return import_module(module).FAMILY


def _checked(family: object, before: Mapping[str, Family]) -> Family:
    if not isinstance(family, Family):
        raise TypeError(f"FAMILY is a {type(family).__name__}, not a tonewheel.models.base.Family")
    if family.name in before:
        raise ValueError(f"a family named {family.name!r} is already there")
    if not family.cards:
        raise ValueError("it has no cards")
    ids = {c.id for f in before.values() for c in f.cards}
    for c in family.cards:
        if c.family != family.name or c.service != family.service:
            raise ValueError(f"card {c.id!r} names family {c.family!r} and service {c.service!r}")
        if c.id in ids:
            raise ValueError(f"a model named {c.id!r} is already there")
        ids.add(c.id)
    if family.service in {f.service for f in before.values()}:
        raise ValueError(f"a service named {family.service!r} is already there")
    return family
