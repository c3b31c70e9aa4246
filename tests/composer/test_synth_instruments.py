"""What every pitched instrument promises: in tune, alive, clean at its edges."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth import SAMPLE_RATE, render_part
from tonewheel.composer.synth.oscillators import hertz
from tonewheel.composer.synth.registry import HOME, voice_of
from tonewheel.composer.synth.render import layers_of
from tonewheel.composer.synth.voice import Event
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.schema import PartMix

FAMILIES = ("organ", "keys", "mallets", "plucked", "bass")
MINE = [name for name, home in HOME.items() if home in FAMILIES]
# Several players or reeds beat around the pitch; the mean of what they play is what is heard.
LOOSE = {"pizzicato": 4.0, "accordion": 4.0}


def stem(instrument: str, notes: list[Note], seconds: float, *, seed: int = 1, brightness: float = 0.5) -> np.ndarray:
    part = Part("p", "chords", instrument, tuple(notes), PartMix(), brightness=((0.0, brightness),))
    return render_part(part, tempo=60.0, samples=int(seconds * SAMPLE_RATE), seed=seed)


@functools.cache
def middle(instrument: str) -> int:
    return (INSTRUMENTS[instrument].low + INSTRUMENTS[instrument].high) // 2


def bare_note(instrument: str, pitch: int, seconds: float) -> np.ndarray:
    """One note before what the whole stem goes through (the rotary speaker bends pitch on purpose)."""
    voice = voice_of(instrument)
    event = Event(
        pitch=pitch, velocity=0.7, held=int(seconds * SAMPLE_RATE), brightness=0.5, brightness_end=0.5, turn=0.3,
        chance=(0.2, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
    )  # fmt: skip
    out: np.ndarray = voice.play(layers_of(instrument, voice, pitch, seconds + 3.0), event).mean(axis=0)
    return out.astype(np.float64)


def cents_off(sound: np.ndarray, expected: float) -> float:
    """How far the partial nearest to `expected` Hz is from it."""
    size = 1 << 19
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size))
    first, last = (int(expected * 2 ** (c / 1200) * size / SAMPLE_RATE) for c in (-40, 40))
    peak = first + int(np.argmax(spectrum[first : last + 1]))
    a, b, c = np.log(spectrum[peak - 1 : peak + 2] + 1e-30)
    exact = (peak + 0.5 * (a - c) / (a - 2 * b + c)) * SAMPLE_RATE / size
    return 1200 * math.log2(exact / expected)


def level(sound: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))


def centroid(sound: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(sound.mean(axis=0))) ** 2
    return float(np.sum(power * np.fft.rfftfreq(sound.shape[1], 1 / SAMPLE_RATE)) / power.sum())


@pytest.mark.parametrize("instrument", MINE)
def test_it_is_in_tune_over_its_register(instrument: str) -> None:
    info = INSTRUMENTS[instrument]
    for pitch in (*range(info.low, info.high, 9), info.high):
        off = cents_off(bare_note(instrument, pitch, 1.5)[1500 : int(1.5 * SAMPLE_RATE)], hertz(pitch))
        assert abs(off) < LOOSE.get(instrument, 3.0), f"{instrument} {pitch}: {off:.2f} cents"


@pytest.mark.parametrize("instrument", MINE)
def test_velocity_is_louder_and_brighter(instrument: str) -> None:
    takes = [stem(instrument, [Note(0.0, 0.8, middle(instrument), v)], 1.0) for v in (25, 70, 120)]
    levels, brightness = [level(t) for t in takes], [centroid(t) for t in takes]
    assert levels[0] * 1.2 < levels[1] < levels[2] / 1.2
    assert brightness[0] < brightness[2] and brightness[1] < brightness[2] * 1.002


@pytest.mark.parametrize("instrument", MINE)
def test_a_brighter_part_sounds_brighter(instrument: str) -> None:
    dark, bright = (stem(instrument, [Note(0.0, 0.8, middle(instrument), 80)], 1.0, brightness=b) for b in (0.1, 0.9))
    assert centroid(dark) < centroid(bright)


@pytest.mark.parametrize("instrument", MINE)
def test_no_two_notes_are_the_same_samples(instrument: str) -> None:
    n = SAMPLE_RATE // 2
    repeated = stem(instrument, [Note(i * 0.5, 0.4, middle(instrument), 90) for i in range(4)], 2.0)
    takes = [repeated[0, i * n : i * n + n - 2000] for i in range(4)]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(takes[i], takes[j])
            assert np.corrcoef(takes[i], takes[j])[0, 1] < 0.9999
    levels = [level(t) for t in takes]
    assert max(levels) < 1.6 * min(levels)  # another take, not another dynamic


@pytest.mark.parametrize("instrument", MINE)
def test_the_seed_decides_every_sample(instrument: str) -> None:
    notes = [Note(i * 0.25, 0.3, middle(instrument) + i, 80) for i in range(3)]
    one, again, other = (stem(instrument, notes, 1.2, seed=s) for s in (5, 5, 6))
    assert one.tobytes() == again.tobytes()
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("instrument", MINE)
def test_it_plays_its_whole_range_at_any_velocity_and_length(instrument: str) -> None:
    info = INSTRUMENTS[instrument]
    pitches = (info.low, middle(instrument), info.high)
    for pitch in pitches:
        notes = [Note(i * 0.3, d, pitch, v) for i, (d, v) in enumerate([(0.01, 1), (0.05, 127), (0.2, 64)])]
        sound = stem(instrument, notes, 1.2)
        assert np.isfinite(sound).all()
        assert 0.005 < np.max(np.abs(sound)) < 1.5
        assert level(sound[:, int(0.3 * SAMPLE_RATE) : int(0.4 * SAMPLE_RATE)]) > 1e-4
    beyond = stem(instrument, [Note(i * 0.2, 0.2, p, 100) for i, p in enumerate((0, 12, 115, 127))], 1.0)
    assert np.isfinite(beyond).all() and np.max(np.abs(beyond)) < 3.0  # not pretty, but no fault
    long = stem(instrument, [Note(0.0, 20.0, pitches[0], 100)], 21.0)
    assert np.isfinite(long).all() and np.max(np.abs(long)) < 1.5


@pytest.mark.parametrize("instrument", MINE)
def test_it_has_no_dc_and_stays_in_phase(instrument: str) -> None:
    chord = [Note(0.0, 1.8, middle(instrument) + i, 90) for i in (0, 4, 7)]
    sound = stem(instrument, chord, 2.5)
    assert abs(float(sound.mean())) < 0.02 * level(sound)
    assert np.corrcoef(sound)[0, 1] > 0.2


@pytest.mark.parametrize("instrument", MINE)
def test_edges_do_not_click(instrument: str) -> None:
    """The steepest step where a note is let go of is no steeper than while it sounds, and it starts from rest."""
    pitch = middle(instrument)
    for velocity in (50, 120):
        sound = stem(instrument, [Note(0.1, 0.5, pitch, velocity)], 4.0)
        steps = np.max(np.abs(np.diff(sound, axis=1)), axis=0)
        start, off = int(0.1 * SAMPLE_RATE), int(0.6 * SAMPLE_RATE)
        sounding = steps[start : off - 100].max()
        assert steps[off - 100 :].max() <= 1.05 * sounding
        assert np.max(np.abs(sound[:, start : start + 2])) < 0.08 * np.max(np.abs(sound))
        assert np.max(np.abs(sound[:, :start])) < 1e-6


@pytest.mark.parametrize("instrument", MINE)
def test_letting_go_ends_the_sound(instrument: str) -> None:
    voice = voice_of(instrument)
    sound = stem(instrument, [Note(0.0, 1.0, middle(instrument), 100)], 5.0)
    event = Event(middle(instrument), 0.8, SAMPLE_RATE, 0.5, 0.5, 0.5, (0.5,) * 8)
    end = SAMPLE_RATE + voice.release_samples(event) + 200  # the cabinet adds a little
    assert voice.release_samples(event) < 2.6 * SAMPLE_RATE
    assert not np.abs(sound[:, end:]).max() > 1e-6


def steady_partials(sound: np.ndarray, base: float, count: int) -> np.ndarray:
    """Levels in dB of the first harmonics against the strongest."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18))
    at = [int(base * k * (1 << 18) / SAMPLE_RATE) for k in range(1, count + 1)]
    levels = np.array([spectrum[max(i - 12, 0) : i + 13].max() for i in at])
    out: np.ndarray = 20 * np.log10(levels / levels.max() + 1e-9)
    return out


