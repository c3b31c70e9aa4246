"""What sets the shipped styles apart: no two share what they are known by, and each has the sign of its genre."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations

from tonewheel.styles.library import styles
from tonewheel.styles.schema import Groove, Level


def test_no_two_styles_share_a_groove() -> None:
    seen: dict[str, str] = {}
    for style in styles().values():
        assert style.drums
        for group in style.drums.levels.values():
            for groove in group:
                text = json.dumps(groove, sort_keys=True)
                assert seen.setdefault(text, style.id) == style.id, groove


def test_no_two_styles_have_the_same_band() -> None:
    bands = {
        s.id: (s.melody.instrument, s.melody.chorus_instrument, s.bass.instrument, s.drums and s.drums.kit)
        for s in styles().values()
    }
    for (a, band), (b, other) in combinations(bands.items(), 2):
        assert band != other, (a, b)


def test_keywords_point_to_one_style() -> None:
    count = Counter(k for s in styles().values() for k in s.keywords)
    assert [k for k, n in count.items() if n > 1] == []


def test_names_point_to_one_style() -> None:
    names: dict[str, str] = {}
    for style in styles().values():
        for name in {re.sub(r"[-_ ]+", " ", n.casefold()) for n in (style.id, style.title, *style.aliases)}:
            assert names.setdefault(name, style.id) == style.id


def _has(groove: Groove, voice: str, step: int) -> bool:
    row = groove.get(voice, "")
    return len(row) > step and row[step] != "."


def _grooves(name: str, *levels: Level) -> list[Groove]:
    drums = styles()[name].drums
    assert drums
    return [g for level in levels for g in drums.levels[level]]


def test_house_has_four_on_the_floor_and_hats_between() -> None:
    for groove in _grooves("house", "low", "mid", "high"):
        assert all(_has(groove, "kick", s) for s in (0, 4, 8, 12))
    assert all(_has(g, "open", 2) or _has(g, "ride", 2) for g in _grooves("house", "mid", "high"))


def test_reggae_drops_the_one() -> None:
    for groove in _grooves("reggae", "low", "mid"):
        assert not _has(groove, "kick", 0)
    skank = next(c for c in styles()["reggae"].comps if c.id == "skank")
    assert all(row[0] == "." and row[2] != "." for g in skank.levels.values() for row in g)


def test_trap_is_half_time_and_rolls() -> None:
    backbeat = ("snare", "clap", "snap", "rim")
    for groove in _grooves("trap", "low", "mid", "high"):
        assert any(_has(groove, v, 8) for v in backbeat)
        assert not any(_has(groove, v, 4) for v in backbeat)
    rolls = [g for g in _grooves("trap", "mid", "high") if re.search("[1-9]{4}", g.get("hat", ""))]
    assert len(rolls) >= 4


def test_drum_and_bass_breaks_its_beat() -> None:
    assert styles()["drum-and-bass"].tempo.min >= 165
    for groove in _grooves("drum-and-bass", "mid", "high"):
        assert _has(groove, "kick", 0)
        assert _has(groove, "snare", 4)
        assert any(_has(groove, "kick", s) for s in (9, 10, 11))


def test_the_waltz_goes_in_three() -> None:
    waltz = styles()["waltz"]
    assert waltz.time_signature == "3/4"
    assert all(s.time_signature == "4/4" for s in styles().values() if s.id != "waltz")
    for row in waltz.bass.levels["mid"]:
        assert row[0] == "R"  # oom on one, pah-pah on two and three
    pah = next(c for c in waltz.comps if c.id == "pah")
    assert all(row[4] in "xXh" and row[8] in "xXh" for lv in ("mid", "high") for row in pah.levels[lv])


def test_bossa_nova_has_its_clave_and_its_surdo() -> None:
    mid = _grooves("bossa-nova", "mid", "high")
    assert all(all(_has(g, "kick", s) for s in (0, 6, 8, 14)) for g in mid)
    clave = ["6.....6.....6.......6.....6.....", "7.....7.....7.......7.....7....."]
    assert any(g.get("rim") in clave for g in mid)


def test_swing_is_where_it_belongs() -> None:
    swung = {s.id for s in styles().values() if s.swing > 0.55}
    assert swung == {"lofi-hip-hop", "jazz-ballad", "reggae", "soul-organ"}
    assert styles()["jazz-ballad"].swing_steps == 8
    assert styles()["lofi-hip-hop"].swing_steps == 16


def test_the_house_organ_leads_the_house_band() -> None:
    assert styles()["soul-organ"].melody.instrument == "drawbar_organ"
