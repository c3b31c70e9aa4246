"""Score → LRC: lyrics with the time of each line and, in angle brackets, of each word."""

from __future__ import annotations

from tonewheel.composer.score import Score, SungSyllable


def to_lrc(score: Score) -> str:
    """The enhanced LRC text; headers alone for an instrumental."""
    rows = [f"[ti:{score.title}]", f"[length:{_clock(score.duration_s)}]", "[re:Tonewheel]"]
    for line in _lines(score.syllables):
        words = _words(line)
        start = words[0][0] * score.quarter_s
        timed = " ".join(f"<{_stamp(at * score.quarter_s)}> {text}" for at, text in words)
        end = (line[-1].start + line[-1].duration) * score.quarter_s
        rows.append(f"[{_stamp(start)}] {timed} <{_stamp(end)}>")
    return "\n".join(rows) + "\n"


def _lines(syllables: tuple[SungSyllable, ...]) -> list[list[SungSyllable]]:
    lines: list[list[SungSyllable]] = []
    for s in syllables:
        if s.line_start or not lines:
            lines.append([])
        lines[-1].append(s)
    return lines


def _words(line: list[SungSyllable]) -> list[tuple[float, str]]:
    """Start in quarters and text of each word."""
    words: list[tuple[float, str]] = []
    for s in line:
        if s.word_start or not words:
            words.append((s.start, s.text))
        else:
            words[-1] = (words[-1][0], words[-1][1] + s.text)
    return words


def _stamp(seconds: float) -> str:
    """mm:ss.xx"""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
