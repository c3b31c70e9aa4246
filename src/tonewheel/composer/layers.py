"""Who plays when: energy, the words of a section and the shape of the form decide, bar by bar."""

from __future__ import annotations

from dataclasses import dataclass

from tonewheel.composer.players import Band, Player
from tonewheel.composer.sections import Form, Passage, level_of, shifted
from tonewheel.seeds import stream
from tonewheel.styles.schema import Level

_RICH = ("arpeggio", "counter")  # roles that wait for the second half of a first verse
_STEADY = ("chords", "pad")


@dataclass(frozen=True, slots=True)
class Layering:
    """`levels[part id][bar]` is the pattern level of a part in a bar, None where it is silent;
    `stops` are spans in quarters in which drums and bass hold their breath before a lift, with the roles
    that stop."""

    levels: dict[str, tuple[Level | None, ...]]
    stops: tuple[tuple[float, float, tuple[str, ...]], ...]

    def plays(self, part: str, bar: int) -> bool:
        return part in self.levels and self.levels[part][bar] is not None

    def stopped(self, role: str, quarter: float) -> bool:
        return any(role in roles and start - 1e-6 <= quarter < end - 1e-6 for start, end, roles in self.stops)

    def count(self, bar: int) -> int:
        """How many parts play in a bar."""
        return sum(levels[bar] is not None for levels in self.levels.values())


def layer(form: Form, band: Band) -> Layering:
    """The layering of a form for a band."""
    levels: dict[str, list[Level | None]] = {p.id: [None] * form.bars for p in band.everyone}
    for passage in form.passages:
        playing = _players(passage, band)
        for player in band.everyone:
            if player.id not in playing:
                continue
            first, last = _stretch(form, passage, player, playing, band)
            for bar in range(first, min(last, form.played_bars)):
                levels[player.id][bar] = _level(passage, player)
    return Layering({k: tuple(v) for k, v in levels.items()}, tuple(_stops(form, band, levels)))


def _players(passage: Passage, band: Band) -> set[str]:
    chosen = {p.id for p in band.everyone if _enters(passage, p)}
    allowed = [p for p in band.everyone if passage.wishes.allows(p.role, p.instrument)]
    if passage.wishes.only:
        if allowed:
            return {p.id for p in allowed}
        allowed = [p for p in band.everyone if p.role not in passage.wishes.without]
    chosen &= {p.id for p in allowed}
    harmony = [p for p in allowed if p.role in _STEADY] or [p for p in allowed if p.role != "melody"] or allowed
    if harmony and not any(p.id in chosen for p in harmony):
        quietest = min(harmony, key=lambda p: p.layer.enter)
        chosen.add(quietest.id)  # a section is never silent because every threshold is above it
    return chosen


def _enters(passage: Passage, player: Player) -> bool:
    where = player.layer.sections
    if where and passage.kind not in where:
        return False
    if passage.role == "break" and player.role == "drums":
        return False
    # A first chorus or verse is judged a little below its energy, so that the later ones can grow.
    return player.layer.enter <= passage.energy <= player.layer.leave


def _stretch(form: Form, passage: Passage, player: Player, playing: set[str], band: Band) -> tuple[int, int]:
    """First bar and the bar after the last in which a player takes part in a passage."""
    first, last = passage.bar, passage.bar + passage.bars
    half = first + passage.bars // 2
    if passage.bars < 4 or passage.wishes.only:
        return first, last
    others = [p for p in band.comps if p.id in playing and p.role in _STEADY and p.id != player.id]
    if passage.index == 0 and passage.kind == "intro" and others:
        entry = stream(form.seed, "intro").choice(("rhythm", "colour", "rhythm"))
        late = ("drums", "bass") if entry == "rhythm" else (*_RICH, "bass")
        return (half if player.role in late else first), last
    if passage.kind == "verse" and passage.occurrence == 0 and passage.bars >= 8 and player.role in _RICH and others:
        return half, last
    if passage.kind == "outro" and passage.index == len(form.passages) - 1 and player.role in _RICH and others:
        return first, half
    return first, last


def _level(passage: Passage, player: Player) -> Level:
    if player.role == "drums":
        return shifted(passage.level, passage.wishes.drum_shift)
    if player.role in ("pad", "counter") and passage.energy < 0.8 and passage.level == "high":
        return "mid"
    return passage.level


def _stops(form: Form, band: Band, levels: dict[str, list[Level | None]]) -> list[tuple[float, float, tuple[str, ...]]]:
    """Before some lifts the kick and the bass, or everything that beats, leave the last bar or half bar."""
    stops: list[tuple[float, float, tuple[str, ...]]] = []
    for passage, following in zip(form.passages, form.passages[1:], strict=False):
        last = passage.bar + passage.bars - 1
        if not passage.lift or not following.peak or passage.bars < 2 or level_of(following.energy) == "low":
            continue
        if not (band.drums and levels[band.drums.id][last]):
            continue
        end = form.stop(passage)
        rng = stream(form.seed, "stop", passage.index)
        draw = rng.random()
        if draw < 0.3:
            stops.append((end - form.grid.bar, end, ("kick", "bass")))
        elif draw < 0.55:
            stops.append((end - form.grid.bar / 2, end, ("drums", "kick", "bass")))
    return stops
