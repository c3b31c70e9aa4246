"""The two drum machines: 808 (all analogue, long and round) and 909 (punch, grit, sampled metal)."""

from __future__ import annotations

from functools import partial

import numpy as np

from tonewheel.composer.synth.kits.blocks import Array, Take, add, fall, saturate
from tonewheel.composer.synth.kits.percussion import HAND_PERCUSSION, impact
from tonewheel.composer.synth.kits.recipes import METAL_808, bursts, metal, skin, squares, swish, wood
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit, cymbal

ONE = ((1.0, 1.0, 1.0),)
TICK = ((200, -24), (1000, -4), (3000, 0), (8000, -6), (15000, -16))
HAT_808 = ((2500, -60), (5500, -14), (8000, -1), (10500, 0), (15000, -3), (19000, -9))
CYMBAL_808 = ((400, -50), (2200, -12), (4200, -3), (8000, 0), (13000, -3), (19000, -12))
HAT_909 = ((1500, -46), (4000, -16), (7000, -2), (9500, 0), (14000, -4), (18500, -14))


def snare_808(take: Take) -> Array:
    """Two bridged-T resonators and a band of noise above them."""
    return skin(
        take,
        hertz=178,
        seconds=0.34,
        tau=0.048,
        partials=((1.0, 1.0, 1.0), (1.855, 0.75, 0.55)),
        drops=((0.25, 0.004),),
        strike=(0.3, 0.0012),
        strike_curve=TICK,
        wires=(0.75, 0.06),
        wires_curve=((400, -40), (1500, -8), (3500, -1), (7500, 0), (13000, -4), (19000, -12)),
        detune=0.003,
    )


def snare_909(take: Take) -> Array:
    """Two sines that fall fast, driven, and two bands of noise, the upper one longer."""
    body = skin(
        take,
        hertz=196,
        seconds=0.4,
        tau=0.045,
        partials=((1.0, 1.0, 1.0), (1.73, 0.6, 0.8)),
        drops=((0.9, 0.009),),
        strike=(0.6, 0.0015),
        strike_curve=TICK,
        wires=(0.6, 0.04),
        wires_curve=((300, -24), (800, -5), (3000, 0), (7000, -2), (12000, -8)),
        drive=0.4,
        detune=0.003,
    )
    air = take.noise(0.4, ((800, -40), (3500, -6), (7500, 0), (12000, -2), (18000, -10))) * fall(0.4, 0.075, 0.003)
    return saturate(add(body, air * np.float32(take.between(0.4, 0.65))) * np.float32(0.7), 0.3)


def clap_machine(take: Take, *, seconds: float, tail: float, centre: float, spread: float) -> Array:
    """Three sharp teeth and a tail of the same band-passed noise."""
    rows = ((1 / 5, -44), (1 / spread, -9), (1, 0), (spread, -7), (5, -19), (14, -34))
    curve = tuple((centre * ratio, level) for ratio, level in rows)
    return bursts(
        take,
        at=(0.0, 0.0098, 0.0199, 0.0297),
        taus=(0.0042, 0.0042, 0.005, tail),
        levels=(0.9, 0.9, 1.0, 0.8),
        curve=curve,
        seconds=seconds,
        looseness=0.02,
        attack=0.0004,
        drive=0.25,
    )


def hat_909(take: Take, *, seconds: float, taus: tuple[tuple[float, float], ...]) -> Array:
    """A cymbal sampled in six bits: real plates, hard-edged, with the converter's grit."""
    tau = taus[-1][1]
    plates = metal(
        take,
        seconds=seconds,
        low=3000,
        high=16_000,
        count=60,
        tau=tau * 2.0,
        tau_slope=0.1,
        peak=8600,
        spread=0.6,
        wash=((HAT_909, 1.0, 0.0008, tau * 2.0),),
        ping=(0.3, 0.001),
    )
    shape = np.sum([np.float32(share) * fall(seconds, t, 0.0005) for share, t in taus], axis=0)
    grit = take.noise(seconds, HAT_909) * np.abs(plates) * np.float32(0.5)
    return np.asarray(saturate((plates[: shape.size] + grit[: shape.size]) * np.float32(0.5), 0.25) * shape, np.float32)


def cymbal_909(take: Take, *, seconds: float, tau: float, ping: float, peak: float) -> Array:
    return metal(
        take,
        seconds=seconds,
        low=900,
        high=16_500,
        count=120,
        tau=tau,
        tau_slope=0.3,
        peak=peak,
        spread=0.8,
        wash=((((700, -40), (3000, -9), (7000, 0), (12000, -2), (18000, -10)), 0.9, 0.002, tau * 0.75),),
        ping=(ping, 0.004),
    )


