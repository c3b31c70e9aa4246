"""What is said of a recording is true of it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from signals import RATE, Samples, chords, drums, stereo, tone

from tonewheel.audio.checks import check
from tonewheel.audio.report import Report
from tonewheel.audio.spectrum import BANDS, balance, power_frames

ROCK = {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."}


def _song(seconds: float = 12.0) -> Samples:
    """A little music at a sensible level."""
    left = 0.25 * drums(100, seconds, ROCK) + 0.5 * chords(100, seconds, [[48, 60, 64, 67], [43, 55, 59, 62]], beats=2)
    return np.stack([left, 0.8 * np.roll(left, 200)], axis=1).astype(np.float32)


def _quick(samples: Samples, expected: float | None = None) -> Report:
    return check(samples, RATE, expected, thorough=False)


def _said(report: Report, severity: str) -> str:
    return "; ".join(f.message for f in report.findings if f.severity == severity)


def test_a_good_song_has_no_faults_and_no_warnings() -> None:
    report = check(_song(), RATE, 12.0)
    assert not _said(report, "fault")
    assert not _said(report, "warning")
    assert report.tempo is not None
    assert report.key is not None
    assert report.key.key == "C major"
    assert report.balance is not None
    assert sum(report.balance.values()) == pytest.approx(100)
    assert report.loudness_range_lu is not None


def test_a_wrong_length_is_a_fault() -> None:
    assert not _said(_quick(_song(), 12.09), "fault")
    assert "should last 12.20 s" in _said(_quick(_song(), 12.2), "fault")


def test_silence_throughout_is_a_fault() -> None:
    for silent in (np.zeros((RATE, 2), np.float32), np.full((RATE, 2), 1e-4, np.float32), np.zeros((0, 2), np.float32)):
        report = check(silent, RATE)
        assert "silent throughout" in _said(report, "fault")
        assert report.silence_share == 1.0
        assert report.tempo is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_a_fault_and_are_counted(bad: float) -> None:
    song = _song(2)
    song[1000:1007, 1] = bad
    report = _quick(song)
    assert report.nonfinite_samples == 7
    assert "7 samples are not numbers" in _said(report, "fault")
    assert math.isfinite(report.lufs)


def test_silence_is_measured_at_both_ends_and_between() -> None:
    quiet = np.zeros((RATE, 2), np.float32)
    report = _quick(np.concatenate([quiet, quiet, stereo(tone(440, 3.0)), quiet, stereo(tone(440, 1.0)), quiet]))
    assert report.silence_head_s == pytest.approx(2.0, abs=0.06)
    assert report.silence_tail_s == pytest.approx(1.0, abs=0.06)
    assert report.silence_share == pytest.approx(0.5, abs=0.01)
    assert "50 % of it is silent" in _said(report, "warning")
    assert "2.0 s of silence" in _said(report, "warning")


def test_silence_begins_at_minus_50_dbfs() -> None:
    for level, share in ((-49.0, 0.0), (-51.0, 1.0)):
        wave = stereo(tone(1000, 2.0, math.sqrt(2) * 10 ** (level / 20)))
        assert _quick(wave).silence_share == share


def test_clipping_is_runs_not_peaks() -> None:
    song = _song()
    song[100:102] = 1.0
    assert _quick(song).clipped_runs == 0
    song[200:205, 0] = 1.0
    song[300:310, 1] = -1.0
    report = _quick(song)
    assert (report.clipped_runs, report.longest_clip) == (2, 10)
    assert "clipped in 2 places" in _said(report, "warning")


def test_overshoot_between_samples_is_told() -> None:
    t = np.arange(RATE * 2) / RATE
    wave = stereo(0.99 * np.sin(2 * np.pi * RATE / 4 * t + math.pi / 4))  # samples at 0.7 of the wave's height
    wave *= 1.4
    report = _quick(wave)
    assert report.peak_dbfs < 0 < report.true_peak_dbtp
    assert "between samples" in _said(report, "warning")


def test_an_offset_is_told() -> None:
    report = _quick(_song() + np.float32(0.02))
    assert report.dc_offset == pytest.approx(0.02, abs=0.001)
    assert "off centre" in _said(report, "warning")


def test_stereo_is_described() -> None:
    left = tone(440, 2.0)
    assert _quick(np.stack([left, left], axis=1)).stereo_correlation == pytest.approx(1.0)
    assert "it is mono" in _said(_quick(np.stack([left, left], axis=1)), "info")
    against = _quick(np.stack([left, -left], axis=1))
    assert against.stereo_correlation == pytest.approx(-1.0)
    assert "cancel" in _said(against, "warning")
    noise = np.random.default_rng(0).standard_normal((2 * RATE, 2)).astype(np.float32) * 0.1
    assert _quick(noise).stereo_correlation == pytest.approx(0.0, abs=0.02)
    assert "channels is silent" in _said(_quick(np.stack([left, 0 * left], axis=1)), "warning")
    assert _quick(left[:, None]).stereo_correlation is None


def test_levels_are_those_of_a_sine() -> None:
    report = _quick(stereo(tone(1000, 3.0, 0.5)))
    assert report.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert report.true_peak_dbtp == pytest.approx(-6.02, abs=0.05)
    assert report.crest_db == pytest.approx(3.01, abs=0.01)
    assert report.lufs == pytest.approx(-6.02, abs=0.1)
    assert "test tone" in _said(report, "warning")


def test_very_loud_and_very_quiet_are_told() -> None:
    noise = np.random.default_rng(0).standard_normal((5 * RATE, 2)).astype(np.float32)
    assert "very loud" in _said(_quick(np.clip(noise, -0.9, 0.9)), "warning")
    assert "very quiet" in _said(_quick(_song() * np.float32(0.02)), "warning")


@pytest.mark.parametrize(
    ("hertz", "band"), [(40, "sub"), (120, "bass"), (500, "low_mid"), (2000, "mid"), (6000, "high")]
)
def test_the_balance_puts_a_tone_into_its_band(hertz: float, band: str) -> None:
    assert set(BANDS) == {"sub", "bass", "low_mid", "mid", "high", "air"}
    assert balance(stereo(tone(hertz, 2.0)), RATE)[band] > 98


def test_a_sine_of_full_scale_has_a_line_of_one() -> None:
    (frames,) = power_frames(tone(1000 * RATE / RATE, 0.1, 1.0), 4096, 4096)
    assert frames.max() == pytest.approx(1.0, rel=0.35)  # between two bins up to 1.4 dB are lost


@pytest.mark.parametrize("samples", [1, 2, 100, 3000, 20_000])
@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
def test_shorts_and_odd_layouts_are_measured_too(samples: int, channels: int) -> None:
    noise = np.random.default_rng(0).standard_normal((samples, channels)).astype(np.float32) * 0.1
    report = check(noise, RATE)
    assert report.channels == channels
    assert report.duration_s == samples / RATE


@pytest.mark.parametrize("rate", [1000, 8000, 192_000, 384_000])
def test_odd_rates_are_measured_too(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal((rate * 4, 1)).astype(np.float32) * 0.1
    assert check(noise, rate).lufs < 0


def test_reports_become_json_without_infinities() -> None:
    for samples in (_song(4), np.zeros((RATE, 2), np.float32)):
        text = json.dumps(check(samples, RATE).to_dict(), allow_nan=False)
        assert set(json.loads(text)) >= {"lufs", "tempo", "key", "findings", "silence_share"}


def test_the_memory_order_makes_no_difference() -> None:
    song = _song(4)
    assert check(np.asfortranarray(song), RATE) == check(song, RATE)
