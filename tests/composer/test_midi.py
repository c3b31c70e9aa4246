"""The MIDI file: read back by mido, it is the score."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import mido
import pytest
from arranged import ALL_STYLES, notes_of, plan_for, score_for

from tonewheel.composer.arrange import arrange
from tonewheel.composer.midi import PPQ, key_signature, to_midi
from tonewheel.composer.score import Part, Score
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.schema import PartMix
from tonewheel.theory import MODES, Key


def read(score: Score) -> mido.MidiFile:
    return mido.MidiFile(file=BytesIO(to_midi(score)), charset="utf-8")


def timed(track: mido.MidiTrack) -> list[tuple[int, mido.Message]]:
    now, out = 0, []
    for message in track:
        now += message.time
        out.append((now, message))
    return out


@pytest.mark.parametrize("name", ALL_STYLES)
def test_a_file_holds_every_note_with_its_part_and_instrument(name: str) -> None:
    score = score_for(name)
    file = read(score)
    assert (file.type, file.ticks_per_beat) == (1, 480)
    assert [t.name for t in file.tracks] == [score.title, *(p.id for p in score.parts)]
    assert file.length == pytest.approx(score.duration_s, abs=0.05)
    for part, track in zip(score.parts, file.tracks[1:], strict=True):
        on = [(t, m.note, m.velocity) for t, m in timed(track) if m.type == "note_on"]
        assert sorted(on) == sorted((round(n.start * PPQ), n.pitch, n.velocity) for n in part.notes)
        assert len(on) == sum(m.type == "note_off" for m in track)
        channels = {m.channel for m in track if hasattr(m, "channel")}
        assert channels == {9} if part.role == "drums" else channels and 9 not in channels
        programs = [m.program for m in track if m.type == "program_change"]
        assert programs == [INSTRUMENTS[part.instrument].gm_program]


def test_no_note_is_cut_by_the_end_of_the_one_before() -> None:
    score = score_for("house", duration_s=60)
    for track in read(score).tracks[1:]:
        sounding: set[int] = set()
        for _, m in timed(track):
            if m.type == "note_on":
                assert m.note not in sounding
                sounding.add(m.note)
            elif m.type == "note_off":
                sounding.discard(m.note)


def test_the_conductor_has_tempo_metre_key_and_sections() -> None:
    plan = plan_for("waltz", duration_s=60, key="Bb major")
    score = arrange(plan)
    first = timed(read(score).tracks[0])
    by_type = {m.type: m for _, m in first}
    assert by_type["set_tempo"].tempo == round(60e6 / score.tempo)
    assert (by_type["time_signature"].numerator, by_type["time_signature"].denominator) == (3, 4)
    assert by_type["key_signature"].key == "Bb"
    markers = [(t, m.text) for t, m in first if m.type == "marker"]
    assert markers[:-1] == [(round(s.start * PPQ), s.label) for s in score.sections]


def test_lyrics_ride_on_the_tune() -> None:
    score = score_for("folk", duration_s=90)
    tracks = {t.name: t for t in read(score).tracks}
    sung = [(t, m.text) for t, m in timed(tracks["melody"]) if m.type == "lyrics"]
    assert [t for t, _ in sung] == [round(s.start * PPQ) for s in score.syllables]
    assert "".join(text for _, text in sung[:10]).startswith("I left my lan-tern")
    assert sum(text.endswith("\r") for _, text in sung) == len({s.line for s in score.syllables})


def test_lyrics_of_any_script_survive() -> None:
    plan = plan_for("folk", duration_s=60)
    lines = ("夜の海に灯りを", "Журавли летят домой", "naïve façade 🌊", "سلام يا قمر")
    changed = tuple(s.model_copy(update={"lyrics": lines if s.lyrics else ()}) for s in plan.sections)
    score = arrange(plan.model_copy(update={"sections": changed, "title": "灯り"}))
    file = read(score)
    text = "".join(m.text for track in file.tracks for m in track if m.type == "lyrics")
    assert "夜" in text and file.tracks[0].name == "灯り"


@pytest.mark.parametrize("mode", list(MODES))
def test_every_key_has_a_signature_that_midi_knows(mode: str) -> None:
    for tonic in range(12):
        name = key_signature(Key(tonic, mode))
        assert mido.MetaMessage("key_signature", key=name).key == name
    assert key_signature(Key(2, "dorian")) == "C"
    assert key_signature(Key(9, "minor")) == "Am"


def test_more_parts_than_channels_share_them() -> None:
    score = score_for("synth-pop")
    note = notes_of(score, "bass")[0]
    names = [i for i in INSTRUMENTS.values() if i.family not in ("drums", "effects")]
    many = tuple(Part(f"p{n}", "chords", info.id, (note,), PartMix()) for n, info in enumerate(names))
    assert len(many) > 15
    tracks = read(replace(score, parts=many, syllables=())).tracks[1:]
    channels = [next(m.channel for m in t if m.type == "note_on") for t in tracks]
    assert len(set(channels)) == 15 and 9 not in channels


def test_words_without_a_singer_still_have_times() -> None:
    score = score_for("folk")
    silent = replace(score, parts=tuple(p for p in score.parts if p.role != "melody"))
    track = next(t for t in read(silent).tracks if t.name == "lyrics")
    assert sum(m.type == "lyrics" for m in track) == len(score.syllables)
