"""A message names what was typed: the option, not the field of a request that it fills."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("song", "Rain", "--duration", "5"), "--duration: must be at least 10, not 5"),
        (("plan", "Rain", "-d", "900"), "--duration: must be at most 600, not 900"),
        (("plan", "Rain", *("-m", "sad") * 5), "--mood: must have at most 4 entries, not 5"),
        (("plan", "Rain", "--seed", "-1"), "--seed: must be at least 0, not -1"),
        (("generate", "Rain", "--guidance", "0.5"), "--guidance: must be at least 1, not 0.5"),
        (
            ("generate", "Rain", "--model", "ace-step-turbo", "--set", "bpm=x"),
            "--set bpm: write a whole number, not 'x'",
        ),
    ],
)
def test_a_value_out_of_range_is_told_by_its_option(tonewheel: Callable, arguments: tuple[str, ...], said: str) -> None:
    ran = tonewheel(*arguments)
    assert (ran.code, ran.err.strip()) == (2, f"tonewheel: {said}")


def test_an_argument_and_the_fields_of_a_plan_keep_their_names(tonewheel: Callable, tmp_path: Path) -> None:
    ran = tonewheel("plan", "x" * 5000)
    assert ran.code == 2
    assert "narrative" in ran.err
    assert "--" not in ran.err
    (tmp_path / "p.yaml").write_text("title: Rain\nduration_s: 5\n")
    ran = tonewheel("compose", "p.yaml", "--seed", "1")
    assert ran.code == 2
    assert "p.yaml" in ran.err
    assert "--" not in ran.err


def test_a_misspelt_field_is_told_before_the_one_it_leaves_missing(tonewheel: Callable, tmp_path: Path) -> None:
    assert tonewheel("plan", "Rain", "-o", "p.yaml").code == 0
    text = (tmp_path / "p.yaml").read_text()
    (tmp_path / "q.yaml").write_text(text.replace("title:", "titel:", 1))
    ran = tonewheel("compose", "q.yaml")
    assert ran.code == 2
    assert "titel: unknown field: did you mean title" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compose", "rain.mp3"), "tonewheel song --from rain.mp3"),
        (("song", "Rain", "-o", "."), "'.' is a folder: name a file in it"),
    ],
)
def test_what_was_given_in_the_wrong_place_is_told_what_to_do_with(
    tonewheel: Callable, arguments: tuple[str, ...], said: str
) -> None:
    ran = tonewheel(*arguments)
    assert ran.code == 2
    assert said in ran.err
