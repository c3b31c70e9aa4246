"""The acoustic kit: a tight rock and pop kit in a small live room."""

from __future__ import annotations

from functools import partial

from tonewheel.composer.synth.kits.blocks import Array, Take
from tonewheel.composer.synth.kits.percussion import HAND_PERCUSSION, cymbal_crash, impact, rim_click
from tonewheel.composer.synth.kits.recipes import bursts, metal, skin, swish
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit, Room, cymbal

BEATER = ((60, -20), (250, -8), (1200, -4), (3500, 0), (6000, -8), (12000, -22))
STICK = ((150, -24), (600, -6), (2200, 0), (5500, -4), (12000, -14))
KICK_SKIN = ((1.0, 1.0, 1.0), (1.62, 0.34, 0.5), (2.3, 0.22, 0.32), (3.15, 0.14, 0.25))
SNARE_SKIN = ((1.0, 1.0, 1.0), (1.78, 0.75, 0.75), (2.24, 0.35, 0.5), (2.9, 0.3, 0.4), (3.6, 0.2, 0.3))
TOM_SKIN = ((1.0, 1.0, 1.0), (1.52, 0.5, 0.5), (1.98, 0.3, 0.35), (2.44, 0.2, 0.28), (3.3, 0.14, 0.22))


def snare(take: Take) -> Array:
    """Fourteen inches: the shell's two voices, the wires that open with the stroke."""
    return skin(
        take,
        hertz=187,
        seconds=0.42,
        tau=0.055,
        partials=SNARE_SKIN,
        drops=((0.1, 0.012),),
        strike=(0.9, 0.0035),
        strike_curve=STICK,
        wires=(0.85, 0.085),
        wires_curve=((200, -26), (500, -12), (1000, -6), (2200, -2), (4800, 0), (8500, -1), (14000, -7), (19000, -18)),
        drive=0.3,
    )


def hat(
    take: Take, *, seconds: float, tau: float, loose: float = 0.0, ping: float = 0.5, peak: float = 7600.0
) -> Array:
    """Two 14-inch plates: `loose` 0-1 is how far apart they are; thin ones have a high `peak` (Hz)."""
    air = ((0.19, -40), (0.56, -9), (1.0, 0), (1.56, -1), (2.3, -9))
    return metal(
        take,
        seconds=seconds,
        low=0.25 * peak,
        high=min(2.3 * peak, 17_500.0),
        count=90,
        tau=tau,
        tau_slope=0.25,
        peak=peak,
        spread=0.75,
        wash=(
            (tuple((ratio * 1.05 * peak, level) for ratio, level in air), 0.9 + 0.6 * loose, 0.0012, tau * 0.8),
            (((300, -24), (700, -12), (2600, -6), (4000, -24)), 0.10, 0.0008, tau * 0.5),
        ),
        ping=(ping, 0.0022),
        ping_curve=((400, -20), (2500, -6), (6000, 0), (15000, -5)),
    )


def pedal(take: Take) -> Array:
    """The plates brought together by the foot: a soft chick."""
    return hat(take, seconds=0.16, tau=0.022, loose=0.5, ping=0.12)


def ride(take: Take) -> Array:
    """Twenty inches, struck on the bow: a clear ping over a dark wash."""
    return metal(
        take,
        seconds=2.2,
        low=340,
        high=15_500,
        count=130,
        tau=0.5,
        tau_slope=0.5,
        peak=4600,
        spread=1.1,
        tones=((2930, 0.22, 0.35), (3710, 0.2, 0.4), (4480, 0.2, 0.3), (5860, 0.16, 0.25)),
        wash=((((400, -24), (2000, -6), (6000, 0), (11000, -5), (18000, -16)), 0.3, 0.006, 0.5),),
        ping=(1.1, 0.006),
        cluster=0.75,
    )


def bell(take: Take) -> Array:
    """The ride's cup: a few strong partials."""
    cup = ((731, 0.5, 0.5), (1245, 0.4, 0.5), (1893, 0.7, 0.55), (2741, 0.8, 0.45), (3688, 0.7, 0.4), (5120, 0.5, 0.3))
    return metal(
        take,
        seconds=2.2,
        low=600,
        high=14_000,
        count=70,
        tau=0.35,
        peak=5200,
        tones=cup,
        ping=(0.8, 0.004),
        cluster=0.5,
    )


def toms(hertz: float, tau: float, seconds: float) -> partial[Array]:
    return partial(
        skin,
        hertz=hertz,
        seconds=seconds,
        tau=tau,
        partials=TOM_SKIN,
        drops=((0.14, 0.03), (0.05, 0.12)),
        strike=(0.55, 0.005),
        strike_curve=STICK,
        wires=(0.10, 0.09),
        drive=0.2,
    )


KICK = DrumVoice(
    partial(
        skin,
        hertz=55,
        seconds=0.5,
        tau=0.11,
        partials=KICK_SKIN,
        drops=((0.9, 0.009), (0.35, 0.04)),
        strike=(0.75, 0.004),
        strike_curve=BEATER,
        wires=(0.05, 0.05),
        wires_curve=((80, -10), (250, 0), (900, -8), (4000, -20), (9000, -30)),
        drive=0.35,
        degrees=(0, 7),
    ),
    room=0.5,
)

ACOUSTIC: dict[str, DrumVoice] = {
    "kick": KICK,
    "snare": DrumVoice(snare, room=1.2),
    "rim": DrumVoice(rim_click, pan=-0.05),
    "clap": DrumVoice(
        partial(
            bursts,
            at=(0.0, 0.009, 0.015, 0.024, 0.031),
            taus=(0.004, 0.006, 0.009, 0.012, 0.03),
            levels=(0.5, 0.8, 1.0, 0.8, 0.5),
            curve=((300, -30), (900, -4), (1500, 0), (3000, -4), (7000, -10), (15000, -22)),
            seconds=0.3,
            looseness=0.3,
        ),
        tonal=False,
        room=1.6,
    ),
    "brush": DrumVoice(
        partial(
            swish,
            seconds=0.34,
            rise=0.07,
            tau=0.06,
            curve=((400, -30), (1800, -6), (4500, 0), (9000, -3), (16000, -14)),
            grain=0.45,
        ),
        pan=0.05,
        tonal=False,
    ),
    "hat": cymbal(partial(hat, seconds=0.2, tau=0.03), pan=0.28, room=0.5),
    "pedal": cymbal(pedal, pan=0.28, room=0.5),
    "open": cymbal(partial(hat, seconds=0.95, tau=0.24, loose=1.0), pan=0.28, room=0.5),
    "tom_lo": DrumVoice(toms(87, 0.17, 0.8), pan=0.45),
    "tom_mid": DrumVoice(toms(123, 0.14, 0.7), pan=0.05),
    "tom_hi": DrumVoice(toms(165, 0.12, 0.6), pan=-0.35),
    "crash": cymbal(cymbal_crash, pan=-0.3, variants=2, tilt_from=1800),
    "ride": cymbal(ride, pan=0.4, room=0.4, tilt_from=1800),
    "bell": cymbal(bell, pan=0.4, room=0.4, variants=2, tilt_from=1800),
    **HAND_PERCUSSION,
    "impact": DrumVoice(impact, variants=2, room=1.5),
}

KIT_ACOUSTIC = Kit(
    "kit_acoustic",
    ACOUSTIC,
    Room(0.26, ((80, -14), (250, -2), (1200, 0), (4000, -3), (9000, -10), (16000, -20)), -13.0),
)
