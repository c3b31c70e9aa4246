"""What the loaded model has read of a request: audio as samples, words as the pipeline takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Words:
    """What one song's conditions are made of, in the pipeline's terms."""

    prompt: str
    lyrics: str
    language: str
    bpm: int | None = None
    key: str | None = None
    meter: str | None = None  # the upper figure: 6 of 6/8

    def asked(self) -> dict[str, Any]:
        """As arguments of the pipeline's methods."""
        return {
            "prompt": self.prompt, "lyrics": self.lyrics, "vocal_language": self.language, "bpm": self.bpm,
            "keyscale": self.key, "timesignature": self.meter,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)  # by identity: only the songs of one request share it
class Prepared:
    """Audio is float32 [n, 2] at 48 kHz, full scale ±1; `seconds` is the length of the song that comes of it."""

    source: NDArray[np.float32] | None = None  # filled up with silence to whole latents
    reference: NDArray[np.float32] | None = None
    seconds: float | None = None
    repaint: tuple[float, float] | None = None  # seconds
    words: Words | None = None
    left_out: int = 0  # tokens of the prompt
