"""What pydantic found wrong, in one line a person can act on. The one place that words it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from tonewheel.errors import InvalidRequest, nearest


def explain(
    fault: ValidationError, error: type[InvalidRequest], what: str, known: tuple[str, ...] = ()
) -> InvalidRequest:
    """The first fault of a ValidationError as one of ours.

    `what` names the thing in the message ("plan song.json"; "" for a request); `known` are the field names
    an unknown one may have meant.
    """
    found = fault.errors(include_url=False)
    if found[0]["type"] == "json_invalid" and not what:
        reason = str(found[0].get("ctx", {}).get("error", "")) or "it cannot be read"
        return error(f"the body is not JSON: {reason}", param="body")
    return explained(found, error, what, known)


def explained(
    found: Sequence[ErrorDetails], error: type[InvalidRequest], what: str = "", known: tuple[str, ...] = ()
) -> InvalidRequest:
    """The same of the faults themselves, as FastAPI tells them of the parameters of a path or query. Where they do not
    say what was given (it may be a secret), it is not told."""
    first = next((f for f in found if _misspelt(f, known)), found[0])  # `titel` says more than "title is missing"
    place = place_of(first["loc"])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    text = _say(first, known)
    if first["type"] == "value_error" and not what:
        place_said = ""  # our own message names what it is about
    else:
        place_said = place
    head = "".join(f"{part}: " for part in (what, place_said) if part)
    return error(f"{head}{text}{more}", param=place or None)


def no_base64(message: str) -> PydanticCustomError:
    """What a validator of a file raises; it is told with the field's place before it, without what was sent."""
    return PydanticCustomError(_NO_BASE64, "{why}", {"why": message})


def place_of(loc: tuple[int | str, ...]) -> str:
    """`("sections", 2, "chords")` as `sections[2].chords`."""
    out = ""
    for part in loc:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else str(part)
    return out


def _misspelt(fault: ErrorDetails, known: tuple[str, ...]) -> bool:
    return fault["type"] == "extra_forbidden" and bool(fault["loc"]) and bool(nearest(str(fault["loc"][-1]), known))


def _shown(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15  # 5 was typed, not 5.0
    text = f"{value:.0f}" if whole else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_NO_BASE64: Final = "no_base64"
_KINDS = {
    "string_type": "write a text",
    "float_type": "write a number",
    "float_parsing": "write a number",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "write a whole number of at most 19 digits",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "tuple_type": "write a list",
    "list_type": "write a list",
    "model_type": "write a mapping of fields",
    "model_attributes_type": "write a mapping of fields",
    "finite_number": "write a finite number",
    "string_unicode": "write valid Unicode text",
}


# What a pattern asks for, by the last field name of the place; else a line of plain text.
_PATTERNS = {
    "language": "write a BCP 47 code such as en or pt-BR",
    "time_signature": "write 2-12 beats over 4 or 8, such as 4/4, 3/4 or 6/8",
    "id": "may hold letters, digits, dots, underscores and hyphens only",
    "client_job_id": "write 1-256 letters, digits and . _ : -",
    "model": "write the id of a model, such as composer",
    "after": "write what `next` of the page before said",
}
_PLAIN_LINE = "must be one line of text without control characters"


def _say(fault: ErrorDetails, known: tuple[str, ...]) -> str:
    kind, context, value = fault["type"], fault.get("ctx", {}), fault.get("input")

    def but(shown: str) -> str:
        return f", not {shown}" if "input" in fault else ""

    if kind == "value_error":
        return str(context.get("error", fault["msg"]))
    if kind == _NO_BASE64:
        return fault["msg"]
    if kind == "missing":
        return "is missing: give it"
    if kind == "extra_forbidden":
        name = str(fault["loc"][-1]) if fault["loc"] else ""
        near = nearest(name, known)
        return f"unknown field: did you mean {', '.join(near)}?" if near else "unknown field: remove it"
    if kind in _KINDS:
        return f"{_KINDS[kind]}{but(_shown(value))}"
    if kind == "string_pattern_mismatch":
        names = [part for part in fault["loc"] if isinstance(part, str)]
        return f"{_PATTERNS.get(names[-1] if names else '', _PLAIN_LINE)}{but(_shown(value))}"
    limit = _limit(kind, context)
    if limit:
        return f"{limit}{but(_size(kind, value, context))}"
    got = f", got {_shown(value)}" if "input" in fault else ""
    return f"{fault['msg'][0].lower()}{fault['msg'][1:]}{got}"


def _limit(kind: str, context: dict[str, Any]) -> str:
    for name, word in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if name in context:
            limit = context[name]
            return f"must be {word} {limit if isinstance(limit, int) else format(limit, 'g')}"
    if kind in ("too_long", "string_too_long"):
        return f"must have at most {context.get('max_length')} {'entries' if kind == 'too_long' else 'characters'}"
    if kind in ("too_short", "string_too_short"):
        return f"must have at least {context.get('min_length')} {'entries' if kind == 'too_short' else 'characters'}"
    if kind == "literal_error":
        return f"must be {context.get('expected')}"
    return ""


def _size(kind: str, value: Any, context: dict[str, Any]) -> str:
    if kind in ("too_long", "too_short"):
        return str(context.get("actual_length"))
    return str(len(value)) if kind.startswith("string_too") and isinstance(value, str) else _shown(value)
