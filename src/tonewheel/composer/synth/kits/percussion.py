"""Hand percussion and effects that acoustic kits share."""

from __future__ import annotations

from functools import partial

from tonewheel.composer.synth.kits.blocks import Array, Curve, Take, add
from tonewheel.composer.synth.kits.recipes import bursts, metal, skin, swish, wood
from tonewheel.composer.synth.kits.voices import DrumVoice

SLAP: Curve = ((100, -30), (600, -6), (1800, 0), (4500, -5), (9000, -14), (16000, -26))
# A hand drum's skin is thick and damped: its upper modes lie close to the membrane's and die at once.
HAND = ((1.0, 1.0, 1.0), (1.59, 0.4, 0.4), (2.14, 0.3, 0.3), (2.7, 0.2, 0.25), (3.6, 0.12, 0.2))
JINGLES = ((4150, 1.0, 0), (5370, 0.8, 0), (6620, 1.0, 0), (7890, 0.9, 0), (9240, 0.8, 0), (11300, 0.6, 0))
CYMBAL_TOP: Curve = ((200, -40), (900, -18), (3000, -6), (7000, 0), (12000, -4), (18000, -14))


def tambourine(take: Take) -> Array:
    """The stroke, then the jingles' two rattles after it."""
    band: Curve = ((1500, -40), (4000, -8), (7500, 0), (12000, -3), (18000, -12))
    first = swish(
        take, seconds=0.35, rise=0.004, tau=0.05, curve=band, grain=0.5, grain_rate=420, tones=JINGLES, tones_level=0.8
    )
    tail = swish(take, seconds=0.35, rise=0.03, tau=0.07, curve=band, grain=0.8, grain_rate=240)
    palm = bursts(take, at=(0.0,), taus=(0.008,), curve=SLAP, seconds=0.06)
    return add(first, tail * 0.35, palm * take.between(0.1, 0.3))


def impact(take: Take, *, hertz: float = 36.0, tau: float = 0.55, air: float = 0.5) -> Array:
    """A deep boom: a falling low skin, rubble in the low mids, a cloud of air above."""
    boom = skin(
        take,
        hertz=hertz,
        seconds=2.6,
        tau=tau,
        drops=((1.6, 0.04), (0.5, 0.2)),
        strike=(0.9, 0.01),
        strike_curve=((40, -6), (150, 0), (900, -4), (4000, -16), (12000, -36)),
        wires=(air, 0.28),
        wires_curve=((60, -8), (200, 0), (900, -6), (3000, -12), (9000, -22)),
        wires_attack=0.006,
        drive=0.5,
        degrees=(0, 7),
    )
    crack = bursts(
        take, at=(0.0, 0.018), taus=(0.03, 0.12), curve=((300, -20), (1500, 0), (9000, -9)), seconds=0.9, attack=0.001
    )
    return add(boom, crack * take.between(0.05, 0.28))


def reversed_cymbal(take: Take, *, curve: Curve = CYMBAL_TOP) -> Array:
    """An endless cymbal texture (its length is the FFT's, so that it loops); the note shapes the swell."""
    return take.noise(131_072 / 44_100.0, curve)


def triangle(take: Take) -> Array:
    """A bent steel rod: a few far-apart partials, long."""
    rows = (
        (1180, 0.05, 0.7),
        (3240, 0.5, 0.8),
        (4980, 1.0, 0.75),
        (6870, 0.6, 0.6),
        (9420, 0.5, 0.45),
        (12600, 0.3, 0.3),
    )
    return wood(take, partials=rows, seconds=1.8, knock=(0.15, 0.001), detune=0.003)


