"""Big skins in a big hall: taikos, a kettledrum, field drums, orchestral cymbals."""

from __future__ import annotations

from functools import partial

import numpy as np

from tonewheel.composer.synth.kits.acoustic import ACOUSTIC, STICK, bell, hat
from tonewheel.composer.synth.kits.blocks import Array, Take, add
from tonewheel.composer.synth.kits.percussion import cymbal_crash, impact
from tonewheel.composer.synth.kits.recipes import metal, skin
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit, Room, cymbal
from tonewheel.composer.synth.rate import SAMPLE_RATE

TAIKO = ((1.0, 1.0, 1.0), (1.6, 0.55, 0.6), (2.15, 0.35, 0.45), (2.65, 0.25, 0.35), (3.4, 0.2, 0.3), (4.3, 0.12, 0.22))
# A kettledrum's preferred modes stand near 2:3:4:5 to each other over a missing fundamental (Rossing, ibid., §18).
KETTLE = ((1.0, 1.0, 1.0), (1.5, 0.7, 0.9), (1.99, 0.45, 0.7), (2.44, 0.3, 0.55), (2.9, 0.15, 0.4))
BACHI = ((60, -12), (250, -3), (900, 0), (2500, -3), (6000, -14), (14000, -32))


def ensemble(take: Take, players: int, spread: float, **drum: object) -> Array:
    """Several players of one drum a few milliseconds apart, each on a drum of their own."""
    strokes = []
    for i in range(players):
        late = round(take.rng.uniform(0.0, spread) * SAMPLE_RATE) if i else 0
        stroke = skin(take, **drum)  # type: ignore[arg-type]
        strokes.append(np.concatenate((np.zeros(late, np.float32), stroke)))
    return add(*strokes) / np.float32(np.sqrt(players))


def taiko(hertz: float, tau: float, players: int = 3) -> partial[Array]:
    return partial(
        ensemble,
        players=players,
        spread=0.005,
        hertz=hertz,
        seconds=7.0 * tau,
        tau=tau,
        partials=TAIKO,
        drops=((0.22, 0.03), (0.06, 0.15)),
        strike=(0.8, 0.008),
        strike_curve=BACHI,
        wires=(0.12, 0.08),
        wires_curve=((80, -10), (300, 0), (1500, -6), (6000, -24)),
        drive=0.35,
        detune=0.012,
    )


def field_snare(take: Take) -> Array:
    """Three deep field drums together."""
    return ensemble(
        take,
        3,
        0.004,
        hertz=147,
        seconds=0.55,
        tau=0.07,
        partials=((1.0, 1.0, 1.0), (1.7, 0.7, 0.7), (2.3, 0.4, 0.5), (3.0, 0.3, 0.4)),
        drops=((0.12, 0.015),),
        strike=(0.8, 0.004),
        strike_curve=STICK,
        wires=(0.95, 0.11),
        wires_curve=((200, -26), (800, -8), (2200, -1), (4500, 0), (8000, -5), (15000, -18)),
        detune=0.015,
    )


def piatti(take: Take) -> Array:
    """A pair of orchestral cymbals: they meet a little apart, they bloom."""
    plates = cymbal_crash(take, seconds=3.4, tau=0.95, dark=0.35)
    late = round(take.around(0.014, 0.4) * SAMPLE_RATE)
    return add(plates, np.concatenate((np.zeros(late, np.float32), plates[:-late] * np.float32(-0.5))))


def tam_tam(take: Take) -> Array:
    """Where a kit has its ride, an orchestra has a gong played softly."""
    return metal(
        take,
        seconds=3.2,
        low=180,
        high=9000,
        count=160,
        tau=0.9,
        tau_slope=0.6,
        peak=1600,
        spread=1.3,
        wash=((((150, -16), (600, -4), (2000, 0), (5000, -6), (12000, -24)), 0.5, 0.03, 0.7),),
        ping=(0.3, 0.01),
        ping_curve=((150, -8), (600, 0), (3000, -8), (9000, -26)),
    )


KIT_CINEMATIC = Kit(
    "kit_cinematic",
    {
        **ACOUSTIC,
        "kick": DrumVoice(
            partial(
                ensemble,
                players=2,
                spread=0.002,
                hertz=46,
                seconds=1.3,
                tau=0.22,
                partials=TAIKO,
                drops=((0.5, 0.02), (0.2, 0.1)),
                strike=(0.6, 0.009),
                strike_curve=BACHI,
                drive=0.4,
                detune=0.006,
                degrees=(0, 7),
            )
        ),
        "snare": DrumVoice(field_snare),
        "tom_lo": DrumVoice(
            partial(
                skin,
                hertz=82.4,
                seconds=1.6,
                tau=0.26,
                partials=KETTLE,
                drops=((0.06, 0.03),),
                strike=(0.35, 0.012),
                strike_curve=((50, -6), (150, 0), (500, -6), (2000, -20), (8000, -40)),
                degrees=(0, 7),
            ),
            pan=0.3,
        ),
        "tom_mid": DrumVoice(taiko(78, 0.16), pan=-0.15, variants=2),
        "tom_hi": DrumVoice(taiko(117, 0.12), pan=-0.4, variants=2),
        "crash": cymbal(piatti, pan=-0.15, variants=2),
        "ride": cymbal(tam_tam, pan=0.35, variants=2, tilt_from=500),
        "bell": cymbal(bell, pan=0.4, variants=2, tilt_from=1800),
        "hat": cymbal(partial(hat, seconds=0.3, tau=0.05, ping=0.2, peak=6400), pan=0.25, room=0.6),
        "impact": DrumVoice(partial(impact, hertz=32.7, tau=0.75, air=0.7), variants=2, level=1.5),
    },
    Room(0.75, ((60, -8), (180, 0), (700, 1), (2500, -2), (6000, -8), (14000, -22)), -10.0),
)
