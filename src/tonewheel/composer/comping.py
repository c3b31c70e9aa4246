"""Parts made from chords: comping, pads, arpeggios and riffs, from comp rows and led voices."""

from __future__ import annotations

from tonewheel.composer.layers import Layering
from tonewheel.composer.players import Player, ringing
from tonewheel.composer.rows import Stroke, song_row, strokes
from tonewheel.composer.score import Note
from tonewheel.composer.sections import Form
from tonewheel.composer.voicing import Register, Voicing, lead_voices, thinned
from tonewheel.seeds import derive
from tonewheel.styles.schema import Comp

_ONSETS = "Xxdubh12345678"
_VELOCITY = {"X": 96, "x": 76, "d": 88, "u": 70, "b": 82, "h": 72}
_DIGIT_VELOCITY = 78
_OVER = 2  # semitones an arpeggio may climb over its register
_CROWD = 3  # from this many chord parts on, each takes a note less


def voice_part(
    player: Player, form: Form, layering: Layering, bass: str | None, ceiling: int | None = None
) -> list[Voicing]:
    """One voicing for each span of the form; its top stays near or under `ceiling`, where the tune begins."""
    layer = player.layer
    assert isinstance(layer, Comp)
    bars = [min(int(span.start / form.grid.bar + 1e-6), form.bars - 1) for span in form.spans]
    rootless = [bass is not None and layering.plays(bass, bar) for bar in bars]
    seed = derive(form.seed, "voicing", player.id)
    register = Register(layer.low, max(layer.high, layer.low + 12), layer.voices, ceiling)
    lifts = [round(4 * (form.energy_at(span.start) - 0.5)) for span in form.spans]
    return lead_voices([s.chord for s in form.spans], rootless, register, seed, lifts)


def comp_notes(player: Player, form: Form, layering: Layering, voicings: list[Voicing], crowd: list[int]) -> list[Note]:
    """The notes of a chord part on the swung grid, strums included. `crowd[bar]` counts the chord parts that
    play in a bar."""
    layer = player.layer
    assert isinstance(layer, Comp)
    row = song_row(form, layering, player, layer.levels, "x")
    by_span = {id(span): voicing for span, voicing in zip(form.spans, voicings, strict=True)}
    strum = form.grid.quarters(layer.strum_ms)
    notes: list[Note] = []
    for stroke in strokes(row, form, _ONSETS):
        voicing = by_span[id(stroke.span)]
        bar = min(int(stroke.start / form.grid.bar), form.bars - 1)
        if crowd[bar] >= _CROWD and layer.voices >= 4:
            voicing = thinned(voicing, stroke.span.chord, layer.voices - 1)
        notes += _play(stroke, voicing, form, strum, layer.high + _OVER)
    return _held(notes) if layer.legato else notes


def _play(stroke: Stroke, voicing: Voicing, form: Form, strum: float, top: int) -> list[Note]:
    start, end = form.grid.at(stroke.start), form.grid.at(stroke.start + stroke.duration)
    accent = (0.92 + 0.1 * form.grid.strength(stroke.start)) * (0.9 + 0.18 * form.energy_at(stroke.start))
    velocity = round(_VELOCITY.get(stroke.sign, _DIGIT_VELOCITY) * accent * (1.0 if stroke.first else 0.9))
    pitches = _pitches(stroke.sign, voicing, top)
    down = stroke.sign != "u"
    out = []
    for n, pitch in enumerate(pitches if down else reversed(pitches)):
        late = min(n * strum, (end - start) * 0.5)
        # The strings struck later ring a little softer, the top of a chord carries the tune of it.
        level = velocity + (3 if pitch == pitches[-1] and len(pitches) > 2 else 0) - (2 * n if strum else 0)
        out.append(Note(start + late, end - start - late, pitch, max(1, level)))
    return out


def _pitches(sign: str, voicing: Voicing, top: int) -> Voicing:
    if sign == "b":
        return voicing[:1]
    if sign == "h":
        return voicing[1:] or voicing
    if sign == "u":
        return voicing[-3:]
    if sign.isdigit():
        octave, degree = divmod(int(sign) - 1, len(voicing))
        pitch = voicing[degree] + 12 * octave
        while pitch > top:
            pitch -= 12
        return (pitch,)
    return voicing


def _held(notes: list[Note]) -> list[Note]:
    """Notes common to neighbouring chords as one long note."""
    out: list[Note] = []
    open_: dict[int, int] = {}
    for note in sorted(notes):
        at = open_.get(note.pitch)
        if at is not None and abs(out[at].end - note.start) < 0.02 and out[at].duration < 16:
            before = out[at]
            out[at] = Note(before.start, note.end - before.start, note.pitch, before.velocity)
            continue
        open_[note.pitch] = len(out)
        out.append(note)
    return out


def ring_chord(player: Player, form: Form, voicing: Voicing) -> list[Note]:
    """The last chord, struck on the downbeat of the ring-out bar and left to decay."""
    if form.ring_bar is None or not isinstance(player.layer, Comp):
        return []
    start = form.ring_bar * form.grid.bar
    spread = form.grid.quarters(max(player.layer.strum_ms, 12 if player.role != "pad" else 0))
    length = ringing(player.instrument, form.end - start)
    return [
        Note(start + n * spread, max(length - n * spread, 0.25), pitch, 80)
        for n, pitch in enumerate(voicing)
        if n * spread < length
    ]