HAND_PERCUSSION: dict[str, DrumVoice] = {
    "tambourine": DrumVoice(tambourine, pan=0.3, tonal=False, tilt_from=3000, highpass=400),
    "shaker": DrumVoice(
        partial(
            swish,
            seconds=0.16,
            rise=0.045,
            tau=0.022,
            curve=((1500, -40), (4000, -10), (7500, 0), (11000, -1), (18000, -12)),
            grain=0.55,
            grain_rate=1500,
        ),
        pan=-0.4,
        tonal=False,
        tilt_from=3000,
    ),
    "cowbell": DrumVoice(
        partial(
            wood,
            partials=(
                (562, 1.0, 0.09),
                (845, 0.9, 0.085),
                (1410, 0.4, 0.05),
                (2080, 0.35, 0.04),
                (3420, 0.3, 0.03),
                (5100, 0.2, 0.02),
            ),
            seconds=0.4,
            knock=(0.25, 0.002),
            drive=0.25,
            tune=True,
        ),
        pan=0.2,
    ),
    "bongo_hi": DrumVoice(
        partial(
            skin,
            hertz=392,
            seconds=0.3,
            tau=0.05,
            partials=HAND,
            drops=((0.05, 0.015),),
            strike=(0.5, 0.004),
            strike_curve=SLAP,
        ),
        pan=-0.25,
    ),
    "bongo_lo": DrumVoice(
        partial(
            skin,
            hertz=294,
            seconds=0.35,
            tau=0.065,
            partials=HAND,
            drops=((0.05, 0.015),),
            strike=(0.45, 0.005),
            strike_curve=SLAP,
        ),
        pan=-0.12,
    ),
    "conga_hi": DrumVoice(
        partial(
            skin,
            hertz=220,
            seconds=0.45,
            tau=0.09,
            partials=HAND,
            drops=((0.04, 0.02),),
            strike=(0.45, 0.006),
            strike_curve=SLAP,
        ),
        pan=0.22,
    ),
    "conga_lo": DrumVoice(
        partial(
            skin,
            hertz=165,
            seconds=0.5,
            tau=0.11,
            partials=HAND,
            drops=((0.04, 0.02),),
            strike=(0.4, 0.007),
            strike_curve=SLAP,
        ),
        pan=0.34,
    ),
    "clave": DrumVoice(
        partial(
            wood,
            partials=((2489, 1.0, 0.022), (2560, 0.3, 0.018), (5300, 0.25, 0.012), (7900, 0.12, 0.008)),
            seconds=0.2,
            knock=(0.2, 0.0012),
            tune=True,
        ),
        pan=0.3,
    ),
    "triangle": DrumVoice(triangle, pan=-0.35, variants=2, tilt_from=3000, highpass=400),
    "snap": DrumVoice(
        partial(
            bursts,
            at=(0.0, 0.011, 0.017),
            taus=(0.002, 0.007, 0.016),
            levels=(0.3, 1.0, 0.5),
            curve=((400, -36), (1300, -6), (2400, 0), (4200, -4), (9000, -14), (16000, -24)),
            seconds=0.2,
            attack=0.0005,
        ),
        pan=-0.1,
        tonal=False,
    ),
    "impact": DrumVoice(impact, variants=2),
    "reverse": DrumVoice(reversed_cymbal, variants=2, tonal=False, loop=True, tilt_from=2500),
}


def rim_click(take: Take) -> Array:
    """A stick laid across the snare and struck on the rim."""
    rows = (
        (418, 0.5, 0.018), (842, 0.7, 0.02), (1370, 0.6, 0.015), (1720, 1.0, 0.016), (2680, 0.7, 0.011),
        (3900, 0.5, 0.008), (5600, 0.4, 0.006),
    )  # fmt: skip
    return wood(take, partials=rows, seconds=0.2, knock=(0.6, 0.0016), drive=0.2)


def cymbal_crash(take: Take, *, seconds: float = 3.0, tau: float = 0.75, dark: float = 0.0) -> Array:
    """A crash: the stroke, a band of shimmer that blooms, low modes that stay."""
    return metal(
        take,
        seconds=seconds,
        low=260,
        high=15_000,
        count=170,
        tau=tau,
        tau_slope=0.45,
        peak=4200 * (1.0 - 0.4 * dark),
        spread=1.3,
        wash=(
            (((200, -30), (700, -9), (2500, -2), (5000, 0), (9000, -4), (16000, -14)), 1.2, 0.004, 0.32 * (1 + dark)),
            (((2500, -30), (6000, -3), (10000, 0), (16000, -6)), 0.8 * (1.0 - 0.6 * dark), 0.012, 0.5),
            (((150, -24), (500, 0), (1500, -6), (4000, -30)), 0.3, 0.02, 0.5),
        ),
        ping=(0.5, 0.004),
    )
