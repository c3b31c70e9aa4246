"""From recipes to the layers a hit is mixed from: variants, two strokes, a room, a common loudness."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tonewheel import seeds
from tonewheel.composer.synth.kits.blocks import (
    Array,
    Take,
    fade_end,
    fast_size,
    room_response,
    samples_of,
    through,
)
from tonewheel.composer.synth.kits.catalogue import KITS
from tonewheel.composer.synth.kits.voices import DrumVoice, Kit
from tonewheel.composer.synth.rate import SAMPLE_RATE

# Loudness of each drum at full stroke, dB beside the snare, K-weighted over its first quarter second: a drummer's
# balance as records have it. A kit may lean from it by `DrumVoice.level`.
BALANCE = {
    "kick": 1.5, "snare": 0.0, "rim": -5.0, "clap": -1.0, "brush": -7.0, "hat": -12.0, "pedal": -13.5, "open": -8.0,
    "tom_lo": -0.5, "tom_mid": -1.0, "tom_hi": -1.5, "crash": -3.0, "ride": -10.0, "bell": -8.0, "tambourine": -10.0,
    "cowbell": -7.5, "bongo_hi": -6.0, "bongo_lo": -5.5, "conga_hi": -5.0, "conga_lo": -4.5, "shaker": -14.0,
    "clave": -8.0, "triangle": -13.0, "snap": -7.0, "impact": 2.0, "reverse": -5.0,
}  # fmt: skip
_REFERENCE = 0.25  # K-weighted RMS of the full snare's first quarter second
STROKES = 2  # soft and hard


@dataclass(frozen=True)
class Layers:
    """What hits of one drum are mixed from: `stack` [variants * STROKES, channels, n], soft stroke first. `shared`
    [variants * STROKES] squared tells how loud a mix of them is (see `at_loudness`)."""

    stack: Array
    voice: DrumVoice
    shared: NDArray[np.float64]

    def at_loudness(self, weights: NDArray[np.float64]) -> Array:
        """`weights` scaled so that their mix is as loud as this drum is at full stroke: a hit's level is the
        player's business, not that of the takes it happens to be made of."""
        return (weights / np.sqrt(weights @ self.shared @ weights + 1e-12)).astype(np.float32)

    @property
    def channels(self) -> int:
        return int(self.stack.shape[1])

    @property
    def length(self) -> int:
        return int(self.stack.shape[2])


@lru_cache(maxsize=48)  # some 70 MB at most: a song uses a dozen
def layers_of(kit_id: str, name: str, tuning: int | None) -> Layers:
    """The layers of a drum, rendered once a process; equal in every process and order of calls."""
    kit = KITS[kit_id]
    voice = kit.voices[name]
    takes = [take for i in range(voice.variants) for take in _strokes(voice, (kit_id, name, i), tuning)]
    n = max(t.shape[-1] for t in takes)
    stack = np.zeros((len(takes), 1, n), np.float32)
    for row, take in zip(stack, takes, strict=True):
        row[0, : take.size] = take
    if voice.loop:
        stack = _wide_loop(stack)
    else:
        stack = _in_room(fade_end(stack, 0.15), kit, voice)
    if kit.colour is not None and not voice.loop:
        stack = fade_end(kit.colour(stack, seeds.noise(0, "kit", kit_id, name, "colour")), 0.08)
    shared = _loudness(stack)
    power = (_REFERENCE * 10.0 ** ((BALANCE[name] + voice.level) / 20.0)) ** 2
    return Layers(stack, voice, shared / power)


def _strokes(voice: DrumVoice, label: tuple[str, str, int], tuning: int | None) -> list[Array]:
    """The soft and the hard stroke of one variant, from equal streams."""
    takes = (Take(seeds.noise(0, "kit", *label), hard, tuning, voice.tilt_db, voice.tilt_from) for hard in (0.0, 1.0))
    return [voice.build(take) for take in takes]


def _wide_loop(stack: Array) -> Array:
    """Two channels from one periodic texture, far enough apart in it to share nothing but their colour."""
    n = stack.shape[-1]
    other = np.roll(stack, n // 3, axis=-1)
    return np.concatenate((stack + np.float32(0.45) * other, np.float32(0.45) * stack + other), axis=1)


def _in_room(stack: Array, kit: Kit, voice: DrumVoice) -> Array:
    if kit.room is None or voice.room <= 0.0:
        return fade_end(through(stack, highpass=voice.highpass), 0.02)
    response = room_response(seeds.noise(0, "kit", kit.id, "room"), kit.room.seconds, kit.room.curve)
    wet = 10.0 ** (kit.room.level / 20.0) * voice.room
    return fade_end(through(stack, highpass=voice.highpass, room=response, wet=wet), 0.25)


def _loudness(x: Array) -> NDArray[np.float64]:
    """The K-weighted powers (BS.1770's two filters, by their magnitudes) of takes [v, channels, n] over 0.25 s, and
    what each pair of them shares: [v, v]. A mix w of the takes has the power w @ this @ w."""
    size = samples_of(0.25)
    head = x[..., :size]
    size = fast_size(size)
    hertz = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    low = hertz**2 / (hertz**2 + 38.0**2)
    shelf = np.sqrt(1.0 + 1.5 / (1.0 + (1680.0 / np.maximum(hertz, 1.0)) ** 4))  # +4 dB above 1.7 kHz
    heard = np.fft.rfft(head, size, axis=-1) * (low * shelf)
    heard = heard.reshape(len(x), -1)
    return np.asarray((heard @ heard.conj().T).real * (2.0 / size**2 / x.shape[1]), np.float64)