def tom_808(hertz: float, tau: float) -> partial[Array]:
    return partial(
        skin,
        hertz=hertz,
        seconds=6.0 * tau,
        tau=tau,
        partials=ONE,
        drops=((0.22, 0.018), (0.06, 0.1)),
        strike=(0.16, 0.0015),
        strike_curve=TICK,
        wires=(0.05, tau * 0.7),
        wires_curve=((80, -12), (300, 0), (1200, -14), (5000, -40)),
        detune=0.003,
    )


def tom_909(hertz: float, tau: float) -> partial[Array]:
    return partial(
        skin,
        hertz=hertz,
        seconds=6.0 * tau,
        tau=tau,
        partials=((1.0, 1.0, 1.0), (1.5, 0.35, 0.6), (2.02, 0.2, 0.4)),
        drops=((0.7, 0.02), (0.1, 0.08)),
        strike=(0.4, 0.003),
        strike_curve=TICK,
        wires=(0.08, 0.05),
        drive=0.45,
        detune=0.003,
    )


def conga_808(hertz: float, tau: float) -> partial[Array]:
    return partial(
        skin,
        hertz=hertz,
        seconds=0.4,
        tau=tau,
        partials=ONE,
        drops=((0.12, 0.006),),
        strike=(0.12, 0.001),
        detune=0.003,
    )


def maracas(take: Take) -> Array:
    curve = ((2500, -46), (5500, -8), (9000, 0), (15000, -2), (19000, -9))
    return swish(take, seconds=0.08, rise=0.012, tau=0.012, curve=curve)


_COWBELL_CURVE = ((200, -30), (500, -4), (850, 0), (2600, -12), (6000, -22), (15000, -40))
_SQUARE_COWBELL = partial(
    squares, seconds=0.5, hertz=(554.4, 830.6), curve=_COWBELL_CURVE, taus=((0.75, 0.018), (0.5, 0.1)), detune=0.002
)

KIT_808 = Kit(
    "kit_808",
    {
        **HAND_PERCUSSION,
        "kick": DrumVoice(
            partial(
                skin,
                hertz=50,
                seconds=1.3,
                tau=0.3,
                partials=ONE,
                drops=((1.7, 0.005), (0.12, 0.06)),
                strike=(0.22, 0.0016),
                strike_curve=TICK,
                drive=0.22,
                detune=0.001,
                degrees=(0, 7),
            )
        ),
        "snare": DrumVoice(snare_808),
        "rim": DrumVoice(
            partial(
                wood, partials=((455, 0.6, 0.01), (1667, 1.0, 0.008)), seconds=0.08, knock=(0.25, 0.0008), drive=0.6
            ),
            pan=-0.05,
        ),
        "clap": DrumVoice(partial(clap_machine, seconds=0.42, tail=0.07, centre=1050, spread=1.7), tonal=False),
        "brush": DrumVoice(
            partial(swish, seconds=0.2, rise=0.03, tau=0.035, curve=((800, -40), (3000, -6), (7000, 0), (15000, -6))),
            tonal=False,
        ),
        "hat": cymbal(
            partial(squares, seconds=0.16, hertz=METAL_808, curve=HAT_808, taus=((1.0, 0.019),), noise=0.25),
            pan=0.15,
            tilt_from=5000,
        ),
        "pedal": cymbal(
            partial(
                squares, seconds=0.1, hertz=METAL_808, curve=HAT_808, taus=((1.0, 0.012),), noise=0.25, attack=0.003
            ),
            pan=0.15,
            tilt_from=5000,
        ),
        "open": cymbal(
            partial(squares, seconds=0.8, hertz=METAL_808, curve=HAT_808, taus=((0.4, 0.05), (0.7, 0.17)), noise=0.25),
            pan=0.15,
            tilt_from=5000,
        ),
        "tom_lo": DrumVoice(tom_808(82, 0.13), pan=0.3),
        "tom_mid": DrumVoice(tom_808(123, 0.11), pan=0.0),
        "tom_hi": DrumVoice(tom_808(165, 0.09), pan=-0.3),
        "crash": cymbal(
            partial(
                squares, seconds=2.4, hertz=METAL_808, curve=CYMBAL_808, taus=((0.9, 0.06), (0.6, 0.55)), noise=0.5
            ),
            pan=-0.15,
            variants=2,
            tilt_from=3000,
        ),
        "ride": cymbal(
            partial(
                squares, seconds=1.3, hertz=METAL_808, curve=CYMBAL_808, taus=((1.0, 0.03), (0.35, 0.3)), noise=0.15
            ),
            pan=0.2,
            tilt_from=3000,
        ),
        "bell": cymbal(
            partial(
                squares,
                seconds=1.2,
                hertz=(540.0, 800.0, 1205.0),
                curve=((400, -40), (1500, -8), (3000, 0), (9000, -5), (18000, -16)),
                taus=((0.6, 0.03), (0.5, 0.25)),
            ),
            pan=0.2,
            variants=2,
            tilt_from=3000,
        ),
        "cowbell": DrumVoice(_SQUARE_COWBELL, pan=0.1, tonal=False),
        "bongo_hi": DrumVoice(conga_808(440, 0.035), pan=-0.2),
        "bongo_lo": DrumVoice(conga_808(330, 0.045), pan=-0.1),
        "conga_hi": DrumVoice(conga_808(247, 0.06), pan=0.15),
        "conga_lo": DrumVoice(conga_808(185, 0.075), pan=0.25),
        "shaker": DrumVoice(maracas, pan=-0.25, tonal=False, tilt_from=4000),
        "clave": DrumVoice(
            partial(
                wood, partials=((2500, 1.0, 0.014), (1667, 0.12, 0.01)), seconds=0.14, knock=(0.06, 0.0006), tune=True
            ),
            pan=0.2,
        ),
    },
)

