"""A part of the score -> its raw stereo stem."""

from __future__ import annotations

import math

import numpy as np

from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth.cache import LayerCache
from tonewheel.composer.synth.envelopes import Samples, fall
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.registry import voice_of
from tonewheel.composer.synth.voice import Event, Layers, Stage, Voice, faded_end
from tonewheel.seeds import noise
from tonewheel.styles.instruments import INSTRUMENTS

CACHE = LayerCache(64 * 2**20)
_JOINED_S = 0.035  # notes nearer than this are played in one breath
_LONGEST_GLIDE_S = 0.3  # at Part.glide 1
_CHANCES = 8
_SHORTEST = 220  # samples: 5 ms; less is a click, whatever the instrument


def render_part(part: Part, *, tempo: float, samples: int, seed: int, tonic: int | None = None) -> Samples:
    """Play `part`: float32 [2, samples] at SAMPLE_RATE, before the mix (Part.level is not applied).

    `tempo` in quarter notes a minute; `tonic` the pitch class that tonal drums are tuned to.
    Notes past the end are cut with a short fade. The same part, tempo and seed give the same bytes.
    """
    family = INSTRUMENTS[part.instrument].family
    if family == "drums":
        from tonewheel.composer.synth.kits import render_kit  # noqa: PLC0415  (only the parts a song has are loaded)

        return render_kit(part, tempo=tempo, samples=samples, seed=seed, tuning=tonic)
    if family == "effects":
        from tonewheel.composer.synth.effects import render_effects  # noqa: PLC0415

        return render_effects(part, tempo=tempo, samples=samples, seed=seed)
    return _render_pitched(part, tempo, samples, seed)


def _render_pitched(part: Part, tempo: float, samples: int, seed: int) -> Samples:
    voice = voice_of(part.instrument)
    stem = np.zeros((2, samples), np.float32)
    cut = False
    by_pitch: dict[int, list[tuple[int, Event]]] = {}
    for start, event in _events(part, voice, tempo, seed):
        if start < samples:
            by_pitch.setdefault(event.pitch, []).append((start, event))
    for pitch in sorted(by_pitch):
        played = by_pitch[pitch]
        longest = max(event.held + voice.release_samples(event) for _, event in played)
        layers = layers_of(part.instrument, voice, pitch, longest / SAMPLE_RATE)
        for start, event in played:
            out = voice.play(layers, event)
            stop = min(start + out.shape[1], samples)
            cut |= start + out.shape[1] > samples
            stem[:, start:stop] += out[:, : stop - start]
    stem = voice.finish(stem, Stage(part, tempo, seed))
    if cut:
        n = min(512, samples)
        stem[:, samples - n :] *= fall(n)
    return stem


def layers_of(instrument: str, voice: Voice, pitch: int, seconds: float) -> Layers:
    """The layers of a pitch for notes of up to `seconds`, from the cache or rendered now."""
    bucket = 0.0 if voice.loop else _bucket(seconds)
    key = (instrument, pitch, bucket)
    layers = CACHE.get(key)
    if layers is None:
        layers = voice.build(pitch, bucket, noise(0, "layers", instrument, pitch))
        if not voice.loop:
            faded_end(layers)
        layers.samples.setflags(write=False)
        CACHE.put(key, layers)
    return layers


def _bucket(seconds: float) -> float:
    """Lengths are rounded up to powers of the square root of two, so that few are kept."""
    return float(2.0 ** (math.ceil(2.0 * math.log2(max(seconds, 0.25))) / 2.0))


def _events(part: Part, voice: Voice, tempo: float, seed: int) -> list[tuple[int, Event]]:
    """The notes in order, as (first sample, event): strings are damped when struck again, monophonic
    instruments by their next note."""
    rate = 60.0 / tempo * SAMPLE_RATE
    notes = sorted(part.notes)
    count = len(notes)
    rng = noise(seed, part.id, part.instrument)
    chances = rng.random((count, _CHANCES)).tolist()
    turn = float(rng.random())
    at, values = zip(*part.brightness, strict=True)
    opening = np.interp([n.start for n in notes], at, values).tolist()
    closing = np.interp([n.end for n in notes], at, values).tolist()
    ends = _ends(notes, voice.monophonic)
    joined = _JOINED_S * tempo / 60.0
    events = []
    for i, note in enumerate(notes):
        start = max(round(note.start * rate), 0)
        held = max(round((ends[i] - note.start) * rate), _SHORTEST)
        before = notes[i - 1] if i and voice.monophonic else None
        legato = before is not None and before.end > note.start - joined and before.start < note.start
        glides = before is not None and legato and part.glide > 0 and before.pitch != note.pitch
        event = Event(
            pitch=note.pitch,
            velocity=note.velocity / 127.0,
            held=held,
            brightness=opening[i],
            brightness_end=closing[i],
            turn=(turn + i * 0.6180339887) % 1.0,
            chance=chances[i],
            from_pitch=float(before.pitch) if before is not None and glides else None,
            legato=legato,
            glide_s=part.glide * _LONGEST_GLIDE_S,
        )
        events.append((start, event))
    return events


def _ends(notes: list[Note], monophonic: bool) -> list[float]:
    """When each note is let go of, in quarters."""
    ends = [note.end for note in notes]
    following: dict[int, float] = {}
    for i in range(len(notes) - 1, -1, -1):
        string = 0 if monophonic else notes[i].pitch
        again = following.get(string)
        if again is not None and again > notes[i].start:
            ends[i] = min(ends[i], again)
        following[string] = notes[i].start
    return ends
