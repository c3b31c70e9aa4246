"""What a model's work makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tonewheel.audio.formats import Format
    from tonewheel.audio.tags import Tags


@dataclass(frozen=True, slots=True)
class Audio:
    """Samples made: `samples` float32 [n, channels], full scale ±1. `format` is how JSON answers hold it."""

    samples: NDArray[np.float32]
    sample_rate: int
    format: Format = "wav"
    tags: Tags | None = None

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])


@dataclass(frozen=True, slots=True)
class Blob:
    """A whole file made beside the audio (MIDI, LRC …), already encoded."""

    data: bytes
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a run made.

    `fields` is the answer in plain JSON types, by the names of the family's response type; an `Audio`
    or a `Blob` may stand anywhere in it and becomes base64 text in JSON, or a link where bytes were
    asked for. `audio` is the main one, which `Accept: audio/…` answers (usually also in `fields`).
    `seed` is the one used; `duration_s` the real length of what was made or heard.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    audio: Audio | None = None
    seed: int | None = None
    duration_s: float | None = None
