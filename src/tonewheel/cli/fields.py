"""`--set NAME=VALUE`: any field of a model's request, on the command line."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tonewheel.errors import InvalidRequest, UnknownName

if TYPE_CHECKING:
    from tonewheel.models.base import Family

_MAX_TEXT_BYTES = 1 << 20


def fields_of(family: Family, settings: Iterable[str]) -> dict[str, Any]:
    """`["bpm=90", "lyrics=@words.txt", "src_audio=@mine.wav"]` as a request holds it; the model reads numbers in it.

    Raises InvalidRequest, UnknownName, UnreadableAudio.
    """
    known = family.request.model_fields
    found: dict[str, Any] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InvalidRequest(f"--set {text[:60]!r}: write NAME=VALUE, such as --set num_inference_steps=20")
        if name not in known:
            raise UnknownName("field", name, set(known) - {"client_job_id"}, param=name)
        found[name] = _value(value, bytes in _kinds(known[name].annotation), name)
    return found


def _value(value: str, audio: bool, name: str) -> str:
    """Text as it is; `@FILE` = what is in it, sound files as base64. A text that begins with @ is written @@."""
    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@"):
        if audio:
            raise InvalidRequest(f"--set {name}: takes a file: write {name}=@FILE", param=name)
        return value
    path = Path(value[1:]).expanduser()
    if audio:
        from tonewheel.audio.read import load_bytes

        return base64.b64encode(load_bytes(path)).decode()
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TEXT_BYTES + 1)
        if len(data) > _MAX_TEXT_BYTES:
            raise InvalidRequest(f"{path} is larger than {_MAX_TEXT_BYTES} bytes: a text is shorter", param=name)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{path} is not UTF-8 text", param=name) from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}", param=name) from None


def _kinds(annotation: Any) -> set[Any]:
    """The types in an annotation, `bytes` of `Upload | None`."""
    inside = get_args(annotation)
    return {annotation}.union(*(_kinds(one) for one in inside)) if inside else {annotation}
