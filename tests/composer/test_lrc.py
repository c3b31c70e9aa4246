"""The LRC file: every line and word at its time."""

from __future__ import annotations

import re

from arranged import plan_for, score_for

from tonewheel.composer.arrange import arrange
from tonewheel.composer.lrc import to_lrc

LINE = re.compile(r"^\[(\d\d):(\d\d\.\d\d)\] (.*)$")
WORD = re.compile(r"<(\d\d):(\d\d\.\d\d)>\s?([^<]*)")


def seconds(minutes: str, rest: str) -> float:
    return int(minutes) * 60 + float(rest)


def test_each_line_has_its_time_and_each_word_too() -> None:
    plan = plan_for("rock", duration_s=120)
    score = arrange(plan)
    rows = to_lrc(score).splitlines()
    assert rows[:3] == ["[ti:Lanterns on the Water]", "[length:02:00]", "[re:Tonewheel]"]
    sung = [m for row in rows[3:] if (m := LINE.match(row))]
    lines = [line for s in plan.sections for line in s.lyrics]
    assert len(sung) == len(rows) - 3 == len(lines)
    before = 0.0
    for match, line in zip(sung, lines, strict=True):
        start = seconds(match[1], match[2])
        words = [(seconds(m, s), text.strip()) for m, s, text in WORD.findall(match[3])]
        assert " ".join(text for _, text in words if text) == line
        times = [t for t, _ in words]
        assert times[0] == start >= before
        assert times == sorted(times)
        assert times[-1] <= plan.duration_s
        before = start
    first = score.syllables[0].start * score.quarter_s
    assert abs(seconds(sung[0][1], sung[0][2]) - first) < 0.011


def test_an_instrumental_has_headers_only() -> None:
    assert to_lrc(arrange(plan_for("rock", sung=False))).splitlines()[-1] == "[re:Tonewheel]"


def test_minutes_go_on_counting() -> None:
    score = score_for("folk", duration_s=600)
    text = to_lrc(score)
    assert "[length:10:00]" in text
    assert re.search(r"^\[09:", text, re.MULTILINE) or re.search(r"^\[08:", text, re.MULTILINE)
