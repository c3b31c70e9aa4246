"""How each kind of drum sounds, as functions of a take: skins, metal, wood, hiss, claps.

A kit is a table of these with numbers. Levels inside a recipe are relative; `voices.py` brings every
drum of every kit to its loudness.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tonewheel.composer.synth.kits.blocks import (
    Array,
    Curve,
    Partial,
    Take,
    add,
    curve_gain,
    fall,
    falling_phase,
    modes,
    samples_of,
    saturate,
    sine,
    times,
)

# An ideal circular membrane's modes over its lowest (Fletcher & Rossing, The Physics of Musical Instruments, §3.6).
SKIN = ((1.0, 1.0, 1.0), (1.594, 0.45, 0.6), (2.136, 0.25, 0.45), (2.296, 0.18, 0.4), (2.653, 0.12, 0.35))
# The oscillators of the 808's metal (Hz), square waves, from published measurements of the circuit.
METAL_808 = (205.3, 304.4, 369.6, 522.7, 540.0, 800.0)

CLICK: Curve = ((100, -40), (700, -8), (2500, 0), (6000, -3), (14000, -14))


def skin(
    take: Take,
    *,
    hertz: float,
    seconds: float,
    tau: float,
    partials: Sequence[tuple[float, float, float]] = SKIN,
    drops: Sequence[tuple[float, float]] = ((0.12, 0.03),),
    strike: tuple[float, float] = (0.3, 0.004),
    strike_curve: Curve = CLICK,
    wires: tuple[float, float] = (0.0, 0.1),
    wires_curve: Curve = ((300, -30), (1500, -6), (4500, 0), (9000, -3), (16000, -12)),
    wires_attack: float = 0.002,
    drive: float = 0.0,
    detune: float = 0.008,
    degrees: Sequence[int] = (0, 2, 5, 7),
) -> Array:
    """A struck skin [n]: partials (ratio, amplitude, share of `tau`) that fall to pitch, a beater, snare wires.

    `strike` and `wires` are (level, time constant in s); the beater speaks up with the stroke, the wires less so.
    """
    base = take.around(take.tuned(hertz, degrees), detune)
    bend = take.between(0.6, 1.0)
    cycles = falling_phase(base, [(share * bend, t) for share, t in drops], seconds)
    shade = take.shade(np.array([base * ratio for ratio, _, _ in partials]))
    body = np.zeros(cycles.size, np.float32)
    for (ratio, amp, share), soft in zip(partials, shade, strict=True):
        upper = amp * soft * (1.0 if ratio <= 1.0 else take.between(0.6, 1.0) * take.around(1.0, 0.12))
        body += np.float32(upper) * sine(cycles * ratio) * fall(seconds, tau * share)
    body = saturate(body, drive * take.between(0.7, 1.0))
    layers = [body]
    level, t = strike
    if level > 0.0:
        reach = max(0.02, 7.0 * t)
        layers.append(_burst(take, reach, strike_curve, t, 0.0004) * np.float32(level * take.between(0.45, 1.0)))
    level, t = wires
    if level > 0.0:
        reach = min(seconds, 7.0 * t)
        rattle = _burst(take, reach, wires_curve, take.around(t, 0.06), wires_attack)
        layers.append(rattle * np.float32(level * take.between(0.75, 1.0)))
    return add(*layers)


def _burst(take: Take, seconds: float, curve: Curve, tau: float, attack: float) -> Array:
    return take.noise(seconds, curve) * fall(seconds, tau, attack)


def metal(
    take: Take,
    *,
    seconds: float,
    low: float,
    high: float,
    count: int,
    tau: float,
    tau_slope: float = 0.5,
    peak: float = 6000.0,
    spread: float = 1.2,
    tones: Sequence[Partial] = (),
    wash: Sequence[tuple[Curve, float, float, float]] = (),
    ping: tuple[float, float] = (0.0, 0.004),
    ping_curve: Curve = ((800, -30), (3000, -4), (7000, 0), (15000, -8)),
    cluster: float = 1.0,
) -> Array:
    """A plate or cymbal [n]: a cluster of `count` inharmonic modes, fixed `tones`, a wash of noise and a stick's ping.

    The modes lie at random between `low` and `high` (the lower the rarer), loudest around `peak` (`spread` in
    octaves), and die faster the higher they are: tau * (f / peak) ** -tau_slope. `wash` rows are
    (curve, level, attack, time constant).
    """
    octaves = np.log2(high / low)
    hertz = low * 2.0 ** (octaves * np.sqrt(take.rng.uniform(0.0, 1.0, count)))
    amp = np.exp(-0.5 * (np.log2(hertz / peak) / spread) ** 2) * take.rng.uniform(0.4, 1.0, count)
    amp *= cluster * np.sqrt(2.0 / max(np.sum(amp**2), 1e-9))
    tau_of = tau * (hertz / peak) ** -tau_slope * take.rng.uniform(0.75, 1.25, count)
    rows: list[Partial] = list(zip(hertz.tolist(), amp.tolist(), tau_of.tolist(), strict=True))
    rows += [(take.around(f, 0.004), a * take.around(1.0, 0.15), t) for f, a, t in tones]
    layers = [modes(take, rows, seconds) if rows else np.zeros(samples_of(seconds), np.float32)]
    for curve, level, attack, t in wash:
        reach = min(seconds, 7.0 * t + attack)
        layers.append(_burst(take, reach, curve, t, attack) * np.float32(level * take.between(0.8, 1.0)))
    if ping[0] > 0.0:
        reach = max(0.02, 7.0 * ping[1])
        layers.append(_burst(take, reach, ping_curve, ping[1], 0.0003) * np.float32(ping[0] * take.between(0.5, 1.0)))
    return add(*layers)


def squares(
    take: Take,
    *,
    seconds: float,
    hertz: Sequence[float],
    curve: Curve,
    taus: Sequence[tuple[float, float]],
    noise: float = 0.0,
    attack: float = 0.0006,
    detune: float = 0.004,
    click: float = 0.0,
) -> Array:
    """A drum machine's metal [n]: square waves through a fixed filter `curve`, under an envelope.

    `taus` is a sum of decays (share, time constant in s). The squares are built from harmonics, so nothing aliases.
    """
    rows: list[Partial] = []
    for f in hertz:
        base = take.around(f, detune)
        odd = np.arange(1, int(18_500 / base) + 1, 2)
        gain = curve_gain(curve, odd * base) / odd
        keep = gain > gain.max() * 0.003
        rows += [(float(k * base), float(g), 1e3) for k, g in zip(odd[keep], gain[keep], strict=True)]
    tone = modes(take, rows, seconds)
    tone /= np.float32(np.sqrt(np.mean(tone**2)) + 1e-9)
    shape = np.zeros(tone.size, np.float32)
    for share, t in taus:
        shape += np.float32(share) * fall(seconds, t, attack)
    if noise > 0.0:
        tone = tone + np.float32(noise) * take.noise(seconds, curve)
    sound = tone * shape
    return add(sound, _burst(take, 0.02, CLICK, 0.002, 0.0003) * np.float32(click)) if click > 0.0 else sound


def wood(
    take: Take,
    *,
    partials: Sequence[Partial],
    seconds: float,
    knock: tuple[float, float] = (0.3, 0.003),
    knock_curve: Curve = CLICK,
    detune: float = 0.008,
    drive: float = 0.0,
    tune: bool = False,
) -> Array:
    """Wood, bells and other small solid things [n]: a few fixed modes and a knock."""
    lean = take.tuned(partials[0][0]) / partials[0][0] if tune else 1.0
    shift = take.around(lean, detune)
    rows = [(f * shift * take.around(1.0, 0.002), a * take.around(1.0, 0.1), t) for f, a, t in partials]
    rise = np.float32(1.0) - fall(seconds, 0.0003)
    tone = modes(take, rows, seconds) * rise
    level, t = knock
    burst = _burst(take, max(0.015, 7.0 * t), knock_curve, t, 0.0003) * np.float32(level * take.between(0.5, 1.0))
    return saturate(add(tone, burst), drive)


def bursts(
    take: Take,
    *,
    at: Sequence[float],
    taus: Sequence[float],
    curve: Curve,
    seconds: float,
    levels: Sequence[float] | None = None,
    looseness: float = 0.12,
    attack: float = 0.0008,
    drive: float = 0.0,
) -> Array:
    """Several short bursts of noise [n] at the times `at`: hands, fingers, a drum machine's clap."""
    total = np.zeros(samples_of(seconds), np.float32)
    for i, (when, tau) in enumerate(zip(at, taus, strict=True)):
        start = samples_of(take.around(when, looseness)) if when > 0.0 else 0
        left = total.size - start
        piece = take.noise(left / 44_100.0, curve)[:left]
        shape = fall(left / 44_100.0, tau, attack)[:left]
        total[start : start + piece.size] += piece * shape * np.float32(levels[i] if levels else 1.0)
    return saturate(total * np.float32(0.3), drive)


