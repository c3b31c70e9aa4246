"""The mix and the master: filters do what their curves say, levels are what is promised."""

from __future__ import annotations

import numpy as np
import pytest

from tonewheel.audio.loudness import integrated_lufs, true_peak_dbtp
from tonewheel.composer.mix.dynamics import limit
from tonewheel.composer.mix.filters import Bell, Curve, equalise, magnitude
from tonewheel.composer.mix.master import master
from tonewheel.composer.mix.space import add_delay, add_reverb, impulse_response
from tonewheel.composer.mix.stem import loudness, shape_stem, side_chain
from tonewheel.composer.score import Part
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.styles.schema import Master, PartMix, Space


def white(seconds: float, seed: int = 0, level: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, int(seconds * SAMPLE_RATE)), dtype=np.float32) * np.float32(level)


def sine(hz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.tile((level * np.sin(2 * np.pi * hz * t)).astype(np.float32), (2, 1))


@pytest.mark.parametrize("hz", [40, 110, 320, 1000, 4000, 8000, 15000])
def test_a_filter_has_the_gain_its_curve_promises(hz: float) -> None:
    curve = Curve(highpass=110.0, lowpass=8000.0, bells=(Bell(320.0, -4.0, 1.5),), tilt_db=2.0)
    tone = sine(hz, 1.0)
    before = np.sqrt(np.mean(tone[:, 20000:30000] ** 2))
    equalise(tone, curve)
    measured = 20 * np.log10(np.sqrt(np.mean(tone[:, 20000:30000] ** 2)) / before)
    expected = 20 * np.log10(magnitude(curve, np.array([float(hz)]))[0])
    assert measured == pytest.approx(expected, abs=0.4)


def test_filtering_in_blocks_equals_one_long_convolution() -> None:
    curve = Curve(highpass=200.0, lowpass=5000.0)
    impulse = np.zeros(4096, dtype=np.float32)
    impulse[0] = 1.0
    equalise(impulse, curve)
    noise = white(12.0)[0]
    expected = np.fft.irfft(np.fft.rfft(noise, 1 << 20) * np.fft.rfft(impulse, 1 << 20), 1 << 20)[: noise.size]
    got = noise.copy()
    equalise(got, curve)
    assert np.abs(got - expected).max() < 2e-5


def test_the_limiter_holds_the_true_peak_and_leaves_quiet_music_alone() -> None:
    loud = white(3.0, level=0.4) + sine(11025.0, 3.0, 0.5)  # a quarter of the rate: peaks fall between samples
    limit(loud, 0.8)
    assert true_peak_dbtp(loud.T, SAMPLE_RATE) <= 20 * np.log10(0.8) + 0.1
    quiet = white(1.0, level=0.05)
    kept = quiet.copy()
    limit(quiet, 0.8)
    assert np.array_equal(quiet, kept)


def test_the_limiter_does_not_flatten_what_lies_between_the_peaks() -> None:
    music = sine(440.0, 2.0, 0.3)
    music[:, 44100:44110] = 1.5
    expected = music.copy()
    limit(music, 0.89)
    far = slice(0, 40000)
    assert np.allclose(music[:, far], expected[:, far])


@pytest.mark.parametrize("level", [0.001, 0.05, 0.9])
@pytest.mark.parametrize("style", [Master(), Master(saturation=0.6, tape_wow=0.6, crackle=0.5, lowpass=9000)])
def test_the_master_ends_at_minus_14_lufs_and_under_minus_1_dbtp(level: float, style: Master) -> None:
    mix = white(8.0, level=level)
    mix *= (0.15 + (np.arange(mix.shape[1]) % 22050 < 3000)).astype(np.float32)
    master(mix, style, seed=3)
    assert integrated_lufs(mix.T, SAMPLE_RATE) == pytest.approx(-14.0, abs=0.5)
    assert true_peak_dbtp(mix.T, SAMPLE_RATE) <= -1.0
    assert np.isfinite(mix).all()


def test_a_silent_mix_stays_silent() -> None:
    mix = np.zeros((2, 44100), dtype=np.float32)
    master(mix, Master(crackle=1.0), seed=0)
    assert not mix.any()


def test_the_side_chain_dips_at_each_kick_and_comes_back() -> None:
    depth = side_chain((0.0, 1.0), 0.5, SAMPLE_RATE)
    per_s = SAMPLE_RATE / 32
    assert depth[int(0.006 * per_s)] > 0.95
    assert depth[int(0.4 * per_s)] == 0.0
    assert depth[int(0.508 * per_s)] > 0.9
    stem = np.ones((2, SAMPLE_RATE), dtype=np.float32)
    part = Part("x", "other", "warm_pad", (), PartMix(duck=12.0))
    shape_stem(stem, part, 0.5, depth)
    assert 20 * np.log10(stem[0, int(0.006 * SAMPLE_RATE)]) == pytest.approx(-12.0, abs=0.8)


def test_the_loudness_of_a_stem_agrees_with_the_meter() -> None:
    for level in (0.001, 0.3):
        stem = white(5.0, level=level)
        assert loudness(stem) == pytest.approx(integrated_lufs(stem.T, SAMPLE_RATE), abs=0.5)
    assert loudness(np.zeros((2, 1000), dtype=np.float32)) == float("-inf")


def test_panning_moves_the_sound_and_keeps_its_power() -> None:
    for pan in (-0.8, 0.0, 0.8):
        stem = white(2.0)
        stem[1] = stem[0]
        before = float((stem**2).sum())
        shape_stem(stem, Part("x", "other", "warm_pad", (), PartMix(pan=pan)), 0.5, None)
        left, right = (stem**2).sum(axis=1)
        assert (left > right) == (pan < 0) or pan == 0
        assert float(left + right) == pytest.approx(before, rel=0.5)


def test_the_room_decays_as_long_as_it_says() -> None:
    space = Space(decay_s=2.0, predelay_ms=20)
    ir = impulse_response(space)
    energy = (ir**2).sum(axis=0)[::-1].cumsum()[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    t5, t35 = np.argmax(level < -5) / SAMPLE_RATE, np.argmax(level < -35) / SAMPLE_RATE
    assert 2 * (t35 - t5) == pytest.approx(2.0, rel=0.35)


def test_reverb_in_blocks_equals_one_convolution() -> None:
    space = Space(decay_s=0.4, predelay_ms=0)
    send = white(6.0)[0]
    mix = np.zeros((2, send.size), dtype=np.float32)
    add_reverb(mix, send, space)
    ir = impulse_response(space)
    size = 1 << 19
    expected = np.fft.irfft(np.fft.rfft(send, size) * np.fft.rfft(ir, size), size)[:, : send.size]
    assert np.abs(mix - expected).max() < 1e-4


def test_echoes_come_at_the_tempo_and_alternate_sides() -> None:
    send = np.zeros(4 * SAMPLE_RATE, dtype=np.float32)
    send[:400] = sine(1000.0, 400 / SAMPLE_RATE)[0]
    mix = np.zeros((2, send.size), dtype=np.float32)
    add_delay(mix, send.copy(), Space(delay_beats=1.0, delay_feedback=0.5), 0.5)
    window = int(0.05 * SAMPLE_RATE)
    first, second = (mix[:, int(t * SAMPLE_RATE) :][:, :window] for t in (0.5, 1.0))
    assert (first[0] ** 2).sum() > 4 * (first[1] ** 2).sum()
    assert (second[1] ** 2).sum() > 4 * (second[0] ** 2).sum()
    assert not mix[:, : int(0.4 * SAMPLE_RATE)].any()
