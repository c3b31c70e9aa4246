"""The commands: what a person and what a program sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tonewheel.fleet.client import Fleet

Run = Callable[..., Any]  # tests/conftest.py: code, out, err


def test_models_lists_every_model_with_state_size_and_licence(tonewheel: Run, data_dir: Path) -> None:
    shown = tonewheel("models")
    assert shown.code == 0
    (line,) = (li for li in shown.out.splitlines() if li.startswith("composer"))
    assert "built-in" in line and "Apache-2.0" in line
    listed = {m["id"]: m for m in json.loads(tonewheel("models", "--json").out)["models"]}
    assert {"composer", "jen1", "one"} <= set(listed)
    assert listed["composer"]["state"] == "built-in" and listed["composer"]["weight_license"] is None


def test_a_model_is_shown_in_full_and_an_unknown_one_is_the_users_mistake(tonewheel: Run, data_dir: Path) -> None:
    assert "44100 Hz" in tonewheel("show", "composer").out
    assert json.loads(tonewheel("models", "composer", "--json").out)["concurrency"] == 1
    wrong = tonewheel("show", "composr")
    assert wrong.code == 2 and "did you mean composer" in wrong.err


def test_ps_shows_what_runs_and_stop_ends_it(tonewheel: Run, fleet: Fleet) -> None:
    assert json.loads(tonewheel("ps", "--json").out)["models"] == []
    pid = fleet.call("one", {}, keep_alive="5m").fields["pid"]
    (running,) = json.loads(tonewheel("ps", "--json").out)["models"]
    assert (running["model"], running["pid"], running["state"], running["busy"]) == ("one", pid, "ready", False)
    assert running["memory_bytes"] > 1e7 and 200 < running["ends_in_s"] <= 300 and running["device"] == "cpu"
    assert str(pid) in tonewheel("ps").out
    assert json.loads(tonewheel("models", "one", "--json").out)["state"] == "running"
    assert "one has ended" in tonewheel("stop", "one").out
    assert "was not running" in tonewheel("stop", "one").out


def test_a_failed_model_is_shown_with_its_last_words(tonewheel: Run, fleet: Fleet) -> None:
    with pytest.raises(Exception, match="mouldy"):
        fleet.call("crashes-loading", {})
    shown = json.loads(tonewheel("show", "crashes-loading", "--json").out)
    assert shown["state"] == "failed" and "the weights are mouldy" in "\n".join(shown["last_words"])


def test_built_in_models_are_neither_pulled_nor_removed(tonewheel: Run, data_dir: Path) -> None:
    for command in ("pull", "rm"):
        answer = tonewheel(command, "composer")
        assert answer.code == 2 and "built in" in answer.err
