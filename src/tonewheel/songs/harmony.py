"""Chords for a form: the style's progressions in a key, one entry a bar, with endings that end.

A song keeps one progression for its verses and another for its choruses, as songs do. Within a section of
eight bars or more the loop is not simply repeated: its second half turns elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from tonewheel.seeds import stream
from tonewheel.songs.forms import FormSection, kind_of
from tonewheel.songs.resources import data
from tonewheel.styles.schema import Style
from tonewheel.theory import Chord, Key, bar_chords, roman_chord

# Where a kind of section borrows from when the style has no progression for it.
_BORROWS: dict[str, tuple[str, ...]] = {
    "intro": ("verse",),
    "verse": (),
    "pre-chorus": ("bridge", "verse"),
    "chorus": (),
    "bridge": ("pre-chorus", "verse"),
    "instrumental": ("chorus", "verse"),
    "outro": ("intro", "chorus"),
}
# Qualities a song may come to rest on.
_RESTFUL = frozenset(
    {"", "m", "5", "6", "m6", "6/9", "maj7", "m7", "maj9", "m9", "add9", "madd9", "sus2", "m11", "maj13"}
)

_Bars = tuple[str, ...]
_Kinds = dict[str, list[_Bars]]


def progressions(style: Style, mode: str) -> _Kinds:
    """The style's progressions of a mode; plain ones where the style has none for it."""
    own = style.progressions.get(mode)
    if own and own.get("verse") and own.get("chorus"):
        return own
    return {kind: [tuple(bars) for bars in rows] for kind, rows in data("progressions")[mode].items()}


def _period(bars: _Bars) -> _Bars:
    """The shortest loop that bars repeat."""
    for size in range(1, len(bars)):
        if len(bars) % size == 0 and bars[:size] * (len(bars) // size) == bars:
            return bars[:size]
    return bars


class Harmony:
    """The chords of one song. Deterministic by `seed`; ask for sections in any order."""

    def __init__(self, style: Style, key: Key, seed: int) -> None:
        self.key = key
        self._kinds = progressions(style, key.mode)
        self._seed = seed
        self._home = self._pick("chorus", self._kinds["chorus"], avoid=())
        self._chosen: dict[str, _Bars] = {"chorus": self._home}

    def of_song(self, sections: Sequence[FormSection]) -> list[tuple[str, ...]]:
        """Chord symbols of every section, one entry a bar; the last bar is the tonic, ringing."""
        bars = [self.section(s, sections[:i]) for i, s in enumerate(sections)]
        return [tuple(self._spell(bar) for bar in section) for section in self._ended(bars)]

    def section(self, section: FormSection, before: Sequence[FormSection] = ()) -> list[str]:
        """Roman numerals of a section, one entry a bar."""
        kind = kind_of(section.role)
        loop = _period(self._loop(kind))
        out = [loop[i % len(loop)] for i in range(section.bars)]
        if section.bars >= 8 and len(loop) <= section.bars // 2:
            returns = sum(s.role == section.role for s in before)
            step = max(8, 2 * len(loop))
            for end in range(step, section.bars + 1, step):
                out[end - 2 : end] = self._turn(kind, loop, end // step + returns)
        return out

    def _loop(self, kind: str) -> _Bars:
        if kind not in self._chosen:
            shared = {"intro": "verse", "outro": "verse", "instrumental": "chorus"}.get(kind)
            if shared and not self._kinds.get(kind):
                return self._loop(shared)
            taken = (self._loop("verse"), self._home) if kind != "verse" else (self._home,)
            self._chosen[kind] = self._pick(kind, self._alternatives(kind), avoid=taken)
        return self._chosen[kind]

    def _alternatives(self, kind: str) -> list[_Bars]:
        for source in (kind, *_BORROWS[kind]):
            if self._kinds.get(source):
                return self._kinds[source]
        return self._kinds["verse"]

    def _pick(self, kind: str, alternatives: Sequence[_Bars], avoid: tuple[_Bars, ...]) -> _Bars:
        rng = self._rng("loop", kind)
        fresh = [bars for bars in alternatives if bars not in avoid] or list(alternatives)
        return rng.choice(fresh)

    def _turn(self, kind: str, loop: _Bars, which: int) -> list[str]:
        """Two bars that end a second half differently from the loop's own two last."""
        own = list(loop[-2:])
        for source in (self._alternatives(kind), [bars for k in sorted(self._kinds) for bars in self._kinds[k]]):
            tails = [t for bars in source if len(bars) >= 2 and (t := list(bars[-2:])) != own]
            # A turn that rests on the tonic, or does not move, is second choice: it would stop the song.
            lively = [t for t in tails if t[-1] != own[-1] and t[0] != t[1] and not self._is_tonic(t[-1])]
            if lively or tails:
                return self._rng("turn", kind, str(which)).choice(lively or tails)
        return own[::-1]

    def _cadence(self) -> list[str]:
        rows = self._kinds.get("cadence") or [("V", "I") if not self.key.is_minor else ("v", "i")]
        return list(self._rng("cadence").choice(rows))

    def _ended(self, sections: list[list[str]]) -> list[list[str]]:
        """The song's last bars: what leads home, then home."""
        lead = [bar for bar in self._cadence() if not self._is_tonic(bar)][-2:]
        flat = [bar for section in sections for bar in section]
        lead = lead[-1:] if len(flat) < 8 else lead
        if len(flat) > len(lead) + 1:
            flat[-1 - len(lead) : -1] = lead
        flat[-1] = self._tonic()
        out, start = [], 0
        for section in sections:
            out.append(flat[start : start + len(section)])
            start += len(section)
        return out

    def _is_tonic(self, bar: str) -> bool:
        return roman_chord(bar_chords(bar)[-1], self.key).root == self.key.tonic

    def _tonic(self) -> str:
        """The style's own chord of rest: of its cadence if that ends there, else of its loops."""
        cadence = self._cadence()
        bars = [cadence[-1], *self._home, *self._loop("verse")]
        for numeral in (n for bar in bars for n in reversed(bar_chords(bar))):
            chord = roman_chord(numeral, self.key)
            if self._rests(chord):
                return numeral
        return "i" if self.key.is_minor else "I"

    def _rests(self, chord: Chord) -> bool:
        at_home = chord.root == chord.bass == self.key.tonic
        return at_home and chord.quality in _RESTFUL and chord.is_minor == self.key.is_minor

    def _spell(self, bar: str) -> str:
        return "|".join(roman_chord(n, self.key).symbol(self.key.names) for n in bar_chords(bar))

    def _rng(self, *names: str) -> random.Random:
        return stream(self._seed, "harmony", *names)
