"""Lyrics for a whole song from a narrative, without a language model.

A verse is a ballad stanza: lines 1 and 3 are clauses of the narrative, lines 2 and 4 a couplet. The
chorus sets the hook, which is the title, into a frame and is the same each time. Pre-chorus and bridge
are couplets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tonewheel.seeds import stream
from tonewheel.songs.lyrics.clauses import Clause, clauses, clean
from tonewheel.songs.lyrics.couplets import MOODS, CoupletChooser
from tonewheel.songs.lyrics.frames import FrameChooser, bank_title
from tonewheel.songs.lyrics.hooks import MAX_TITLE, Hook, as_hook, find_hook, own_hook
from tonewheel.songs.syllables import count_syllables

_MAX_LINE = 300  # of a song plan
_STANZA = 4
_DEFAULT_MOODS = ("hopeful", "nostalgic")  # a song without a mood keeps to one of its own
_LONGEST_SUNG_HOOK = 9  # syllables; a longer title is not sung whole

# Clauses among the last 0 to 3 lines of a verse. Two lines are the story's own; three end in a couplet.
_REST_CLAUSES = (0, 1, 2, 1)

Slot = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Lyrics:
    """The title and the lines of each section, by section id."""

    title: str
    lines: dict[str, tuple[str, ...]]


def write_lyrics(
    narrative: str,
    slots: Sequence[Slot],
    moods: Sequence[str],
    themes: Sequence[str],
    seed: int,
    title: str | None = None,
) -> Lyrics:
    """Title and lines for the sections of a song.

    A slot is (section id, role, number of lines); moods and themes come best first, and names that are
    not in `MOODS` and `THEMES` carry no weight. Lines are at most 300 characters without control
    characters; each slot gets exactly its number. The result is a function of the arguments alone.
    """
    moods = [m for m in moods if m in MOODS] or list(_DEFAULT_MOODS)
    hook = _hook(narrative, moods, themes, seed, title)
    song = _Song(narrative, slots, moods, themes, seed, hook)
    return Lyrics(hook.title, {slot[0]: tuple(_fits(line) for line in song.section(slot)) for slot in slots})


def hook_of(narrative: str, seed: int) -> str:
    """The title of a song: the best phrase of the narrative, else one of our own."""
    return _hook(narrative, _DEFAULT_MOODS, (), seed, None).title


def _hook(narrative: str, moods: Sequence[str], themes: Sequence[str], seed: int, title: str | None) -> Hook:
    given = clean(title or "", MAX_TITLE)
    if given and count_syllables(given) <= _LONGEST_SUNG_HOOK:
        return Hook(given, as_hook(given, narrative).sung)
    found = find_hook(narrative, seed)
    if found is None:
        found = own_hook(bank_title(moods, themes, stream(seed, "lyrics", "title", narrative)))
    return Hook(given, found.sung) if given else found


def _fits(line: str) -> str:
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE].rsplit(" ", 1)[0]


class _Song:
    """The state of one song being written: what has been sung already."""

    def __init__(
        self, narrative: str, slots: Sequence[Slot], moods: Sequence[str], themes: Sequence[str], seed: int, hook: Hook
    ) -> None:
        self._hook = hook.sung
        self._couplets = CoupletChooser(moods, themes, narrative, stream(seed, "lyrics", "couplets", narrative))
        self._frames = FrameChooser(moods, stream(seed, "lyrics", "frames", narrative))
        need = sum(_clause_lines(n) for _, role, n in slots if role == "verse")
        found = clauses(narrative)
        if len(found) < need:
            found = max(found, clauses(narrative, fine=True), key=len)
        self._clauses = _spread(found, need, seed, narrative)
        self._mean = sum(c.syllables for c in self._clauses) / len(self._clauses) if self._clauses else 7.5
        self._choruses: dict[int, list[str]] = {}
        self._chorus_lengths = sorted({max(0, n) for _, role, n in slots if role == "chorus"})

    def section(self, slot: Slot) -> list[str]:
        _, role, count = slot
        if count <= 0:
            return []
        if role == "verse":
            return self._verse(count)
        if role in ("chorus", "drop"):
            return self._chorus(count) if role == "chorus" else self._hooked("tag", count)
        if role in ("intro", "instrumental", "solo", "break", "build"):
            return self._hooked("tag", count)
        if role == "outro":
            return self._hooked("outro", count)
        return self._rhymed(count)

    def _verse(self, count: int) -> list[str]:
        lines: list[str] = []
        while count - len(lines) >= _STANZA:
            lines += self._stanza()
        for _ in range(_REST_CLAUSES[count - len(lines)]):
            if self._clauses:
                lines.append(self._clauses.pop(0).text)
        return lines + self._rhymed(count - len(lines))

    def _stanza(self) -> list[str]:
        """Clause, couplet, clause, couplet; a turn stands in for the second clause, a couplet for both."""
        if not self._clauses:
            return self._rhymed(_STANZA)
        first = self._clauses.pop(0)
        second = self._clauses.pop(0).text if self._clauses else self._turn()
        answer = self._couplets.take(first.syllables, parted=True)
        return [first.text, answer.first, second, answer.second]

    def _turn(self) -> str:
        turn = self._frames.take("turn", 1, self._hook)
        return turn.filled(self._hook)[0] if turn else self._couplets.take(self._mean).first

    def _rhymed(self, count: int) -> list[str]:
        lines: list[str] = []
        while count - len(lines) >= 2:
            lines += self._couplets.take(self._mean).lines
        if len(lines) < count:
            lines.append(self._turn())
        return lines

    def _chorus(self, count: int) -> list[str]:
        """The shortest chorus, word for word the same each time; a longer one goes on from it."""
        for length in self._chorus_lengths:
            if length not in self._choruses:
                shorter = max((n for n in self._choruses if n < length), default=0)
                opening = self._choruses.get(shorter, [])
                self._choruses[length] = opening + self._hooked("chorus", length - shorter)
        return list(self._choruses[count])

    def _hooked(self, kind: str, count: int) -> list[str]:
        """`count` lines of frames of a kind, the longest frames first, closed by the hook alone."""
        lines: list[str] = []
        while len(lines) < count:
            rest = count - len(lines)
            sizes = [n for n in (4, 2, 1) if n <= rest]
            found = (
                frame for n in sizes for k in (kind, "chorus", "tag") if (frame := self._frames.take(k, n, self._hook))
            )
            frame = next(found)
            lines += frame.filled(self._hook)
        return lines


def _clause_lines(count: int) -> int:
    """How many lines of a verse are clauses of the narrative."""
    stanzas, rest = divmod(max(0, count), _STANZA)
    return 2 * stanzas + _REST_CLAUSES[rest]


def _spread(found: Sequence[Clause], need: int, seed: int, narrative: str) -> list[Clause]:
    """At most `need` clauses in the order of the story: its whole arc, the best of each stretch."""
    if len(found) <= need:
        return list(found)
    rng = stream(seed, "lyrics", "clauses", narrative)
    out: list[Clause] = []
    for k in range(need):
        stretch = found[k * len(found) // need : (k + 1) * len(found) // need]
        out.append(min(stretch, key=lambda c: c.cost + 1.5 * rng.random()))
    return out
