"""Loudness agrees with the standard's own tones, with an independent meter, and with itself."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pyloudnorm
import pytest
from signals import RATE, Samples, chords, drums, stereo, tone

from tonewheel.audio.loudness import (
    hop_powers,
    integrated_lufs,
    k_weighting,
    loudness_range,
    true_peak_dbtp,
)

ROCK = {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}


def _song(seconds: float = 12.0) -> Samples:
    left = drums(100, seconds, ROCK) * 0.5 + chords(100, seconds, [[45, 57, 60, 64], [43, 55, 59, 62]])
    right = np.roll(left, 300) * 0.7
    song = np.stack([left, right], axis=1)
    song[: len(song) // 4] *= 0.1
    return song.astype(np.float32)


def _noise(seconds: float, level: float, seed: int = 3) -> Samples:
    size = (round(seconds * RATE), 2)
    return (level * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


@pytest.mark.parametrize("rate", [22_050, 32_000, 44_100, 48_000, 96_000])
def test_the_standards_reference_tone_reads_what_the_standard_says(rate: int) -> None:
    """BS.1770-4: 0 dBFS of 997 Hz in one front channel reads -3.01 LKFS."""
    one = np.zeros((rate * 4, 2), np.float32)
    one[:, 0] = np.sin(2 * np.pi * 997 * np.arange(rate * 4) / rate)
    # At other rates the filters' prototypes bend a little.
    assert integrated_lufs(one, rate) == pytest.approx(-3.01, abs=0.005 if rate in (44_100, 48_000) else 0.05)


def test_the_filter_is_the_standards_at_48_khz() -> None:
    """BS.1770-4 tables 1 and 2."""
    z = np.exp(-2j * np.pi * (hertz := np.geomspace(10, 23_000, 200)) / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    highpass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    assert np.abs(k_weighting(48_000, hertz) / (shelf * highpass) - 1).max() < 1e-6


SIGNALS = {
    "song": _song(),
    "quiet song": _song() * np.float32(0.004),
    "noise": _noise(5, 0.1),
    "bass": stereo(tone(45, 5.0)),
    "bursts": _noise(8, 0.2) * (np.arange(8 * RATE) % (2 * RATE) < RATE // 3)[:, None],
    "just a block": _noise(0.4, 0.1),
    "odd length": _noise(3.0777, 0.1),
    "mono": _song()[:, :1],
}


@pytest.mark.parametrize("name", SIGNALS)
def test_it_agrees_with_an_independent_meter(name: str) -> None:
    samples = np.ascontiguousarray(SIGNALS[name], dtype=np.float32)
    exact = pyloudnorm.Meter(RATE, filter_class="DeMan").integrated_loudness(samples.astype(np.float64))
    assert integrated_lufs(samples, RATE) == pytest.approx(exact, abs=0.01)
    # Its default filter is an approximation that reads 0.045 LU low.
    usual = pyloudnorm.Meter(RATE).integrated_loudness(samples.astype(np.float64))
    assert integrated_lufs(samples, RATE) == pytest.approx(usual, abs=0.06)


@pytest.mark.parametrize("seconds", [1 / RATE, 0.01, 0.1, 0.39])
def test_less_than_a_block_has_a_loudness_too(seconds: float) -> None:
    short = _noise(seconds, 0.1)
    assert math.isfinite(integrated_lufs(short, RATE))
    if seconds > 0.05:
        assert integrated_lufs(short, RATE) == pytest.approx(integrated_lufs(_noise(5, 0.1), RATE), abs=0.3)


def test_silence_is_minus_infinity() -> None:
    for silent in (np.zeros((0, 2), np.float32), np.zeros((RATE, 2), np.float32), np.full((RATE, 2), 1e-5, np.float32)):
        assert integrated_lufs(silent, RATE) == -math.inf
    assert true_peak_dbtp(np.zeros((10, 1), np.float32), RATE) == -math.inf
    assert loudness_range(hop_powers(np.zeros((RATE * 5, 2), np.float32), RATE)) is None


def test_gain_moves_loudness_by_as_much() -> None:
    song = _song()
    assert integrated_lufs(song, RATE) - integrated_lufs(song * np.float32(0.5), RATE) == pytest.approx(6.02, abs=0.01)


def test_the_memory_order_makes_no_difference() -> None:
    song = _song()
    assert integrated_lufs(np.asfortranarray(song), RATE) == integrated_lufs(song, RATE)
    assert true_peak_dbtp(np.asfortranarray(song), RATE) == true_peak_dbtp(song, RATE)


@pytest.mark.parametrize(
    ("channels", "gain"), [(4, 1 + 1.41), (5, (3 + 2 * 1.41) / 2), (6, (3 + 2 * 1.41) / 2), (8, 5 / 2 + 1.41)]
)
def test_surround_channels_have_their_weights(channels: int, gain: float) -> None:
    same = np.repeat(_noise(2, 0.05)[:, :1], channels, axis=1)
    two = integrated_lufs(same[:, :2], RATE)
    assert integrated_lufs(same, RATE) == pytest.approx(two + 10 * math.log10(gain), abs=0.01)


def test_the_range_agrees_with_an_independent_meter() -> None:
    song = np.concatenate([_song(10) * np.float32(g) for g in (0.2, 1.0, 0.5)])
    theirs = pyloudnorm.Meter(RATE, filter_class="DeMan").loudness_range(song.astype(np.float64))
    assert loudness_range(hop_powers(song, RATE)) == pytest.approx(theirs, abs=0.5)
    # EBU Tech 3342, first test signal: 20 s at -20 and 20 s at -30 dBFS have a range of 10 LU.
    steps = np.concatenate([stereo(tone(1000, 20, 0.1)), stereo(tone(1000, 20, 0.1 * 10**-0.5))])
    assert loudness_range(hop_powers(steps, RATE)) == pytest.approx(10, abs=0.3)


@pytest.mark.parametrize("hertz", [997, 5000, 11_025, 15_000, 19_000])
@pytest.mark.parametrize("phase", [0.0, 0.3, math.pi / 4, 1.2])
def test_peaks_between_samples_are_found(hertz: float, phase: float) -> None:
    t = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * hertz * t + phase) * np.hanning(RATE)
    assert true_peak_dbtp(wave.astype(np.float32)[:, None], RATE) == pytest.approx(0.0, abs=0.1)


def test_true_peak_is_never_below_the_sample_peak_and_close_to_ideal() -> None:
    noise = _noise(3, 0.2)
    sample_peak = 20 * math.log10(np.abs(noise).max())
    spectrum = np.fft.rfft(noise.astype(np.float64), axis=0)
    ideal = np.fft.irfft(np.pad(spectrum, ((0, 7 * (len(noise) // 2)), (0, 0))), 8 * len(noise), axis=0) * 8
    assert sample_peak <= true_peak_dbtp(noise, RATE) <= 20 * math.log10(np.abs(ideal).max()) + 0.3
    assert true_peak_dbtp(noise, RATE) == pytest.approx(20 * math.log10(np.abs(ideal).max()), abs=0.4)


def test_a_peak_at_either_end_is_seen() -> None:
    for at in (0, -1):
        click = np.zeros((RATE // 10, 1), np.float32)
        click[at] = 0.5
        assert true_peak_dbtp(click, RATE) == pytest.approx(-6.02, abs=0.01)


def test_a_song_is_not_copied_to_measure_it() -> None:
    song = _noise(30, 0.1)
    tracemalloc.start()
    try:
        integrated_lufs(song, RATE)
        true_peak_dbtp(song, RATE)
        assert tracemalloc.get_traced_memory()[1] < song.nbytes / 2
    finally:
        tracemalloc.stop()