def test_the_organ_has_its_nine_drawbars() -> None:
    bright = stem("drawbar_organ", [Note(0.0, 2.0, 48, 127)], 2.0, brightness=1.0).mean(axis=0)
    levels = steady_partials(bright[8000:80_000], hertz(36), 16)  # on the 16' pipe: 1 3 2 4 6 8 10 12 16
    drawn = [levels[k - 1] for k in (1, 2, 3, 4, 6, 8, 10, 12, 16)]
    assert min(drawn) > -26
    assert max(levels[k - 1] for k in (7, 9, 11, 13, 15)) < -30


def test_the_electric_piano_barks_then_sings() -> None:
    hard = bare_note("electric_piano", 52, 3.0)
    attack, later = hard[1000:12_000], hard[90_000:120_000]
    assert steady_partials(attack, hertz(52), 6)[1:].max() > steady_partials(later, hertz(52), 6)[1:].max() + 6


@pytest.mark.parametrize("instrument", ["nylon_guitar", "steel_guitar", "clean_guitar", "harp", "electric_bass"])
def test_strings_lose_their_highs_first(instrument: str) -> None:
    pitch = INSTRUMENTS[instrument].low + 7
    sound = bare_note(instrument, pitch, 2.5)
    early, late = (
        steady_partials(sound[1000:20_000], hertz(pitch), 24),
        steady_partials(sound[60_000:90_000], hertz(pitch), 24),
    )
    assert late[14:].mean() < early[14:].mean() - 5


def test_felt_piano_partials_are_stretched() -> None:
    sound = bare_note("felt_piano", 60, 1.5)[1500:60_000]
    assert 3 < cents_off(sound, hertz(60) * 8) < 40
