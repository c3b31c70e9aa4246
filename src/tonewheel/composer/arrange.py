"""Song plan → score: every part composed, none of it heard yet.

The order is that of an arranger at a desk: the form, the band, who plays when, harmony and tune, then each
player's part, and last the human errors of time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from tonewheel.composer.bass import bass_notes, ring_root
from tonewheel.composer.comping import comp_notes, ring_chord, voice_part
from tonewheel.composer.drums import drum_notes, ring_hits
from tonewheel.composer.genre import style_for
from tonewheel.composer.groove import humanised
from tonewheel.composer.layers import Layering, layer
from tonewheel.composer.players import Band, Player, gather, instrument_range
from tonewheel.composer.score import ChordSpan, Note, Part, Score, ScoreSection
from tonewheel.composer.sections import Form, lay_out
from tonewheel.composer.transitions import brightness, impacts, risers, swells
from tonewheel.composer.tune import Phrase, Tune, second_voice, sung_syllables
from tonewheel.songs.plan import SongPlan
from tonewheel.styles.instruments import DRUM_VOICES
from tonewheel.styles.schema import Bass, Drums, Melody, Style

__all__ = ["arrange", "style_for"]

_KICKS = frozenset((35, 36))
_DOUBLE_SOFTER_LU = 6.0


@dataclass(frozen=True)
class _Desk:
    """What every part is written from."""

    form: Form
    band: Band
    layering: Layering
    style: Style

    @cached_property
    def brightness(self) -> tuple[tuple[float, float], ...]:
        return brightness(self.form)

    def plays_into_ring(self, player: Player) -> bool:
        return self.form.ring_bar is not None and self.layering.plays(player.id, self.form.ring_bar - 1)


def arrange(plan: SongPlan, style: Style | None = None) -> Score:
    """The score of a plan: a pure function of it (and of the style, by default `style_for(plan)`).

    Raises InvalidPlan when the plan has more sections than bars, InvalidStyle when a style file is broken.
    """
    chosen = style or style_for(plan)[0]
    form = lay_out(plan, chosen)
    band = gather(plan, chosen)
    desk = _Desk(form, band, layer(form, band), chosen)
    layer_ = band.melody.layer if band.melody else chosen.melody
    assert isinstance(layer_, Melody)
    tune = Tune(form, layer_, chosen.lyric_bars)
    phrases = tune.phrases(_heard(desk))
    parts = [*_drums(desk), *_bass(desk), *_comps(desk, tune), *_melody(desk, tune, phrases)]
    riser = risers(form, band)
    if riser:
        parts.append(riser)
    return Score(
        title=plan.title, style=chosen.id, tempo=60.0 / form.grid.quarter_s, quarters_per_bar=form.grid.bar,
        time_signature=plan.time_signature, key=plan.key, seed=plan.seed, duration_s=plan.duration_s,
        sections=_sections(form), chords=tuple(ChordSpan(s.start, s.duration, s.symbol) for s in form.spans),
        parts=tuple(p for p in parts if p.notes), syllables=sung_syllables(phrases, form),
        space=chosen.space, master=chosen.master,
    )  # fmt: skip


def _heard(desk: _Desk) -> frozenset[int]:
    """Sections in which the melody player takes part."""
    player = desk.band.melody
    if player is None:
        return frozenset()
    return frozenset(
        p.index
        for p in desk.form.passages
        if any(desk.layering.plays(player.id, bar) for bar in range(p.bar, p.bar + p.bars))
    )


def _drums(desk: _Desk) -> list[Part]:
    player, form = desk.band.drums, desk.form
    if player is None or not isinstance(player.layer, Drums):
        return []
    notes = drum_notes(player, form, desk.layering)
    notes += impacts(form, desk.band, desk.layering) + ring_hits(player, form, desk.layering)
    late = {DRUM_VOICES[voice]: ms for voice, ms in player.layer.offsets_ms.items() if voice in DRUM_VOICES}
    human = humanised(
        notes, form, player.id, humanize=desk.style.humanize, offset_ms=player.layer.offset_ms, by_pitch_ms=late,
        tight=_KICKS,
    )  # fmt: skip
    swell = swells(form, desk.layering, player)
    return [Part(player.id, player.role, player.instrument, human, player.layer.mix, desk.brightness, swell)]


def _bass(desk: _Desk) -> list[Part]:
    player = desk.band.bass
    if player is None:
        return []
    notes = bass_notes(player, desk.form, desk.layering)
    root = ring_root(player, desk.form) if desk.plays_into_ring(player) else None
    return [_part(desk, player, [*notes, *([root] if root else [])])]


def _comps(desk: _Desk, tune: Tune) -> list[Part]:
    form, layering = desk.form, desk.layering
    bass = desk.band.bass.id if desk.band.bass else None
    crowd = [sum(layering.plays(c.id, bar) for c in desk.band.comps) for bar in range(form.bars)]
    parts = []
    for player in desk.band.comps:
        ceiling = tune.low + 4 if desk.band.melody and player.role in ("chords", "pad") else None
        voicings = voice_part(player, form, layering, bass, ceiling)
        notes = comp_notes(player, form, layering, voicings, crowd)
        if desk.plays_into_ring(player) and player.role in ("chords", "pad"):
            notes += ring_chord(player, form, voicings[-1])
        parts.append(_part(desk, player, notes))
    return parts


def _melody(desk: _Desk, tune: Tune, phrases: list[Phrase]) -> list[Part]:
    """The tune, on another instrument in the chorus where the style says so, and its second voice."""
    player = desk.band.melody
    if player is None or not isinstance(player.layer, Melody):
        return []
    layer_ = player.layer
    heard = [p for p in phrases if desk.layering.plays(player.id, p.line.passage.bar)]
    second = layer_.chorus_instrument if layer_.chorus_instrument != player.instrument else None
    lead: list[Note] = []
    chorus: list[Note] = []
    for phrase in heard:
        (chorus if second and phrase.line.passage.peak else lead).extend(_timed(phrase, desk))
    ending = tune.ending(heard)
    if ending:
        (chorus if second and heard[-1].line.passage.peak else lead).append(ending)
    parts = [_part(desk, player, lead)]
    if second:
        parts.append(_part(desk, replace(player, id="melody_chorus", instrument=second), chorus))
    if layer_.doubled_in_chorus:
        parts.append(_double(desk, player, [p for p in heard if p.line.passage.peak]))
    return parts


def _timed(phrase: Phrase, desk: _Desk) -> list[Note]:
    """The notes of a phrase on the swung grid; triplet melodies already sit where swing would put them."""
    if desk.style.melody.steps_per_beat == 3:
        return list(phrase.notes)
    at = desk.form.grid.at
    return [Note(at(n.start), at(n.end) - at(n.start), n.pitch, n.velocity) for n in phrase.notes]


def _double(desk: _Desk, player: Player, phrases: list[Phrase]) -> Part:
    """A softer second voice under the tune of the chorus."""
    layer_ = player.layer
    assert isinstance(layer_, Melody)
    notes = [
        replace(note, pitch=second_voice(raw, desk.form), velocity=max(1, note.velocity - 10))
        for phrase in phrases
        for raw, note in zip(phrase.notes, _timed(phrase, desk), strict=True)
    ]
    loudness = max(-40.0, layer_.mix.loudness - _DOUBLE_SOFTER_LU)
    mix = layer_.mix.model_copy(update={"loudness": loudness, "pan": 0.25 - layer_.mix.pan})
    instrument = layer_.chorus_instrument or player.instrument
    return _part(desk, Player("melody_double", "counter", instrument, layer_.model_copy(update={"mix": mix})), notes)


def _part(desk: _Desk, player: Player, notes: list[Note]) -> Part:
    """A part of pitched notes: brought into the instrument's range, made human, with its curves."""
    layer_ = player.layer
    low, high = instrument_range(player.instrument)
    human = humanised(
        [_within(n, low, high) for n in notes], desk.form, player.id, humanize=desk.style.humanize,
        offset_ms=layer_.offset_ms, tight=player.role == "bass", one_voice=isinstance(layer_, Bass | Melody),
    )  # fmt: skip
    glide = layer_.glide if isinstance(layer_, Bass) else 0.0
    swell = swells(desk.form, desk.layering, player)
    return Part(player.id, player.role, player.instrument, human, layer_.mix, desk.brightness, swell, glide)


def _within(note: Note, low: int, high: int) -> Note:
    """The note moved by octaves into the range of its instrument."""
    pitch = note.pitch
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return note if pitch == note.pitch else replace(note, pitch=max(0, pitch))


def _sections(form: Form) -> tuple[ScoreSection, ...]:
    bar = form.grid.bar
    return tuple(
        ScoreSection(p.section.id, p.section.label, p.role, p.bar * bar, p.bars * bar, p.energy) for p in form.passages
    )
