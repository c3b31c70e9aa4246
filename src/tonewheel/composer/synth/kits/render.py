"""From the notes of a drum part to audio: every hit its own mix of a drum's layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tonewheel import seeds
from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth.kits.blocks import Array, samples_of
from tonewheel.composer.synth.kits.catalogue import KITS
from tonewheel.composer.synth.kits.layers import STROKES, Layers, layers_of
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.errors import UnknownName
from tonewheel.styles.instruments import DRUM_VOICES

KICKS = (35, 36)
_HATS = frozenset({42, 44, 46})
_CHOKE_FADE = 0.022  # s in which two cymbals meet
# General MIDI percussion keys that no drum of ours stands for, and the one nearest in sound.
_NEAREST = {
    27: "snap", 28: "snap", 29: "brush", 30: "brush", 31: "rim", 32: "rim", 33: "rim", 34: "bell", 35: "kick",
    41: "tom_lo", 43: "tom_lo", 48: "tom_mid", 52: "crash", 58: "cowbell", 59: "ride", 62: "conga_hi",
    65: "bongo_hi", 66: "bongo_lo", 67: "cowbell", 68: "cowbell", 69: "shaker", 71: "triangle", 72: "triangle",
    73: "brush", 74: "brush", 77: "clave", 78: "conga_hi", 79: "conga_lo", 80: "triangle", 82: "shaker",
    83: "triangle", 84: "triangle", 85: "clave", 86: "tom_mid", 87: "tom_lo",
}  # fmt: skip
_VOICE_OF = _NEAREST | {key: name for name, key in DRUM_VOICES.items()}


def voice_of(key: int) -> str:
    """The drum that plays a General MIDI percussion key; keys outside its table go to the ends of it."""
    return _VOICE_OF.get(key) or ("kick" if key < 35 else "shaker")


def split_kick(part: Part) -> tuple[Part | None, Part | None]:
    """The kick and all else as two parts (None where a side has no notes), for a mix that ducks one under the other."""
    kick = tuple(n for n in part.notes if n.pitch in KICKS)
    rest = tuple(n for n in part.notes if n.pitch not in KICKS)
    return (
        replace(part, id=f"{part.id}.kick", notes=kick) if kick else None,
        replace(part, id=f"{part.id}.kit", notes=rest) if rest else None,
    )


def render_kit(part: Part, *, tempo: float, samples: int, seed: int, tuning: int | None = None) -> Array:
    """The part on its kit: float32 [2, samples] at SAMPLE_RATE, at the kit's own level (the mix sets it).

    `tempo` is quarters a minute. `tuning` (a pitch class, 0 = C) lets tonal drums lean to the song's key.
    Raises UnknownName for an instrument that is no kit.
    """
    if part.instrument not in KITS:
        raise UnknownName("drum kit", part.instrument, KITS, param="instrument")
    out = np.zeros((2, samples), np.float32)
    notes = sorted(part.notes)
    if not notes or samples <= 0:
        return out
    per_quarter = SAMPLE_RATE * 60.0 / tempo
    rng = seeds.noise(seed, "kit", part.id)
    chance = rng.standard_normal((len(notes), 8))
    quarters, values = np.array(part.brightness, np.float64).T
    shift = np.interp([n.start for n in notes], quarters, values) - 0.6
    chokes = _chokes(notes, per_quarter)
    for i, note in enumerate(notes):
        layers = layers_of(part.instrument, voice_of(note.pitch), tuning)
        hard = _hardness(note.velocity, float(shift[i]), float(chance[i, 0]))
        gain = _gain(note.velocity, float(chance[i, 1]))
        mix = _weights(layers, hard, chance[i, 4:]) * np.float32(gain)
        if layers.voice.loop:
            sound, start = _swell(layers, mix, note, per_quarter, float(chance[i, 2]))
        else:
            sound = _mixed(layers, mix, chokes[i])
            start = round(note.start * per_quarter + 6.0 * min(2.0, abs(chance[i, 2])))
        _place(out, sound, start, layers.voice.pan + 0.02 * float(chance[i, 3]))
    return out


def _hardness(velocity: int, shift: float, chance: float) -> float:
    """0-1, how much of the hard stroke is heard: by velocity, a little by the song's energy, a little by luck."""
    return float(np.clip((velocity / 118.0) ** 1.4 + 0.3 * shift + 0.04 * chance, 0.0, 1.0))


