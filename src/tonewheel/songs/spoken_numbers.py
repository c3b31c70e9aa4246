"""Numbers as they are said: 1984 → nineteen eighty four, 3rd → third, 90s → nineties."""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_LONGEST = 12  # digits; longer ones are read one by one, as one reads a telephone number


def spoken(text: str) -> list[str]:
    """The words of a number written in decimal digits, with `,` and `.` inside and an ending (st, nd, rd, th, s)."""
    found = re.match(r"^(.*?)(st|nd|rd|th|s)?$", text, re.DOTALL)
    body, ending = (found.group(1), found.group(2)) if found else (text, None)
    whole, *decimals = re.sub(r",(?=\d{3}(?!\d))", "", body).split(".")
    words = _whole(whole)
    for part in decimals:
        words += ["point", *(_ONES[d] for d in _digits(part))]
    if ending == "s":
        words[-1] = re.sub("y$", "ie", words[-1]) + "s"
    elif ending:
        words[-1] = _ORDINALS.get(words[-1]) or re.sub("y$", "ie", words[-1]) + "th"
    return words


def _digits(text: str) -> list[int]:
    return [unicodedata.decimal(c) for c in text if c.isdecimal()]


def _whole(text: str) -> list[str]:
    digits = _digits(text)
    if not digits:
        return ["zero"]
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == 0):
        return [_ONES[d] for d in digits]
    value = int("".join(map(str, digits)))
    century, rest = divmod(value, 100)
    if len(digits) == 4 and 11 <= century <= 20 and century % 10 and (rest >= 10 or rest == 0):  # a year
        return [*_below_hundred(century), *(_below_hundred(rest) if rest else ["hundred"])]
    return _count(value)


def _count(value: int) -> list[str]:
    for scale, name in _SCALES:
        if value >= scale:
            many, rest = divmod(value, scale)
            return [*_count(many), name, *(_count(rest) if rest else [])]
    return _below_hundred(value)


def _below_hundred(value: int) -> list[str]:
    if value < 20:
        return [_ONES[value]]
    tens, ones = divmod(value, 10)
    return [_TENS[tens - 2], *([_ONES[ones]] if ones else [])]
