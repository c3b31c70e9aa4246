"""How long a model is kept, as people write it."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tonewheel.errors import InvalidRequest
from tonewheel.keep_alive import parse_keep_alive


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, 600.0), (0, 0.0), ("0", 0.0), (-1, math.inf), ("-1", math.inf), (-1.0, math.inf), (90, 90.0),
        ("90", 90.0), ("30m", 1800.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1.5h", 5400.0),
        (" 10S ", 10.0), ("2d", 172800.0),
    ],
)  # fmt: skip
def test_what_people_write_is_understood(written: str | float | None, seconds: float) -> None:
    assert parse_keep_alive(written) == seconds


@pytest.mark.parametrize(
    "written",
    ["", "m", "-2", "-30m", "1h1h", "30 minutes", "1e3", "inf", "nan", "30mm", "m30", "１０", True, False, math.nan,
     math.inf, -0.5, -2, [], {}],
)  # fmt: skip
def test_anything_else_is_refused_with_what_is_allowed(written: object) -> None:
    with pytest.raises(InvalidRequest, match=r"'30m'") as caught:
        parse_keep_alive(written)  # type: ignore[arg-type]
    assert caught.value.param == "keep_alive"


@given(st.text(max_size=20))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert parse_keep_alive(text) >= 0