def _gain(velocity: int, chance: float) -> float:
    return float((velocity / 127.0) ** 1.5 * (1.0 + 0.035 * np.clip(chance, -2.0, 2.0)))


def _weights(layers: Layers, hard: float, chance: NDArray[np.float64]) -> Array:
    """How much of each layer [variants * STROKES] a hit has: in phase for tonal drums, with any sign for noisy ones."""
    share = chance[: layers.voice.variants]
    if layers.voice.tonal:
        share = np.abs(share) ** 3 + 0.05
    return layers.at_loudness(np.outer(share, (1.0 - hard, hard)).reshape(-1))


def _mixed(layers: Layers, mix: Array, choke: int | None) -> Array:
    length = layers.length if choke is None else min(layers.length, choke + samples_of(_CHOKE_FADE))
    sound = np.stack([mix @ layers.stack[:, channel, :length] for channel in range(layers.channels)])
    if length < layers.length:
        fade = min(samples_of(_CHOKE_FADE), length)
        sound[:, -fade:] *= (0.5 + 0.5 * np.cos(np.linspace(0.0, np.pi, fade))).astype(np.float32)
    return sound


def _swell(layers: Layers, mix: Array, note: Note, per_quarter: float, chance: float) -> tuple[Array, int]:
    """A reversed cymbal [2, n]: it rises over the note and is gone at its end. Brightness rises with it."""
    start, end = round(note.start * per_quarter), round(note.end * per_quarter)
    n = max(end - start, samples_of(0.05))
    at = int(abs(chance) * 0.31 * layers.length)
    loop = layers.stack.reshape(layers.voice.variants, STROKES, *layers.stack.shape[1:])
    power = np.abs(mix.reshape(-1, STROKES))
    pick = loop[int(np.argmax(power.sum(axis=1)))]
    pick = np.take(pick, np.arange(at, at + n) % layers.length, axis=-1)
    rise = np.exp(np.linspace(-5.0, 0.0, n, dtype=np.float32))
    rise -= rise[0]
    sound = (pick[0] * (1.0 - rise) + pick[1] * rise) * rise * np.float32(power.sum())
    edge = min(samples_of(0.004), n)
    sound[:, -edge:] *= np.linspace(1.0, 0.0, edge, dtype=np.float32)
    return sound, end - n


def _chokes(notes: list[Note], per_quarter: float) -> list[int | None]:
    """For each hit, after how many samples the next stroke of the hi-hat stops an open one (None: it rings)."""
    chokes: list[int | None] = [None] * len(notes)
    following: float | None = None
    for i in range(len(notes) - 1, -1, -1):
        if notes[i].pitch not in _HATS:
            continue
        if notes[i].pitch == DRUM_VOICES["open"] and following is not None and following > notes[i].start:
            chokes[i] = round((following - notes[i].start) * per_quarter)
        following = notes[i].start
    return chokes


def _place(out: Array, sound: Array, start: int, pan: float) -> None:
    """Adds a hit [1 or 2, n] to `out` [2, samples] with constant power, cut at both ends of the song."""
    if start < 0:
        sound, start = sound[:, -start:], 0
    room = out.shape[1] - start
    if room <= 0 or sound.shape[1] == 0:
        return
    if sound.shape[1] > room:
        sound = sound[:, :room].copy()
        edge = min(256, room)
        sound[:, -edge:] *= np.linspace(1.0, 0.0, edge, dtype=np.float32)
    angle = (min(1.0, max(-1.0, pan)) + 1.0) * np.pi / 4.0
    left, right = np.float32(np.sqrt(2.0) * np.cos(angle)), np.float32(np.sqrt(2.0) * np.sin(angle))
    stop = start + sound.shape[1]
    out[0, start:stop] += left * sound[0]
    out[1, start:stop] += right * sound[-1]
