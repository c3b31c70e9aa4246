"""Score → audio: every stem is made, placed in the mix, and dropped before the next one is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tonewheel.composer.mix.filters import CHUNK, Samples
from tonewheel.composer.mix.master import master
from tonewheel.composer.mix.space import add_delay, add_reverb
from tonewheel.composer.mix.stem import shape_stem, side_chain
from tonewheel.composer.score import Part, Score
from tonewheel.composer.soundfont import SoundFontPlayer
from tonewheel.composer.synth import render_part
from tonewheel.composer.synth.kits import forget_layers, split_kick
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.styles.schema import PartMix
from tonewheel.theory import parse_key

# Loudness of the loudest part before mastering; the master sets the final level.
_REFERENCE_LUFS = -20.0

# Beyond this the song's own buffers need the memory more than the next song needs ready drums.
_LONG_S = 120.0

Progress = Callable[[str, float], None]  # stage, fraction 0-1
StemSink = Callable[[str, Samples], None]  # part id, float32 [2, n]; the array is reused afterwards


def render(
    score: Score, *, progress: Progress | None = None, on_stem: StemSink | None = None, soundfont: Path | None = None
) -> Samples:
    """The finished stereo mix, float32 [2, round(duration_s * 44100)], at -14 LUFS.

    A pure function of the score: the same score gives the same samples on the same machine.
    `on_stem` gets each stem as it stands in the mix (before the master). With a SoundFont (.sf2, .sf3),
    acoustic parts are played by FluidSynth (`tonewheel[soundfont]`), all others by the built-in synth.
    """
    with ExitStack() as stack:
        # BLAS splits a product by the cores it may use, and the split decides the last bit of a sample:
        # with one thread the same score gives the same bytes however many cores there are.
        stack.enter_context(threadpool_limits(1, user_api="blas"))
        player = stack.enter_context(SoundFontPlayer(soundfont)) if soundfont else None
        return _render(score, progress or (lambda _stage, _fraction: None), on_stem, player)


def _render(score: Score, tell: Progress, on_stem: StemSink | None, player: SoundFontPlayer | None) -> Samples:
    samples = round(score.duration_s * SAMPLE_RATE)
    mix = np.zeros((2, samples), dtype=np.float32)
    room = np.zeros(samples, dtype=np.float32)
    echo = np.zeros(samples, dtype=np.float32)
    depth = side_chain(score.kicks, score.quarter_s, samples) if any(p.mix.duck for p in score.parts) else None
    parts = [q for p in score.parts if p.notes for q in (_split_kick(p) if p.role == "drums" else (p,))]
    tonic = parse_key(score.key).tonic
    for i, part in enumerate(parts):
        tell("stems", i / len(parts))
        if player and player.plays(part):
            stem = player.render(part, score.tempo, samples)
        else:
            stem = render_part(part, tempo=score.tempo, samples=samples, seed=score.seed, tonic=tonic)
        now = shape_stem(stem, part, score.quarter_s, depth)
        if math.isfinite(now):  # a silent stem has nothing to add
            _add(stem, now, part.mix, mix, room, echo)
        if on_stem:
            on_stem(part.id, stem)
        del stem
        if part.role == "drums" and score.duration_s > _LONG_S:
            forget_layers()
    tell("mix", 0.0)
    add_delay(mix, echo, score.space, score.quarter_s)
    del echo
    add_reverb(mix, room, score.space)
    del room
    tell("master", 0.0)
    master(mix, score.master, score.seed)
    return mix


def _add(stem: Samples, now: float, place: PartMix, mix: Samples, room: Samples, echo: Samples) -> None:
    """Bring the stem from loudness `now` to its role's, and add it to the mix and its mid to the sends."""
    gain = np.float32(10 ** ((_REFERENCE_LUFS + place.loudness - now) / 20))
    sends = [(bus, np.float32(0.5 * amount)) for bus, amount in ((room, place.reverb), (echo, place.delay)) if amount]
    for start in range(0, stem.shape[1], CHUNK):
        here = slice(start, start + CHUNK)
        piece = stem[:, here]
        if not piece.any():
            continue
        piece *= gain
        mix[:, here] += piece
        if sends:
            mid = piece[0] + piece[1]
            for bus, amount in sends:
                bus[here] += mid * amount


def _split_kick(part: Part) -> list[Part]:
    """A drum part as kick and rest: the kick keeps out of the room and is not ducked by itself."""
    kick, rest = split_kick(part)
    if kick is None or rest is None:
        return [part]
    dry = {"reverb": 0.0, "delay": 0.0, "duck": 0.0, "width": 0.0}
    # Together about as loud as one part: 3 dB under it each would be equal power; kicks carry a little more.
    louder = part.mix.model_copy(update={**dry, "loudness": max(part.mix.loudness - 2.0, -40.0)})
    softer = part.mix.model_copy(update={"loudness": max(part.mix.loudness - 3.5, -40.0)})
    return [replace(kick, mix=louder), replace(rest, mix=softer)]
