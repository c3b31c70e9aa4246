"""The core of the synthesizer: partials, loops, layers, notes."""

from __future__ import annotations

import hashlib
import math
import threading

import numpy as np
import pytest

from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth import SAMPLE_RATE, render_part
from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.cache import LayerCache
from tonewheel.composer.synth.envelopes import adsr, fall, release, rise
from tonewheel.composer.synth.filters import filtered
from tonewheel.composer.synth.oscillators import hertz, lines, loop_size, noise_burst, swept_turns, turns
from tonewheel.composer.synth.registry import HOME, voice_of
from tonewheel.composer.synth.render import CACHE, _ends
from tonewheel.composer.synth.rotary import control_points, rotary, switch
from tonewheel.composer.synth.voice import Layers, bent_positions, read
from tonewheel.errors import UnknownName
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.schema import PartMix


def part(instrument: str, notes: list[Note], **more: object) -> Part:
    return Part(id="p", role="chords", instrument=instrument, notes=tuple(notes), mix=PartMix(), **more)  # type: ignore[arg-type]


def stem(instrument: str, notes: list[Note], seconds: float = 2.0, seed: int = 1, **more: object) -> np.ndarray:
    return render_part(part(instrument, notes, **more), tempo=60.0, samples=int(seconds * SAMPLE_RATE), seed=seed)


# ── partials and loops ──────────────────────────────────────────────────────────────────────────


def test_a_bank_equals_the_sum_of_its_partials() -> None:
    hz, t60 = np.array([110.3, 997.7, 5012.1]), np.array([2.0, 0.6, 0.15])
    levels, angles = np.array([[1.0, 0.5, 0.3], [0.2, 0.9, 0.1]]), np.array([0.0, 1.0, -2.0])
    got = ring(hz, t60, phasors(levels, angles), 1.0)
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for v in range(2):
        exact = sum(
            levels[v, k] * 10 ** (-3 * t / t60[k]) * np.cos(2 * np.pi * hz[k] * t + angles[k]) for k in range(3)
        )
        assert np.max(np.abs(got[v] - exact)) < 1e-3


def test_a_bank_leaves_out_what_cannot_be_heard() -> None:
    got = ring(np.array([440.0, 30_000.0]), np.array([1.0, 1.0]), phasors(np.ones((1, 2)), np.zeros(2)), 0.1)
    spectrum = np.abs(np.fft.rfft(got[0]))
    assert spectrum[int(13_000 * 0.1) :].max() < 0.05 * spectrum.max()


@pytest.mark.parametrize("pitch", [22, 36, 60, 96, 108])
def test_loops_hold_whole_cycles(pitch: int) -> None:
    size, cycles = loop_size(hertz(pitch), 2.0)
    cents = 1200 * math.log2(cycles * SAMPLE_RATE / size / hertz(pitch))
    assert abs(cents) < 0.4 and 1.5 * SAMPLE_RATE < size < 2.6 * SAMPLE_RATE


def test_loops_have_no_seam() -> None:
    size, cycles = loop_size(220.0)
    loop = lines(size, np.array([cycles, 3 * cycles]), phasors(np.array([[1.0, 0.5]]), np.array([0.3, 1.0])))[0]
    inside = np.max(np.abs(np.diff(loop)))
    assert abs(loop[0] - loop[-1]) <= inside
    assert loop.dtype == np.float32 and abs(float(loop.mean())) < 1e-5


def test_phases_never_drift() -> None:
    at_the_end = turns(440.0, SAMPLE_RATE * 10 + 1)[-1] / 2**32
    assert min(at_the_end, 1 - at_the_end) < 0.01
    swept = swept_turns(np.full(SAMPLE_RATE + 1, 100.0))[-1] / 2**32
    assert min(swept, 1 - swept) < 1e-6


def test_noise_bursts_stay_in_their_band() -> None:
    burst = noise_burst(np.random.default_rng(1), 8192, 2, 1000.0, 4000.0)
    power = np.abs(np.fft.rfft(burst[0])) ** 2
    hz = np.fft.rfftfreq(8192, 1 / SAMPLE_RATE)
    assert power[(hz > 700) & (hz < 5500)].sum() > 0.9 * power.sum()


# ── envelopes, filters ──────────────────────────────────────────────────────────────────────────


def test_envelopes_start_and_end_at_nothing() -> None:
    assert rise(100)[0] < 0.001 and rise(100)[-1] > 0.999
    assert fall(100)[-1] < 0.001
    assert release(1000)[0] == pytest.approx(1.0) and release(1000)[-1] < 1e-4
    for held in (220, 500, 5000):
        envelope = adsr(held + 800, held, attack_s=0.02, decay_s=0.1, sustain=0.5)
        assert envelope[0] < 0.01 and envelope[-1] < 1e-3
        assert np.max(np.abs(np.diff(envelope))) < 0.05