KIT_909 = Kit(
    "kit_909",
    {
        **HAND_PERCUSSION,
        "kick": DrumVoice(
            partial(
                skin,
                hertz=49,
                seconds=0.6,
                tau=0.13,
                partials=((1.0, 1.0, 1.0), (2.0, 0.12, 0.4)),
                drops=((2.6, 0.011), (0.9, 0.032)),
                strike=(0.55, 0.0022),
                strike_curve=((200, -16), (900, -2), (2500, 0), (6000, -6), (14000, -16)),
                drive=0.6,
                detune=0.001,
                degrees=(0, 7),
            )
        ),
        "snare": DrumVoice(snare_909),
        "rim": DrumVoice(
            partial(
                wood,
                partials=((220, 0.35, 0.012), (500, 1.0, 0.007), (1000, 0.8, 0.006), (2650, 0.4, 0.004)),
                seconds=0.08,
                knock=(0.6, 0.0009),
                drive=0.8,
            ),
            pan=-0.05,
        ),
        "clap": DrumVoice(partial(clap_machine, seconds=0.5, tail=0.095, centre=1300, spread=2.2), tonal=False),
        "brush": DrumVoice(
            partial(swish, seconds=0.2, rise=0.03, tau=0.035, curve=((800, -40), (3000, -6), (7000, 0), (15000, -6))),
            tonal=False,
        ),
        "hat": cymbal(partial(hat_909, seconds=0.18, taus=((0.7, 0.012), (0.4, 0.032))), pan=0.12, tilt_from=4000),
        "pedal": cymbal(partial(hat_909, seconds=0.12, taus=((1.0, 0.016),)), pan=0.12, tilt_from=4000),
        "open": cymbal(partial(hat_909, seconds=0.7, taus=((0.35, 0.03), (0.8, 0.16))), pan=0.12, tilt_from=4000),
        "tom_lo": DrumVoice(tom_909(87, 0.13), pan=0.3),
        "tom_mid": DrumVoice(tom_909(131, 0.115), pan=0.0),
        "tom_hi": DrumVoice(tom_909(185, 0.1), pan=-0.3),
        "crash": cymbal(partial(cymbal_909, seconds=2.2, tau=0.5, ping=0.5, peak=6500), pan=-0.2, variants=2),
        "ride": cymbal(partial(cymbal_909, seconds=1.8, tau=0.42, ping=1.2, peak=7200), pan=0.2),
        "bell": cymbal(
            partial(
                metal,
                seconds=1.6,
                low=900,
                high=15_000,
                count=50,
                tau=0.3,
                peak=5500,
                tones=((1480, 0.7, 0.35), (2520, 0.8, 0.3), (4010, 0.5, 0.25)),
                ping=(0.6, 0.003),
                cluster=0.45,
            ),
            pan=0.2,
            variants=2,
        ),
        "cowbell": DrumVoice(_SQUARE_COWBELL, pan=0.1, tonal=False),
        "impact": DrumVoice(partial(impact, hertz=41, tau=0.45), variants=2),
    },
)
