"""What a kit is made of: drums, a room, what the recording did to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tonewheel.composer.synth.kits.blocks import Array, Curve, Take

Builder = Callable[[Take], Array]
Colour = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class DrumVoice:
    """One drum of a kit. `build` renders a take; `tonal` drums' variants are mixed in phase, others with any sign;
    `room` is the share of the kit's room, `loop` marks an endless texture shaped by the note (reversed cymbal)."""

    build: Builder
    pan: float = 0.0
    level: float = 0.0
    tonal: bool = True
    room: float = 1.0
    variants: int = 3
    loop: bool = False
    tilt_db: float = 5.0
    tilt_from: float = 900.0
    highpass: float = 25.0  # Hz


def cymbal(
    build: Builder, *, pan: float, room: float = 0.5, variants: int = 3, level: float = 0.0, tilt_from: float = 2500.0
) -> DrumVoice:
    """A voice of metal: mixed with any sign, nothing low in it, its softness heard in the top."""
    return DrumVoice(build, pan, level, tonal=False, room=room, variants=variants, tilt_from=tilt_from, highpass=250.0)


@dataclass(frozen=True)
class Room:
    """The air the microphones hear: length, spectrum, and level in dB beside the drum itself."""

    seconds: float
    curve: Curve
    level: float


@dataclass(frozen=True)
class Kit:
    """`voices` by the names of DRUM_VOICES; `colour` is what the recording did to all of them."""

    id: str
    voices: Mapping[str, DrumVoice]
    room: Room | None = None
    colour: Colour | None = None
