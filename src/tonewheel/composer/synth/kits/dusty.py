"""Drums as if sampled from an old record: damped, driven, in few bits and little top."""

from __future__ import annotations

from functools import partial

import numpy as np

from tonewheel.composer.synth.kits.acoustic import ACOUSTIC, BEATER, STICK, hat, ride, toms
from tonewheel.composer.synth.kits.blocks import Array, Curve, Take, coloured, curve_gain, fall, fast_size
from tonewheel.composer.synth.kits.percussion import cymbal_crash, reversed_cymbal
from tonewheel.composer.synth.kits.recipes import skin
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit, Room, cymbal
from tonewheel.composer.synth.rate import SAMPLE_RATE


def dusty(stack: Array, rng: np.random.Generator) -> Array:
    """What an old sampler and an older record do [..., c, n]: 26 kHz steps, 12 bits by level, no top, and surface noise
    that is heard only while the sample plays."""
    n = stack.shape[-1]
    step = SAMPLE_RATE / 26_040.0
    held = _equalised(stack, ((9500, 0), (12500, -30), (16000, -70)))  # the converter's input filter
    held = held[..., (np.floor(np.arange(n) / step) * step).astype(np.int64)]
    peak = np.float32(np.max(np.abs(held)) + 1e-9)
    bits = np.float32(2.0**9)  # twelve-bit converters leave about nine for a drum below full level
    held = np.tanh(held / peak * np.float32(1.5)) * peak / np.float32(np.tanh(1.5))
    held = np.round(held / peak * bits) / bits * peak
    held = held + _surface(held, rng) * peak
    return _equalised(
        held, ((25, -30), (45, -3), (120, 1.5), (700, 0), (3000, 1), (7000, -2), (10000, -9), (16000, -30))
    )


def _equalised(x: Array, curve: Curve) -> Array:
    size = fast_size(x.shape[-1] + 2048)
    gain = curve_gain(curve, np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)).astype(np.float32)
    sound = np.fft.irfft(np.fft.rfft(x, size, axis=-1) * gain, size, axis=-1)
    return np.ascontiguousarray(sound[..., : x.shape[-1]])


def _surface(stack: Array, rng: np.random.Generator) -> Array:
    n = stack.shape[-1]
    hiss = coloured(rng, (stack.shape[0], 1, n), ((60, -6), (300, -3), (3000, 0), (9000, -6)))
    gate = fall(n / SAMPLE_RATE, 0.35 * n / SAMPLE_RATE, 0.002)[:n]
    return np.asarray(hiss * gate * np.float32(0.0035), np.float32)


def dusty_kick(take: Take) -> Array:
    """A damped old bass drum, pushed into tape."""
    return skin(
        take,
        hertz=58,
        seconds=0.36,
        tau=0.085,
        partials=((1.0, 1.0, 1.0), (1.6, 0.45, 0.5), (2.4, 0.3, 0.35), (3.4, 0.15, 0.3)),
        drops=((0.6, 0.012), (0.3, 0.04)),
        strike=(0.5, 0.006),
        strike_curve=BEATER,
        drive=0.75,
        degrees=(0, 7),
    )


def dusty_snare(take: Take) -> Array:
    """A cracked, dry snare, its wires loose."""
    return skin(
        take,
        hertz=208,
        seconds=0.3,
        tau=0.045,
        partials=((1.0, 1.0, 1.0), (1.7, 0.8, 0.7), (2.4, 0.5, 0.5), (3.1, 0.3, 0.4)),
        drops=((0.12, 0.01),),
        strike=(1.2, 0.004),
        strike_curve=STICK,
        wires=(1.0, 0.07),
        wires_curve=((300, -26), (1000, -6), (2400, 0), (5000, -1), (8000, -6), (14000, -20)),
        drive=0.7,
    )


KIT_DUSTY = Kit(
    "kit_dusty",
    {
        **ACOUSTIC,
        "kick": DrumVoice(dusty_kick, room=0.4),
        "snare": DrumVoice(dusty_snare, room=0.8),
        "hat": cymbal(partial(hat, seconds=0.16, tau=0.022), pan=0.12, room=0.4),
        "pedal": cymbal(partial(hat, seconds=0.14, tau=0.02, loose=0.4, ping=0.1), pan=0.12, room=0.4),
        "open": cymbal(partial(hat, seconds=0.6, tau=0.14, loose=1.0), pan=0.12, room=0.4),
        "tom_lo": DrumVoice(toms(82, 0.12, 0.6), pan=0.2),
        "tom_mid": DrumVoice(toms(110, 0.1, 0.5), pan=0.0),
        "tom_hi": DrumVoice(toms(147, 0.09, 0.45), pan=-0.2),
        "crash": cymbal(partial(cymbal_crash, seconds=2.2, tau=0.5, dark=0.5), pan=-0.15, variants=2),
        "reverse": DrumVoice(
            partial(reversed_cymbal, curve=((200, -30), (900, -10), (2500, 0), (6000, -4), (9000, -14), (14000, -40))),
            variants=2,
            tonal=False,
            loop=True,
            tilt_from=2000,
        ),
        "ride": cymbal(ride, pan=0.2, tilt_from=1800),
    },
    Room(0.16, ((120, -12), (400, 0), (2000, 0), (6000, -8), (12000, -24)), -12.0),
    dusty,
)