def test_a_filter_has_the_gain_it_was_drawn_with() -> None:
    def gain(hz: np.ndarray) -> np.ndarray:
        return 1.0 / np.sqrt(1.0 + (hz / 1000.0) ** 4)

    tone = np.stack([np.sin(2 * np.pi * f * np.arange(30_000) / SAMPLE_RATE) for f in (200.0, 4000.0)])
    out = filtered(tone.astype(np.float32), gain)
    levels = np.sqrt(2 * np.mean(out[:, 5000:25_000] ** 2, axis=1))
    assert levels == pytest.approx([gain(np.array(200.0)), gain(np.array(4000.0))], rel=0.05)


# ── reading layers ──────────────────────────────────────────────────────────────────────────────


def test_reading_wraps_without_a_seam() -> None:
    size, cycles = loop_size(300.0, 0.3)
    loop = lines(size, np.array([cycles]), phasors(np.array([[1.0]]), np.array([0.0]))).reshape(1, 1, size)
    out = read(loop, np.ones((2, 1), np.float32), size - 100, 3 * size)
    assert np.max(np.abs(np.diff(out[0]))) < 1.02 * np.max(np.abs(np.diff(loop[0, 0])))


def test_bent_reading_gives_the_bent_pitch() -> None:
    size, cycles = loop_size(440.0)
    loop = lines(size, np.array([cycles]), phasors(np.array([[1.0]]), np.array([0.0]))).reshape(1, 1, size)
    n = SAMPLE_RATE
    at = bent_positions(np.full(n, 2.0, np.float32), 1000, None)
    out = read(loop, np.ones((2, 1), np.float32), at, n)[0]
    crossings = np.sum((out[:-1] < 0) & (out[1:] >= 0))
    assert abs(crossings - 440.0 * 2 ** (2 / 12)) <= 1.5


def test_bent_reading_stops_where_a_decaying_layer_ends() -> None:
    assert bent_positions(np.full(1000, 12.0, np.float32), 0, 1000)[-1] < 998


# ── the cache ───────────────────────────────────────────────────────────────────────────────────


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache = LayerCache(10_000)
    one = Layers(np.zeros((1, 1, 600), np.float32))  # 2,400 bytes
    for pitch in range(4):
        cache.put(("x", pitch, 0.0), one)
    assert cache.get(("x", 0, 0.0)) is one
    cache.put(("x", 9, 0.0), one)
    assert cache.get(("x", 1, 0.0)) is None and cache.get(("x", 0, 0.0)) is one
    assert cache.held <= cache.capacity


def test_too_large_layers_are_not_kept() -> None:
    cache = LayerCache(10_000)
    cache.put(("x", 1, 0.0), Layers(np.zeros((1, 1, 1000), np.float32)))
    assert cache.get(("x", 1, 0.0)) is None and cache.held == 0


def test_what_was_rendered_before_changes_nothing() -> None:
    notes = [Note(0.0, 0.5, 60, 90), Note(0.5, 0.5, 64, 70)]
    CACHE.clear()
    fresh = stem("nylon_guitar", notes).tobytes()
    stem("nylon_guitar", [Note(0.0, 3.0, 64, 20), Note(1.0, 1.0, 60, 127)], seed=9)
    assert stem("nylon_guitar", notes).tobytes() == fresh


def test_parts_may_be_rendered_in_threads() -> None:
    notes = [Note(i * 0.25, 0.2, 60 + i % 5, 90) for i in range(8)]
    alone = [stem(name, notes).tobytes() for name in ("electric_piano", "marimba")]
    CACHE.clear()
    got: dict[str, bytes] = {}
    work = [
        threading.Thread(target=lambda n=name: got.update({n: stem(n, notes).tobytes()}))
        for name in ("electric_piano", "marimba")
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert [got["electric_piano"], got["marimba"]] == alone


# ── parts ───────────────────────────────────────────────────────────────────────────────────────


def test_a_stem_has_the_asked_shape_even_without_notes() -> None:
    for samples in (1, 100, 44_100):
        out = render_part(part("electric_piano", []), tempo=120.0, samples=samples, seed=0)
        assert out.shape == (2, samples) and out.dtype == np.float32 and not out.any()


def test_notes_beyond_the_end_are_cut_with_a_fade() -> None:
    out = stem("church_organ", [Note(0.0, 10.0, 60, 100), Note(5.0, 1.0, 60, 100)], seconds=1.0)
    assert np.max(np.abs(out[:, -4:])) < 0.01 < np.max(np.abs(out[:, -2000:-1000]))


def test_a_note_begins_on_its_sample() -> None:
    out = stem("marimba", [Note(1.0, 0.5, 60, 110)])
    heard = np.flatnonzero(np.abs(out[0]) > 0.01)[0]
    assert 0 <= heard - SAMPLE_RATE < 0.004 * SAMPLE_RATE


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    notes = [Note(i * 0.3, 0.3, 55 + i, 80) for i in range(5)]
    digest = {hashlib.sha256(stem("clean_guitar", notes, seed=s).tobytes()).hexdigest() for s in (3, 3, 4)}
    assert len(digest) == 2


def test_brightness_opens_the_sound() -> None:
    def centroid(brightness: float) -> float:
        sound = stem("synth_bass", [Note(0.0, 1.5, 36, 80)], brightness=((0.0, brightness),))[0]
        power = np.abs(np.fft.rfft(sound)) ** 2
        return float(np.sum(power * np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)) / power.sum())

    assert centroid(0.9) > 1.1 * centroid(0.1)


