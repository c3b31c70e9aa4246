"""Plans go to text and back unchanged, and a wrong file is told in one line where it is wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tonewheel.errors import InvalidPlan, TonewheelError
from tonewheel.songs.files import MAX_BYTES, dump_plan, load_plan, parse_plan
from tonewheel.songs.plan import SongPlan, role_of_label
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.songs.schema import SCHEMA_PATH, schema_text


@pytest.fixture(scope="module")
def made() -> SongPlan:
    return make_plan(plan_request(narrative="Robots dance in the rain: yes # no\n- [x] {y}", seed=5, duration_s=47.3))


@pytest.fixture
def value(made: SongPlan) -> dict[str, Any]:
    return copy.deepcopy(made.to_dict())


def lines_of(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c in "\u200d\u200c\ufeff\u0085").strip() or "x"


line = st.text(max_size=60).map(lines_of)
chord = st.sampled_from(["C", "Am7", "F#m7b5", "Bb/D", "C|G", "Gsus4 | G"])
section = st.fixed_dictionaries(
    {
        "label": line.map(lambda t: t[:80]),
        "duration_s": st.floats(0.5, 90),
        "energy": st.floats(0, 1),
        "lyrics": st.lists(line, max_size=4),
        "chords": st.lists(chord, max_size=6),
        "positive_styles": st.lists(line, max_size=2),
        "negative_styles": st.lists(line, max_size=2),
    }
)


@st.composite
def plans(draw: st.DrawFn) -> SongPlan:
    sections = draw(st.lists(section, min_size=1, max_size=6))
    total = sum(s["duration_s"] for s in sections)
    stretch = max(1.0, 10.5 / total)
    for i, s in enumerate(sections):
        s |= {"id": f"part-{i}", "duration_s": s["duration_s"] * stretch}
    return SongPlan.model_validate(
        {
            "title": draw(line)[:80],
            "genre": draw(line)[:80],
            "moods": draw(st.lists(line.map(lambda t: t[:80]), max_size=3)),
            "tempo": draw(st.floats(30, 300)),
            "time_signature": draw(st.sampled_from(["4/4", "3/4", "6/8", "7/8"])),
            "key": draw(st.sampled_from(["A minor", "Eb major", "F# dorian"])),
            "instrumentation": [{"instrument": draw(line)[:80], "role": "lead"}],
            "duration_s": sum(s["duration_s"] for s in sections),
            "sections": sections,
            "seed": draw(st.integers(0, 2**63 - 1)),
            "language": draw(st.sampled_from(["en", "pt-BR", "no", "und"])),
            "narrative": draw(st.none() | line | st.text(max_size=60)),
            "planner": draw(st.none() | st.just("template")),
            "notes": draw(st.lists(line, max_size=2)),
        }
    )


@given(plans(), st.sampled_from(["json", "yaml"]))
@settings(max_examples=80, deadline=None)
def test_every_plan_goes_to_text_and_back_unchanged(plan: SongPlan, fmt: Any) -> None:
    text = dump_plan(plan, fmt)
    assert parse_plan(text, fmt) == plan
    assert parse_plan(text) == plan


def test_a_file_is_read_by_its_ending_or_its_looks(made: SongPlan, tmp_path: Path) -> None:
    for name, fmt in (
        ("a.json", "json"),
        ("a.yaml", "yaml"),
        ("a.yml", "yaml"),
        ("a.plan", "json"),
        ("b.plan", "yaml"),
    ):
        path = tmp_path / name
        path.write_text(dump_plan(made, fmt), encoding="utf-8")  # type: ignore[arg-type]
        assert load_plan(path) == made
    bom = tmp_path / "bom.json"
    bom.write_bytes(b"\xef\xbb\xbf" + dump_plan(made).encode())
    assert load_plan(bom) == made


def test_a_plan_edited_by_hand_loads(made: SongPlan) -> None:
    text = """
title: Two bars
genre: folk
tempo: 120
key: Am
duration_s: 16
seed: 1
sections:
  - {id: a, label: Verse, duration_s: 8, chords: &loop [Am, F, C, G], lyrics: [Hello there]}
  - {id: b, label: Chorus, duration_s: 8, chords: *loop}
