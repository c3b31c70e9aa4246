"""Brushes on a small jazz kit: taps, sweeps, a bass drum that is felt more than heard."""

from __future__ import annotations

from functools import partial

import numpy as np

from tonewheel.composer.synth.kits.acoustic import ACOUSTIC, bell, hat, toms
from tonewheel.composer.synth.kits.blocks import Array, Take, add
from tonewheel.composer.synth.kits.percussion import cymbal_crash
from tonewheel.composer.synth.kits.recipes import metal, skin, swish
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit, Room, cymbal

WIRE = ((250, -34), (900, -12), (2500, -2), (5000, 0), (9000, -5), (16000, -18))


def brush_snare(take: Take) -> Array:
    """A tap with wire brushes: many tips that land one after the other, the skin barely speaks."""
    skin_part = skin(
        take,
        hertz=196,
        seconds=0.34,
        tau=0.045,
        partials=((1.0, 1.0, 1.0), (1.8, 0.5, 0.6), (2.6, 0.25, 0.4)),
        drops=((0.05, 0.012),),
        strike=(0.0, 0.003),
        wires=(0.3, 0.07),
        wires_curve=WIRE,
    )
    tips = swish(take, seconds=0.2, rise=0.006, tau=0.028, curve=WIRE, grain=0.7, grain_rate=1800)
    return add(skin_part * np.float32(0.55), tips * np.float32(take.between(0.5, 0.9)))


def brush_sweep(take: Take) -> Array:
    """A circle drawn on the skin: two overlapping strokes of wire, no attack."""
    first = swish(take, seconds=0.42, rise=0.12, tau=0.07, hold=0.04, curve=WIRE, grain=0.55, grain_rate=1300)
    second = swish(
        take,
        seconds=0.42,
        rise=0.05,
        tau=0.12,
        curve=((300, -20), (1200, -3), (2600, 0), (6000, -8), (14000, -22)),
        grain=0.3,
    )
    return add(first, second * np.float32(0.5))


def feathered_kick(take: Take) -> Array:
    """An 18-inch jazz bass drum, open and soft: it sings a little, the beater is felt."""
    return skin(
        take,
        hertz=65,
        seconds=0.6,
        tau=0.12,
        partials=((1.0, 1.0, 1.0), (1.6, 0.25, 0.6), (2.2, 0.12, 0.4)),
        drops=((0.3, 0.02),),
        strike=(0.3, 0.006),
        strike_curve=((60, -12), (200, 0), (800, -6), (3000, -16), (9000, -34)),
        degrees=(0, 7),
    )


KIT_BRUSHES = Kit(
    "kit_brushes",
    {
        **ACOUSTIC,
        "kick": DrumVoice(feathered_kick, room=0.8, level=-1.0),
        "snare": DrumVoice(brush_snare, room=1.0, level=-3.0),
        "brush": DrumVoice(brush_sweep, tonal=False, level=1.0),
        "hat": cymbal(partial(hat, seconds=0.2, tau=0.034, ping=0.2, peak=5700), pan=0.28, room=0.8, level=-2.0),
        "pedal": cymbal(
            partial(hat, seconds=0.2, tau=0.034, loose=0.3, ping=0.05, peak=5700), pan=0.28, room=0.8, level=1.0
        ),
        "open": cymbal(
            partial(hat, seconds=0.9, tau=0.22, loose=0.8, ping=0.1, peak=5700), pan=0.28, room=0.8, level=-2.0
        ),
        "ride": cymbal(
            partial(
                metal,
                seconds=2.4,
                low=320,
                high=13_500,
                count=130,
                tau=0.7,
                tau_slope=0.6,
                peak=3300,
                spread=1.15,
                tones=((2410, 0.2, 0.45), (3140, 0.22, 0.4), (3960, 0.18, 0.35)),
                wash=((((300, -18), (1500, -4), (4500, 0), (9000, -8), (16000, -20)), 0.4, 0.008, 0.6),),
                ping=(0.8, 0.005),
            ),
            pan=0.4,
            tilt_from=1800,
            level=2.0,
        ),
        "bell": cymbal(bell, pan=0.4, variants=2, tilt_from=1800),
        "crash": cymbal(partial(cymbal_crash, dark=0.8), pan=-0.3, variants=2, level=-3.0),
        "tom_lo": DrumVoice(toms(98, 0.2, 0.9), pan=0.4, level=-2.0),
        "tom_mid": DrumVoice(toms(139, 0.18, 0.8), pan=0.05, level=-2.0),
        "tom_hi": DrumVoice(toms(185, 0.15, 0.7), pan=-0.3, level=-2.0),
    },
    Room(0.34, ((80, -10), (250, 0), (1500, 0), (4000, -4), (9000, -12), (16000, -22)), -10.0),
)
