"""Score → Standard MIDI File, type 1."""

from __future__ import annotations

from io import BytesIO
from itertools import zip_longest
from typing import Any

from tonewheel.composer.score import Part, Score
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.theory import FLAT_NAMES, Key, parse_key

PPQ = 480
_DRUM_CHANNEL = 9
_CHANNELS = tuple(c for c in range(16) if c != _DRUM_CHANNEL)
_MINOR_SIGNATURES = {1: "C#m", 3: "Ebm", 6: "F#m", 8: "G#m", 10: "Bbm"}
_RELATIVE_MAJOR = {"dorian": 10, "mixolydian": 5, "lydian": 7, "phrygian": 8}
_Event = tuple[int, int, Any]  # tick, order within the tick, message


def to_midi(score: Score) -> bytes:
    """The score as a MIDI file: tempo, metre, key and section markers on the first track, one track a part,
    lyrics on the melody's, drums on channel 10. Equal scores give equal bytes."""
    import mido  # noqa: PLC0415  (only who writes MIDI waits for it)

    file = mido.MidiFile(type=1, ticks_per_beat=PPQ, charset="utf-8")
    file.tracks.append(_track(mido, _conductor(mido, score), score.title))
    channels = _assign_channels(score.parts)
    singer = next((p.id for p in score.parts if p.role == "melody"), None)
    for part in score.parts:
        events = _part_events(mido, part, channels[part.id])
        if part.id == singer:
            events += _lyrics(mido, score)
        file.tracks.append(_track(mido, events, part.id))
    if singer is None and score.syllables:
        file.tracks.append(_track(mido, _lyrics(mido, score), "lyrics"))
    out = BytesIO()
    file.save(file=out)
    return out.getvalue()


def _tick(quarter: float) -> int:
    return max(0, round(quarter * PPQ))


def _track(mido: Any, events: list[_Event], name: str) -> Any:
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name=name, time=0))
    now = 0
    for tick, _order, message in sorted(events, key=lambda e: (e[0], e[1])):
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=0))
    return track


def _conductor(mido: Any, score: Score) -> list[_Event]:
    upper, lower = (int(x) for x in score.time_signature.split("/"))
    events: list[_Event] = [
        (0, 0, mido.MetaMessage("set_tempo", tempo=min(round(60e6 / score.tempo), 0xFFFFFF))),
        (0, 0, mido.MetaMessage("time_signature", numerator=upper, denominator=lower)),
        (0, 0, mido.MetaMessage("key_signature", key=key_signature(parse_key(score.key)))),
    ]
    events += [(_tick(s.start), 1, mido.MetaMessage("marker", text=s.label)) for s in score.sections]
    end = _tick(score.duration_s / score.quarter_s)
    events.append((max(end, events[-1][0]), 2, mido.MetaMessage("marker", text="End")))
    return events


def key_signature(key: Key) -> str:
    """The key as MIDI writes it: a major or minor signature; other modes by the major key of the same notes."""
    if key.mode == "minor":
        return _MINOR_SIGNATURES.get(key.tonic, FLAT_NAMES[key.tonic] + "m")
    tonic = (key.tonic + _RELATIVE_MAJOR.get(key.mode, 0)) % 12
    return "F#" if tonic == 6 else FLAT_NAMES[tonic]


def _assign_channels(parts: tuple[Part, ...]) -> dict[str, int]:
    """A channel a part; when there are more parts than channels, parts of one program share, then of one
    family, then the last channel."""
    channels: dict[str, int] = {}
    owner: dict[int, int] = {}  # program -> channel
    family: dict[str, int] = {}
    free = list(_CHANNELS)
    melodic = [p for p in parts if p.role != "drums"]
    crowded = len(melodic) > len(_CHANNELS)
    for part in melodic:
        info = INSTRUMENTS[part.instrument]
        if crowded and info.gm_program in owner:
            channels[part.id] = owner[info.gm_program]
            continue
        channel = free.pop(0) if free else family.get(info.family, _CHANNELS[-1])
        channels[part.id] = channel
        owner.setdefault(info.gm_program, channel)
        family.setdefault(info.family, channel)
    return channels | {p.id: _DRUM_CHANNEL for p in parts if p.role == "drums"}


def _part_events(mido: Any, part: Part, channel: int) -> list[_Event]:
    program = INSTRUMENTS[part.instrument].gm_program
    volume = max(1, min(127, round(110 * 10 ** (part.mix.loudness / 40))))  # CC7 is a square law
    pan = max(0, min(127, round(64 + 63 * part.mix.pan)))
    events: list[_Event] = [
        (0, 0, mido.Message("program_change", channel=channel, program=program)),
        (0, 0, mido.Message("control_change", channel=channel, control=7, value=volume)),
        (0, 0, mido.Message("control_change", channel=channel, control=10, value=pan)),
        (0, 0, mido.Message("control_change", channel=channel, control=91, value=round(127 * part.mix.reverb))),
    ]
    for note in part.notes:
        start = _tick(note.start)
        stop = max(start + 1, _tick(note.end))
        on = mido.Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)
        off = mido.Message("note_off", channel=channel, note=note.pitch, velocity=64)
        events += [(start, 3, on), (stop, 1, off)]
    return events


def _lyrics(mido: Any, score: Score) -> list[_Event]:
    """Lyric events: a hyphen where the word goes on, a carriage return at the end of a line (as RP-017 asks)."""
    events: list[_Event] = []
    for here, after in zip_longest(score.syllables, score.syllables[1:]):
        if after is None or after.line_start:
            ending = "\r"
        else:
            ending = " " if after.word_start else "-"
        events.append((_tick(here.start), 2, mido.MetaMessage("lyrics", text=here.text + ending)))
    return events