"""
    plan = parse_plan(text)
    assert plan.key == "A minor"
    assert plan.sections[1].chords == ("Am", "F", "C", "G")


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"tempo": "fast"}, "tempo: write a number"),
    ({"tempo": 500}, "tempo: must be at most 300"),
    ({"key": "Z"}, "key: key 'Z' cannot be read"),
    ({"titel": "x"}, "titel: unknown field: did you mean title"),
    ({"duration_s": 99}, "the sections last 47.30 s but duration_s is 99.00 s"),
    ({"sections": []}, "sections: must have at least 1"),
    ({"seed": -1}, "seed: must be at least 0"),
    ({"language": "no way"}, "language: write a BCP 47 code"),
    ({"time_signature": "13/4"}, "time_signature: write 2-12 beats"),
    ({"instrumentation": [{"instrument": "x", "role": "king"}]}, "instrumentation[0].role: must be 'drums'"),
    ({"title": "\ud800"}, "title: write valid Unicode"),
    ({"title": "a\nb"}, "title: must be one line"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_a_contradictory_plan_names_the_field_and_the_fault(
    value: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidPlan) as refused:
        parse_plan(json.dumps(value | change), where="plan song.json")
    assert refused.value.message.startswith("plan song.json: ")
    assert said in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chords": ["C", "H7"]}, "sections[0].chords: bar 2: chord 'H7'"),
        ({"lyrics": ["a\nb"]}, "sections[0].lyrics[0]: must be one line"),
        ({"energy": 2}, "sections[0].energy: must be at most 1"),
        ({"positive_style": []}, "sections[0].positive_style: unknown field: did you mean positive_styles"),
        ({"duration_s": -1}, "sections[0].duration_s: must be more than 0"),
        ({"id": "a b"}, "sections[0].id: may hold letters"),
    ],
)
def test_a_fault_in_a_section_names_the_section(value: dict[str, Any], change: dict[str, Any], said: str) -> None:
    value["sections"][0] |= change
    with pytest.raises(InvalidPlan) as refused:
        parse_plan(json.dumps(value))
    assert said in refused.value.message


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join([f'*{m}'] * 9)}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("a: 1\na: 2", "line 2: field 'a' is given twice"),
        ("{" * 5000, "nested"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ("- " * 3000, "nested more than"),
        (BOMB, "aliases unfold"),
        ("a: &a [*a]", "refers to itself"),
        ("? [a]\n: b", "a field name must be a word"),
        ("", "is empty"),
        ("just words", "not a mapping"),
        ("[1, 2]", "not a mapping"),
        ('{"tempo": NaN}', "NaN"),
        ('{"tempo": ' + "9" * 5000 + "}", "too long"),
        ('{"title": }', "line 1, column 11"),
        ("a: !!python/object/apply:os.system [x]", "constructor"),
        ("a: 2024-13-45", "cannot be read"),
        ("a: \x00", "not YAML"),
        ("x" * (MAX_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_a_text_that_is_no_plan_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InvalidPlan) as refused:
        parse_plan(text, "json" if text.startswith('{"') else "yaml")
    assert said in refused.value.message
    assert "\n" not in refused.value.message
    assert len(refused.value.message) < 400


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(InvalidPlan, match="does not exist"):
        load_plan(tmp_path / "none.json")
    with pytest.raises(InvalidPlan, match="is a folder"):
        load_plan(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"title: caf\xe9")
    with pytest.raises(InvalidPlan, match="not UTF-8"):
        load_plan(tmp_path / "latin.yaml")
    (tmp_path / "big.json").write_bytes(b" " * (MAX_BYTES + 10))
    with pytest.raises(InvalidPlan, match="larger than 1 MB"):
        load_plan(tmp_path / "big.json")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
junk = st.recursive(scalars, lambda c: st.lists(c, max_size=3) | st.dictionaries(st.text(max_size=6), c, max_size=3))


@given(
    field=st.sampled_from(sorted(SongPlan.model_fields)),
    inner=st.none() | st.sampled_from(["id", "label", "duration_s", "lyrics", "chords"]),
    junk=junk,
)
@settings(max_examples=80, deadline=None)
def test_a_mutated_plan_loads_or_is_refused_by_us(made: SongPlan, field: str, inner: str | None, junk: Any) -> None:
    value = copy.deepcopy(made.to_dict())
    if inner:
        value["sections"][0][inner] = junk
    else:
        value[field] = junk
    try:
        parse_plan(json.dumps(value), "json")
    except TonewheelError as e:
        assert isinstance(e, InvalidPlan)
        assert "\n" not in e.message


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_any_text_is_refused_without_a_traceback(text: str) -> None:
    for fmt in ("json", "yaml"):
        with pytest.raises(InvalidPlan):
            parse_plan(text, fmt)  # type: ignore[arg-type]


def test_the_published_schema_is_that_of_the_plan() -> None:
    root = Path(__file__).parents[2]
    assert (root / SCHEMA_PATH).read_text(encoding="utf-8") == schema_text(), "run: python -m tonewheel.songs.schema"


def test_every_field_of_a_plan_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "song-plan.md").read_text(encoding="utf-8")
    for name in SongPlan.model_fields:
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("label", "role"),
    [
        ("Verse 2", "verse"),
        ("Guitar Solo", "solo"),
        ("Final Chorus", "chorus"),
        ("[inst]", "instrumental"),
        ("Pre-Chorus", "pre-chorus"),
        ("Weekend", None),
        ("Strophe", "verse"),
    ],
)
def test_labels_name_roles_by_any_of_their_words(label: str, role: str | None) -> None:
    assert role_of_label(label) == role
