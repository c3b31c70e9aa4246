"""What every request to a model may carry, and what every answer tells of how it was made."""

from __future__ import annotations

import binascii
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.explain import no_base64
from tonewheel.songs.plan import MAX_SEED

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
ClientJobId = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._:-]{1,256}\z")]


_BASE64_PIECE = 4 * 2**18  # characters decoded at a time: the interpreter is free in between


def _bytes_of(value: object) -> object:
    """A file sent as base64 (a data URL too, line breaks allowed), or as bytes by a multipart form."""
    if not isinstance(value, str):
        return value
    text = value.partition(",")[2] if value.startswith("data:") else value
    data = _decoded(text)
    if data is None:  # perhaps for its line breaks only, which few have and all would have to be searched for
        text = "".join(text.split())
        data = _decoded(text)
    if data is None:
        raise no_base64("is not base64: send the file's bytes in standard base64 with padding")
    if not text:
        raise no_base64("is empty: send the file's bytes in base64")
    return data


def _decoded(text: str) -> bytes | None:
    if len(text) % 4:
        return None
    try:
        pieces = [binascii.a2b_base64(text[i : i + _BASE64_PIECE], strict_mode=True)
                  for i in range(0, len(text), _BASE64_PIECE)]  # fmt: skip
    except ValueError:  # binascii.Error is one, and so is what is said of letters beyond ASCII
        return None
    return b"".join(pieces)


Upload = Annotated[
    bytes, BeforeValidator(_bytes_of), WithJsonSchema({"type": "string", "format": "base64", "minLength": 1})
]


class ModelRequest(BaseModel):
    """What every request may carry; each family adds its own fields.

    Unknown fields are ignored, as clients of the existing contracts expect; a family with no such
    clients may forbid them (`model_config = ConfigDict(extra="forbid")`).
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())

    client_job_id: ClientJobId | None = Field(
        default=None, description="Your own name for this request: letters, digits and ._:- (1-256); echoed."
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: object) -> object:
        # Python and pydantic take true for 1; a duration of true is a mistake.
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields and not _takes_bool(cls, name):
                raise InvalidRequest(f"{name}: write a value of its kind, not {str(value).lower()}", param=name)
        return values

    def audio_seconds(self) -> float:
        """Seconds of audio this request makes or hears: what the deadline is reckoned from."""
        duration = getattr(self, "duration", None)
        return float(duration) if isinstance(duration, (int, float)) else 0.0


class Metadata(BaseModel):
    """What every answer tells of how it was made. Filled in by the service, not by the model."""

    model_config = ConfigDict(protected_namespaces=())

    client_job_id: str | None = None
    trace_id: str = Field(description="32 hex digits; continued from an incoming traceparent.")
    span_id: str = Field(description="16 hex digits.")
    request_id: str
    model: str
    revision: str | None = None
    seed: int | None = Field(default=None, description="The seed used.")
    duration_s: float | None = Field(default=None, description="Real seconds of audio.")
    elapsed_s: float = Field(description="Seconds of work.")
    real_time_factor: float | None = Field(default=None, description="elapsed_s / duration_s; below 1 is faster.")
    device: str
    dtype: str


def _takes_bool(kind: type[BaseModel], name: str) -> bool:
    annotation = kind.model_fields[name].annotation
    return any(a in (bool, Any, object) for a in (annotation, *get_args(annotation)))
