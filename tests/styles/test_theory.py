"""Keys, chord symbols and Roman numerals: what is written is what is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tonewheel.errors import InvalidRequest
from tonewheel.theory import (
    FLAT_NAMES,
    MODES,
    QUALITIES,
    SHARP_NAMES,
    Chord,
    Key,
    bar_chords,
    parse_chord,
    parse_key,
    roman_chord,
)

keys = st.builds(Key, st.integers(0, 11), st.sampled_from(sorted(MODES)))
chords = st.builds(Chord, st.integers(0, 11), st.sampled_from(sorted(QUALITIES)), st.integers(0, 11))


@given(keys)
def test_a_key_reads_back_as_written(key: Key) -> None:
    assert parse_key(str(key)) == key


@pytest.mark.parametrize(
    ("text", "tonic", "mode"),
    [
        ("A minor", 9, "minor"), ("Am", 9, "minor"), ("F# major", 6, "major"), ("Bb", 10, "major"),
        ("D dorian", 2, "dorian"), ("e flat minor", 3, "minor"), ("CM", 0, "major"), ("c-moll", 0, "minor"),
        ("G_mixolydian", 7, "mixolydian"), ("A Aeolian", 9, "minor"), ("F♯ Lydian", 6, "lydian"), ("b", 11, "major"),
    ],
)  # fmt: skip
def test_keys_are_read_in_the_ways_people_write_them(text: str, tonic: int, mode: str) -> None:
    assert parse_key(text) == Key(tonic, mode)


@pytest.mark.parametrize("text", ["", "H major", "A locrian", "A minor minor", "12", "A" * 5000])
def test_a_key_that_is_none_says_what_to_write(text: str) -> None:
    with pytest.raises(InvalidRequest, match="write a note and a mode"):
        parse_key(text)


@pytest.mark.parametrize("key", [Key(t, m) for t in range(12) for m in MODES], ids=str)
def test_a_key_uses_each_letter_once_where_it_can(key: Key) -> None:
    names = [key.names[pc] for pc in key.scale]
    assert len(set(names)) == 7
    letters = {n[0] for n in names}
    assert len(letters) == 7 or "F#" in names or "Gb" in names  # six sharps or flats need an E# or Cb


@given(chords)
def test_a_chord_reads_back_as_written_with_sharps_and_flats(chord: Chord) -> None:
    assert parse_chord(chord.symbol(SHARP_NAMES)) == chord
    assert parse_chord(chord.symbol(FLAT_NAMES)) == chord


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("Cmaj", "C"), ("CM7", "Cmaj7"), ("CΔ", "Cmaj7"), ("A-7", "Am7"), ("Bø", "Bm7b5"), ("B°7", "Bdim7"),
        ("G7sus", "G7sus4"), ("C(add9)", "Cadd9"), ("Am(maj7)", "Ammaj7"), ("E7(b9)", "E7b9"), ("C69", "C6/9"),
        ("Bb+7", "Bb7#5"), ("Db/F", "C#/F"), ("Csus", "Csus4"), ("C6/9/E", "C69/E"), (" Am ", "Am"), ("F♯m", "Gbm"),
    ],
)  # fmt: skip
def test_spellings_of_one_chord_are_one_chord(written: str, same: str) -> None:
    assert parse_chord(written) == parse_chord(same)


@pytest.mark.parametrize("text", ["", "H", "c", "Cfoo", "C/H", "/C", "Am7/", "C\x00", "X" * 4000, "🎵"])
def test_a_chord_that_is_none_says_what_to_write(text: str) -> None:
    with pytest.raises(InvalidRequest, match="write a root and a quality"):
        parse_chord(text)


@given(st.text(max_size=40))
def test_any_text_is_a_chord_or_a_clear_refusal(text: str) -> None:
    for read in (parse_chord, parse_key, lambda t: roman_chord(t, Key(0, "major"))):
        try:
            read(text)
        except InvalidRequest as e:
            assert "\n" not in e.message


@given(chords)
def test_pitch_classes_lie_in_the_octave_and_begin_with_the_root(chord: Chord) -> None:
    assert chord.pitch_classes[0] == chord.root
    assert all(0 <= pc < 12 for pc in chord.pitch_classes)


@pytest.mark.parametrize(
    ("numeral", "key", "symbol"),
    [
        ("I", "C major", "C"), ("ii7", "C major", "Dm7"), ("V7", "F major", "C7"), ("vii°", "C major", "Bdim"),
        ("iiø7", "A minor", "Bm7b5"), ("VI", "A minor", "F"), ("VII", "A minor", "G"), ("III", "C minor", "Eb"),
        ("bVII", "C major", "Bb"), ("#iv°", "C major", "F#dim"), ("I/3", "C major", "C/E"), ("V/7", "C major", "G/B"),
        ("iv6", "C major", "Fm6"), ("i9", "D dorian", "Dm9"), ("IV13", "D dorian", "G13"), ("II", "E phrygian", "F"),
        ("I6/9", "C major", "C6/9"), ("i6/9", "A minor", "Am6/9"), ("V9sus4", "C major", "G9sus4"),
        ("isus2", "A minor", "Asus2"), ("v7sus4", "A minor", "E7sus4"), ("i5", "A minor", "A5"),
        ("im7", "A minor", "Am7"), ("iΔ", "A minor", "Ammaj7"), ("IVmaj9", "Eb major", "Abmaj9"),
        ("ii11", "C major", "Dm11"), ("iadd9", "A minor", "Amadd9"),
    ],
)  # fmt: skip
def test_numerals_name_the_chords_a_musician_expects(numeral: str, key: str, symbol: str) -> None:
    assert roman_chord(numeral, parse_key(key)) == parse_chord(symbol)


@given(keys, st.sampled_from(["i", "ii", "iii", "iv", "v", "vi", "vii"]), st.sampled_from(sorted(QUALITIES)))
def test_a_lower_case_numeral_never_gives_a_major_third(key: Key, degree: str, quality: str) -> None:
    try:
        chord = roman_chord(degree + quality, key)
    except InvalidRequest:
        return
    assert 4 not in QUALITIES[chord.quality]


@given(keys, st.integers(0, 6), st.sampled_from(["", "7", "9", "sus4", "add9", "6"]))
def test_numerals_move_with_the_key(key: Key, degree: int, suffix: str) -> None:
    numeral = ("I", "II", "III", "IV", "V", "VI", "VII")[degree] + suffix
    here, up = roman_chord(numeral, key), roman_chord(numeral, Key((key.tonic + 5) % 12, key.mode))
    assert (up.root - here.root) % 12 == 5
    assert up.quality == here.quality


@pytest.mark.parametrize("numeral", ["", "VIII", "H", "I/8", "Ifoo", "C", "ii7b9"])
def test_a_numeral_that_is_none_says_what_to_write(numeral: str) -> None:
    with pytest.raises(InvalidRequest, match="Roman numeral"):
        roman_chord(numeral, Key(0, "major"))


def test_chords_share_a_bar() -> None:
    assert bar_chords("C|G") == ["C", "G"]
    assert bar_chords(" Am7 | F | ") == ["Am7", "F"]
    assert bar_chords("") == []
