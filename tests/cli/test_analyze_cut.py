"""`tonewheel analyze` of files that were cut off or damaged: our words, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tonewheel.audio.formats import FORMATS
from tonewheel.audio.write import encode

RATE = 44_100
TONE = np.stack([np.sin(2 * np.pi * 220 * np.arange(4 * RATE) / RATE)] * 2, axis=1).astype(np.float32) * 0.3
THEIRS = ("Format not recognised", "internal error", "decoder", "malformed", "chunk marker", "does not exist")


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_cut_anywhere_is_told_in_our_words(tonewheel: Callable[..., Any], tmp_path: Path, ending: str) -> None:
    whole = encode(TONE, RATE, ending)  # type: ignore[arg-type]
    for size in (3, 40, 200, 1000, 3000, len(whole) // 2):
        (tmp_path / f"cut.{ending}").write_bytes(whole[:size])
        ran = tonewheel("analyze", f"cut.{ending}", "--json")
        told = json.loads(ran.out)[0]
        if ran.code == 0:
            said = told["findings"][0]["message"]
            assert said == "it is cut off: the file ends before the length it tells"
        else:
            said = told["error"]["message"]
            assert ran.code == 2
            assert "cut off" in said or "beginning is missing" in said or "no samples" in said
        assert not any(words in said for words in THEIRS), said


def test_a_whole_file_is_not_called_cut_off(tonewheel: Callable[..., Any], tmp_path: Path) -> None:
    names = [f"whole.{ending}" for ending in FORMATS]
    for name in names:
        (tmp_path / name).write_bytes(encode(TONE, RATE, name.rpartition(".")[2]))  # type: ignore[arg-type]
    ran = tonewheel("analyze", *names)
    assert ran.code == 0
    assert "cut off" not in ran.out