def swish(
    take: Take,
    *,
    seconds: float,
    rise: float,
    tau: float,
    curve: Curve,
    hold: float = 0.0,
    grain: float = 0.0,
    grain_rate: float = 900.0,
    tones: Sequence[Partial] = (),
    tones_level: float = 0.0,
) -> Array:
    """Noise [n] that swells for `rise` seconds, holds and falls: brush, shaker, jingles.

    `grain` 0-1 breaks it into seeds or wires: random grains at `grain_rate` a second over the smooth noise.
    """
    t = times(seconds)
    up = np.clip(t / np.float32(rise), 0.0, 1.0) ** np.float32(1.6)
    shape = up * np.exp(-np.maximum(t - np.float32(rise + hold), 0.0) / np.float32(tau))
    sound = take.noise(seconds, curve)
    if grain > 0.0:
        hits = (take.rng.uniform(0.0, 1.0, t.size) < grain_rate / 44_100.0) * take.rng.exponential(1.0, t.size)
        decay = fall(0.006, 0.0012)
        grains = np.convolve(hits.astype(np.float32), decay)[: t.size]
        grains /= np.float32(np.sqrt(np.mean(grains**2)) + 1e-9)
        sound = sound * (np.float32(1.0 - grain) + np.float32(grain) * grains)
    if tones:
        rows = [(take.around(f, 0.01), a, 1e3) for f, a, _ in tones]
        ring = modes(take, rows, seconds)
        sound = sound + ring * np.float32(tones_level / (np.sqrt(np.mean(ring**2)) + 1e-9))
    return np.asarray(sound * shape, np.float32)