def test_brightness_moves_within_a_long_note() -> None:
    swell = stem("accordion", [Note(0.0, 4.0, 60, 80)], 4.0, brightness=((0.0, 0.0), (4.0, 1.0)))[0]
    early, late = (np.abs(np.fft.rfft(swell[a : a + 20_000])) ** 2 for a in (10_000, 140_000))
    highs = slice(int(2000 * 20_000 / SAMPLE_RATE), None)
    assert late[highs].sum() / late.sum() > 1.5 * early[highs].sum() / early.sum()


def test_a_monophonic_voice_plays_one_note_at_a_time() -> None:
    notes = [Note(0.0, 4.0, 36, 90), Note(1.0, 1.0, 43, 90)]
    assert _ends(notes, monophonic=True) == [1.0, 2.0]
    assert _ends(notes, monophonic=False) == [4.0, 2.0]


def test_a_string_struck_again_stops_its_own_tone() -> None:
    assert _ends([Note(0.0, 4.0, 60, 90), Note(1.0, 1.0, 60, 90)], monophonic=False) == [1.0, 2.0]


def test_glide_slides_between_joined_notes_only() -> None:
    def early_hz(first_ends: float) -> float:
        notes = [Note(0.0, first_ends, 29, 100), Note(1.0, 1.0, 41, 100)]
        sound = stem("sub_bass", notes, glide=1.0)[0].astype(float)
        piece = sound[int(1.06 * SAMPLE_RATE) : int(1.12 * SAMPLE_RATE)]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 18))
        return float(np.argmax(spectrum)) * SAMPLE_RATE / (1 << 18)

    target = hertz(41)
    assert early_hz(1.0) < target * 2 ** (-2 / 12)  # on its way up from an octave below
    assert abs(1200 * math.log2(early_hz(0.5) / target)) < 90


# ── the rotary speaker ──────────────────────────────────────────────────────────────────────────


def test_the_rotary_speaker_is_fast_when_the_part_is_bright() -> None:
    brightness = np.array([0.3, 0.6, 0.7, 0.6, 0.5], np.float32)
    assert switch(brightness).tolist() == [0.0, 0.0, 1.0, 1.0, 0.0]  # it does not flutter around one value


@pytest.mark.parametrize(("fast", "turns_per_second"), [(0.0, 0.82), (1.0, 6.8)])
def test_the_horn_turns_at_its_two_speeds(fast: float, turns_per_second: float) -> None:
    n = 8 * SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 2000.0 * np.arange(n) / SAMPLE_RATE)).astype(np.float32)
    out = rotary(np.stack([np.zeros(n, np.float32), tone]), np.full(len(control_points(n)), fast, np.float32), 0.0)
    level = np.abs(out[0][: n // 441 * 441]).reshape(-1, 441).max(axis=1)  # 100 values a second
    swing = np.abs(np.fft.rfft(level - level.mean()))
    assert abs(np.argmax(swing) / 8.0 - turns_per_second) < 0.2
    sides = np.corrcoef(out[0] ** 2, out[1] ** 2)[0, 1]
    assert sides < 0.9  # the two microphones hear it at different moments


def test_silence_stays_silence_in_the_cabinet() -> None:
    n = 30_000
    assert not rotary(np.zeros((2, n), np.float32), switch(np.zeros(len(control_points(n)), np.float32)), 0.3).any()


# ── the registry ────────────────────────────────────────────────────────────────────────────────


def test_every_pitched_instrument_has_a_home() -> None:
    pitched = {name for name, info in INSTRUMENTS.items() if info.family not in ("drums", "effects")}
    assert set(HOME) == pitched


def test_an_unknown_instrument_is_said_so() -> None:
    with pytest.raises(UnknownName, match="marimba"):
        voice_of("marimbo")
