"""Who is in the band: the parts of the style, changed by the plan's instrumentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tonewheel.songs.plan import SongPlan
from tonewheel.styles.instruments import INSTRUMENTS, InstrumentInfo, find_instrument
from tonewheel.styles.schema import Bass, Comp, Drums, Melody, PartMix, Style

Layer = Drums | Bass | Comp | Melody
_TUNE_ROLES = ("melody", "lead")

# What a part plays that the user added to a style which has none of its role: plain patterns, cut or
# continued to the metre like any other.
_GENERIC_COMPS: dict[str, dict[str, Any]] = {
    "chords": {
        "low": 52, "high": 72, "voices": 3,
        "levels": {"low": ["x---------------"], "mid": ["x-------x-----x-"], "high": ["X---x---X-x-x---"]},
    },
    "pad": {
        "low": 55, "high": 76, "voices": 3, "legato": True,
        "levels": {"low": ["x---------------"], "mid": ["x---------------"], "high": ["X-------x-------"]},
    },
    "arpeggio": {
        "low": 67, "high": 86, "voices": 3,
        "levels": {"low": ["1...2...3...2..."], "mid": ["1.2.3.2.4.3.2.3."], "high": ["1.2.3.4.1.2.3.4."]},
    },
    "counter": {
        "low": 60, "high": 79, "voices": 3, "sections": ("chorus", "bridge", "instrumental"),
        "levels": {"low": ["3-------2-------"], "mid": ["3-----2-3-------"], "high": ["3---2---4-----3-"]},
    },
}  # fmt: skip
_GENERIC_MIX = PartMix(loudness=-9, reverb=0.25, highpass=150)
_GENERIC_GROOVES: dict[str, list[dict[str, str]]] = {
    "low": [{"kick": "8.......8.......", "hat": "4...4...4...4..."}],
    "mid": [{"kick": "8.......8.......", "snare": "....7.......7...", "hat": "5.4.5.4.5.4.5.4."}],
    "high": [{"kick": "9.......9.9.....", "snare": "....8.......8...", "hat": "6.5.6.5.6.5.6.5."}],
}
_GENERIC_FILLS = [{"snare": "....7.......6.78", "kick": "8.......8......."}]


@dataclass(frozen=True, slots=True)
class Player:
    """A part before its notes: `layer` holds its patterns and its place in the mix."""

    id: str
    role: str
    instrument: str
    layer: Layer


@dataclass(frozen=True, slots=True)
class Band:
    """All players by what they do; None or empty where the style or the user has none."""

    drums: Player | None
    bass: Player | None
    comps: tuple[Player, ...]
    melody: Player | None
    effects: bool

    @property
    def everyone(self) -> tuple[Player, ...]:
        return tuple(p for p in (self.drums, self.bass, *self.comps, self.melody) if p is not None)


def gather(plan: SongPlan, style: Style) -> Band:
    """The band for a plan. With an empty instrumentation it is the style's own; otherwise the plan names
    the roles: an instrument we know takes the part, a role that is not listed is silent, a role the style
    lacks gets a plain part."""
    if not plan.instrumentation:
        return _style_band(style)
    wanted: dict[str, list[InstrumentInfo | None]] = {}
    for item in plan.instrumentation:
        role = "melody" if item.role in _TUNE_ROLES else item.role
        wanted.setdefault(role, []).append(find_instrument(item.instrument))
    return Band(
        _drums(style, wanted.get("drums")),
        _bass(style, wanted.get("bass")),
        tuple(_comps(style, wanted)),
        _melody(style, wanted.get("melody")),
        style.risers or "effects" in wanted,
    )


def _style_band(style: Style) -> Band:
    drums = Player("drums", "drums", style.drums.kit, style.drums) if style.drums else None
    comps = tuple(Player(c.id, c.role, c.instrument, c) for c in style.comps)
    melody = Player("melody", "melody", style.melody.instrument, style.melody)
    return Band(drums, Player("bass", "bass", style.bass.instrument, style.bass), comps, melody, style.risers)


def _drums(style: Style, wanted: Sequence[InstrumentInfo | None] | None) -> Player | None:
    if not wanted:
        return None
    named = next((i for i in wanted if i and i.family == "drums"), None)
    layer = style.drums
    if layer is None:
        kit = named.id if named else "kit_acoustic"
        layer = Drums(kit=kit, levels=_GENERIC_GROOVES, fills=_GENERIC_FILLS, mix=PartMix(loudness=-3))
    return Player("drums", "drums", named.id if named else layer.kit, layer)


def _bass(style: Style, wanted: Sequence[InstrumentInfo | None] | None) -> Player | None:
    if not wanted:
        return None
    named = next((i for i in wanted if i and i.family not in ("drums", "effects")), None)
    if named is None or named.id == style.bass.instrument:
        return Player("bass", "bass", style.bass.instrument, style.bass)
    low, high = _register(style.bass.low, style.bass.high, named)
    layer = style.bass.model_copy(update={"low": low, "high": high, "instrument": named.id})
    return Player("bass", "bass", named.id, layer)


def _comps(style: Style, wanted: dict[str, list[InstrumentInfo | None]]) -> list[Player]:
    players: list[Player] = []
    for role in ("chords", "pad", "arpeggio", "counter"):
        asked = [i for i in wanted.get(role, []) if i is None or i.family not in ("drums", "effects")]
        own = [c for c in style.comps if c.role == role]
        # An instrument that the style has itself keeps its part; the others share what is left.
        kept = {c.id: i for i in asked if i for c in own if c.instrument == i.id}
        spare = [c for c in own if c.id not in kept]
        players += [Player(c.id, role, c.instrument, c) for c in own if c.id in kept]
        left = [i for i in asked if i is None or i.id not in {c.instrument for c in own if c.id in kept}]
        for n, info in enumerate(left):
            comp = spare[n] if n < len(spare) else _generic(role, n, info)
            if comp is not None:
                players.append(_recast(comp, info))
    order = {c.id: n for n, c in enumerate(style.comps)}
    return sorted(players, key=lambda p: order.get(p.id, len(order)))


def _generic(role: str, number: int, info: InstrumentInfo | None) -> Comp | None:
    if info is None:
        return None  # neither the style nor we know what it would be
    data = _GENERIC_COMPS[role]
    return Comp(id=f"{role}_{number + 1}_added", role=role, instrument=info.id, mix=_GENERIC_MIX, **data)


def _recast(comp: Comp, info: InstrumentInfo | None) -> Player:
    if info is None:
        return Player(comp.id, comp.role, comp.instrument, comp)
    low, high = _register(comp.low, comp.high, info)
    layer = comp.model_copy(update={"low": low, "high": high, "instrument": info.id})
    return Player(comp.id, comp.role, info.id, layer)


def _melody(style: Style, wanted: Sequence[InstrumentInfo | None] | None) -> Player | None:
    if not wanted:
        return None
    named = next((i for i in wanted if i and i.family not in ("drums", "effects")), None)
    if named is None or named.id == style.melody.instrument:
        return Player("melody", "melody", style.melody.instrument, style.melody)
    low, high = _register(style.melody.low, style.melody.high, named)
    update = {"low": low, "high": high, "instrument": named.id}
    if style.melody.chorus_instrument == named.id:
        update["chorus_instrument"] = None
    return Player("melody", "melody", named.id, style.melody.model_copy(update=update))


def _register(low: int, high: int, info: InstrumentInfo) -> tuple[int, int]:
    """A register moved by octaves, then trimmed, to where the instrument sounds well."""
    while low < info.low and high + 12 <= info.high:
        low, high = low + 12, high + 12
    while high > info.high and low - 12 >= info.low:
        low, high = low - 12, high - 12
    low, high = max(low, info.low), min(high, info.high)
    return (low, high) if high - low >= 10 else (max(info.low, high - 12), high)


# Families that sound only while a note is held; the others ring by themselves.
_HELD = frozenset({"organ", "bass", "lead", "pad", "strings", "voice", "brass", "wind"})
_PLUCKED_BASSES = frozenset({"upright_bass", "electric_bass", "sub_bass"})  # these decay by themselves
_HELD_SHARE = 0.65  # of the ring-out, so that the song ends with the decay of the room


def ringing(instrument: str, length: float) -> float:
    """How long the last note of an instrument is held when `length` quarters are left."""
    held = INSTRUMENTS[instrument].family in _HELD and instrument not in _PLUCKED_BASSES
    return length * (_HELD_SHARE if held else 1.0)


def instrument_range(instrument: str) -> tuple[int, int]:
    """Lowest and highest MIDI note of an instrument."""
    info = INSTRUMENTS[instrument]
    return info.low, info.high
