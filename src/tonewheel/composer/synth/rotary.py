"""The rotary speaker: a horn and a drum that turn, heard by two microphones.

Below about 800 Hz sound leaves through a turning drum, above through a turning horn. Turning moves the
source to and fro (Doppler: a modulated delay) and points it away (level and treble). The horn is light
and follows the speed switch within a second, the drum takes several; "chorale" and "tremolo" are its two
speeds. Speeds and times are those commonly measured on the 122 cabinet (slow about 0.7-0.8 turns a
second, fast 6-7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tonewheel.composer.synth.envelopes import Samples
from tonewheel.composer.synth.rate import SAMPLE_RATE

CROSSOVER_HZ = 800.0
_CONTROL = 512  # samples between two values of the rotor's speed
_BLOCK = 8_192
_INSIDE = np.arange(_CONTROL, dtype=np.float32) / np.float32(_CONTROL)
_MICROPHONES = (-0.9, 0.9)  # radians from the front
_SPEED_OF_SOUND = 343.0


@dataclass(frozen=True)
class Rotor:
    slow_hz: float
    fast_hz: float
    spin_up_s: float  # time constant
    spin_down_s: float
    radius_m: float
    depth: float  # how much the level falls when it points away, 0-1
    dullness: float  # how much treble is lost then, 0-1 (0: none to lose)
    direction: float  # +1 or -1: horn and drum turn against each other

    @property
    def radius_samples(self) -> float:
        """The time sound takes across the radius."""
        return self.radius_m / _SPEED_OF_SOUND * SAMPLE_RATE


HORN = Rotor(0.82, 6.8, 0.35, 0.55, 0.19, 0.42, 0.75, 1.0)
DRUM = Rotor(0.70, 5.9, 1.9, 2.2, 0.13, 0.30, 0.0, -1.0)


def rotor_turns(rotor: Rotor, fast: Samples, start: float) -> npt.NDArray[np.float64]:
    """The rotor's angle in turns at each control step; `fast` [steps] is where the switch stands, 0-1."""
    step = _CONTROL / SAMPLE_RATE
    up, down = 1 - math.exp(-step / rotor.spin_up_s), 1 - math.exp(-step / rotor.spin_down_s)
    hz = rotor.slow_hz + (rotor.fast_hz - rotor.slow_hz) * float(fast[0])
    turns, angle = [], start
    for target in (rotor.slow_hz + (rotor.fast_hz - rotor.slow_hz) * fast).tolist():
        hz += (target - hz) * (up if target > hz else down)
        turns.append(angle)
        angle += hz * step
    return np.array(turns)


def rotary(bands: Samples, fast: Samples, start: float) -> Samples:
    """bands float32 [2, n]: row 0 the drum's sound, row 1 the horn's; `fast` as long as `control_points`;
    `start` the angle they begin at, in turns. Becomes the stereo sound in place, block by block."""
    n = bands.shape[1]
    rotors = [_Turning(rotor, rotor_turns(rotor, fast, start)) for rotor in (DRUM, HORN)]
    for first in range(0, n, _BLOCK):
        block = bands[:, first : first + _BLOCK]
        heard = [rotor.block(band, first // _CONTROL) for rotor, band in zip(rotors, block, strict=True)]
        for channel in range(2):
            block[channel] = 0.0
            for sides in heard:
                if sides is not None:
                    block[channel] += sides[channel]
    return bands


class _Turning:
    """A rotor on its way, with the sound that is still travelling."""

    def __init__(self, rotor: Rotor, turns: npt.NDArray[np.float64]) -> None:
        turns = turns * rotor.direction
        self.rotor = rotor
        self.speed = np.diff(turns).astype(np.float32)
        self.turns = (turns - np.floor(turns)).astype(np.float32)
        self.reach = int(2 * rotor.radius_samples) + 8
        self.past = np.zeros(self.reach, np.float32)

    def block(self, band: Samples, step: int) -> tuple[Samples, Samples] | None:
        """What the two microphones hear of the next block of sound, or None while all is silent."""
        n = len(band)
        line = np.concatenate([self.past, band])
        self.past = line[n:].copy()
        if not line.any():
            return None
        last = step - (-n // _CONTROL)
        angle = self.turns[step:last, None] + self.speed[step:last, None] * _INSIDE
        angle = angle.reshape(-1)[:n]
        angle *= np.float32(2 * math.pi)
        now = np.arange(self.reach - 4, self.reach - 4 + n)
        left, right = (_heard(line, np.cos(angle - np.float32(place)), now, self.rotor) for place in _MICROPHONES)
        return left, right


def _heard(line: Samples, facing: Samples, now: npt.NDArray[np.int64], rotor: Rotor) -> Samples:
    """What one microphone hears of one rotor in a block: delay, level and treble follow `facing` (1 = at us).
    The horn's delay is read by four-point Hermite interpolation, the drum's, which has no treble, by two."""
    away = np.float32(0.5) - np.float32(0.5) * facing
    delay = away * np.float32(2.0 * rotor.radius_samples) + np.float32(2.0)
    whole = np.floor(delay)
    delay -= whole
    x = np.subtract(np.float32(1.0), delay, out=delay)
    at = now - whole.astype(np.int32)
    here, after = (line[k:].take(at, mode="clip") for k in (1, 2))
    if rotor.dullness:
        before, beyond = (line[k:].take(at, mode="clip") for k in (0, 3))
        direct = _hermite(before, here, after, beyond, x)
        before += beyond  # a low-pass of four equal taps, as heard from behind the horn
        before += here
        before += after
        before *= np.float32(0.25)
        before -= direct
        before *= away
        before *= np.float32(rotor.dullness)
        direct += before
    else:
        after -= here
        after *= x
        direct = np.add(after, here, out=after)
    away *= np.float32(-rotor.depth)
    away += np.float32(1.0)
    direct *= away
    return direct


def _hermite(before: Samples, here: Samples, after: Samples, beyond: Samples, x: Samples) -> Samples:
    """Between `here` (x = 0) and `after` (x = 1)."""
    slope = after - before
    slope *= np.float32(0.5)
    bend = here - after
    curve = slope + bend
    bend += curve
    cubic = beyond - here
    cubic *= np.float32(0.5)
    cubic += bend
    curve += cubic
    cubic *= x
    cubic -= curve
    cubic *= x
    cubic += slope
    cubic *= x
    cubic += here
    return cubic


def switch(brightness: Samples) -> Samples:
    """Where the speed switch stands for a curve of brightness: fast above 0.66, slow again below 0.56."""
    fast, out = False, []
    for value in brightness.tolist():
        fast = value > (0.56 if fast else 0.66)
        out.append(1.0 if fast else 0.0)
    return np.array(out, np.float32)


def control_points(n: int) -> npt.NDArray[np.int64]:
    """The sample positions at which `fast` is given for a sound of n samples."""
    return np.arange(n // _CONTROL + 2) * _CONTROL
