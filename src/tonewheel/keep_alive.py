"""How long an idle model stays loaded, as people write it."""

from __future__ import annotations

import math
import re

from tonewheel.errors import InvalidRequest

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")

KeepAlive = str | int | float | None


def parse_keep_alive(value: KeepAlive, default_s: float = 600.0) -> float:
    """Seconds; `math.inf` for -1 (always), `default_s` for None.

    Takes 0 (end at once), -1, seconds as a number or as digits, and "500ms", "30s", "30m", "1h30m", "2d".
    Raises InvalidRequest.
    """
    if value is None:
        return default_s
    if isinstance(value, bool):
        raise _refused(value)
    if isinstance(value, (int, float)):
        return _seconds(float(value), value)
    if not isinstance(value, str):
        raise _refused(value)
    text = value.strip().lower()
    if text == "-1" or _NUMBER.fullmatch(text):
        return _seconds(float(text), value)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _refused(value)
    if len({unit for _, unit in parts}) < len(parts):  # "1h1h" is a slip of the hand
        raise _refused(value)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _seconds(number: float, value: object) -> float:
    if number == -1:
        return math.inf
    if not math.isfinite(number) or number < 0:
        raise _refused(value)
    return number


def _refused(value: object) -> InvalidRequest:
    return InvalidRequest(
        f"keep_alive {str(value)[:40]!r} cannot be read: write 0 (end at once), -1 (keep always), "
        "seconds, or such as '30m' or '1h30m'",
        param="keep_alive",
    )
