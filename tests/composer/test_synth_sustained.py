"""What the leads, pads, strings, voices and winds promise."""

from __future__ import annotations

import numpy as np
import pytest

from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth.oscillators import hertz
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.registry import voice_of
from tonewheel.composer.synth.render import render_part
from tonewheel.styles.instruments import INSTRUMENTS
from tonewheel.styles.schema import PartMix

LEADS = ["saw_lead", "square_lead", "soft_lead"]
STRUCK = ["pluck_synth", "stab_synth"]
PADS = ["warm_pad", "glass_pad", "dark_pad"]
ENSEMBLES = ["string_ensemble", "choir", "brass_section"]
SUSTAINED = [*LEADS, *PADS, *ENSEMBLES, "flute"]
ALL = [*SUSTAINED, *STRUCK]


def play(instrument, *notes, seconds=3.0, brightness=((0.0, 0.6),), seed=1, glide=0.0):
    part = Part("p", "lead", instrument, tuple(Note(*n) for n in notes), PartMix(), brightness=brightness, glide=glide)
    return render_part(part, tempo=60.0, samples=int(seconds * SAMPLE_RATE), seed=seed)


def power_of(x):
    mono = np.atleast_2d(x).mean(axis=0)
    window = np.hanning(mono.size)
    return np.fft.rfftfreq(mono.size, 1 / SAMPLE_RATE), np.abs(np.fft.rfft(mono * window)) ** 2


def centroid(x):
    """Of the amplitudes of what stands above -70 dB."""
    hz, power = power_of(x)
    power = np.where(power > power.max() * 1e-7, power, 0.0)
    return (hz * np.sqrt(power)).sum() / np.sqrt(power).sum()


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def cents_off(x, f0):
    """The power-weighted mean frequency around the fundamental and its octave, in cents from where it should be."""
    hz, power = power_of(x)
    errors, weights = [], []
    for h in (1, 2):
        near = np.abs(1200 * np.log2(np.maximum(hz, 1.0) / (h * f0))) < 60
        errors.append(1200 * np.log2((hz[near] * power[near]).sum() / power[near].sum() / (h * f0)))
        weights.append(power[near].sum())
    return float(np.average(errors, weights=weights))


def middle(instrument):
    info = INSTRUMENTS[instrument]
    return (info.low + info.high) // 2


def register(instrument):
    info = INSTRUMENTS[instrument]
    return [info.low, middle(instrument), info.high]


@pytest.mark.parametrize("instrument", ALL)
def test_every_voice_sounds_clean_over_its_range_and_ends(instrument):
    levels = []
    for pitch in register(instrument):
        x = play(instrument, (0.2, 1.0, pitch, 100), seconds=4)
        assert x.dtype == np.float32
        assert np.all(np.isfinite(x))
        assert 0.05 < np.max(np.abs(x)) < 1.0
        assert np.all(np.abs(x.mean(axis=1)) < 1e-3)
        assert not x[:, : int(0.19 * SAMPLE_RATE)].any()
        released = int((1.21 + voice_of(instrument).release_s) * SAMPLE_RATE)
        assert not x[:, released:].any(), "the release ends"
        assert np.max(np.abs(np.diff(x[:, released - 200 : released + 2], axis=1))) < 1e-3, "without a click"
        levels.append(rms(x[:, int(0.2 * SAMPLE_RATE) : int(1.2 * SAMPLE_RATE)]))
    assert max(levels) < 4.0 * min(levels), "alike over the range"


@pytest.mark.parametrize("instrument", ALL)
def test_velocity_and_brightness_open_the_sound(instrument):
    pitch = middle(instrument) - 5
    soft, hard = play(instrument, (0, 2, pitch, 35)), play(instrument, (0, 2, pitch, 120))
    assert rms(hard) > 1.5 * rms(soft)
    assert centroid(hard) > 1.15 * centroid(soft)
    dark = play(instrument, (0, 2, pitch, 80), brightness=((0.0, 0.1),))
    bright = play(instrument, (0, 2, pitch, 80), brightness=((0.0, 1.0),))
    assert centroid(bright) > 1.1 * centroid(dark)


@pytest.mark.parametrize("instrument", [*LEADS, *PADS, "flute"])
@pytest.mark.parametrize("pitch", [60, 69, 80])
def test_single_voices_are_in_tune_to_three_cents(instrument, pitch):
    errors = [cents_off(play(instrument, (0, 2.6, pitch, 90), seed=s, seconds=2.6), hertz(pitch)) for s in (1, 2, 3)]
    assert abs(np.mean(errors)) < 3.0


@pytest.mark.parametrize("instrument", [*ENSEMBLES, *STRUCK])
@pytest.mark.parametrize("pitch", [55, 64, 76])
def test_ensembles_are_in_tune_on_the_whole(instrument, pitch):
    errors = [cents_off(play(instrument, (0, 2.6, pitch, 90), seed=s, seconds=2.6), hertz(pitch)) for s in (1, 2, 3)]
    assert abs(np.mean(errors)) < 6.0


@pytest.mark.parametrize("instrument", ["saw_lead", "square_lead", "stab_synth", "warm_pad"])
def test_a_high_note_does_not_alias(instrument):
    f0 = hertz(96)
    x = play(instrument, (0, 3, 96, 127), brightness=((0.0, 1.0),))[:, SAMPLE_RATE // 2 : int(1.8 * SAMPLE_RATE)]
    hz, power = power_of(x)
    away = np.abs(hz / f0 - np.rint(hz / f0)) * f0 > 0.22 * f0
    away &= hz > 0.5 * f0
    peak = power.max()
    assert 10 * np.log10(power[away].max() / peak) < -60


@pytest.mark.parametrize("instrument", SUSTAINED)
def test_no_two_notes_are_the_same_samples(instrument):
    pitch = middle(instrument)
    x = play(instrument, *((2.0 * i, 1.0, pitch, 90) for i in range(3)), seconds=6)
    a, b, c = (x[:, 2 * i * SAMPLE_RATE :][:, :SAMPLE_RATE] for i in range(3))
    for one, other in ((a, b), (b, c), (a, c)):
        assert rms(one - other) > 0.05 * rms(one)
        assert 0.5 < rms(one) / rms(other) < 2.0


@pytest.mark.parametrize("instrument", ALL)
def test_stems_are_wide_but_fold_to_mono(instrument):
    notes = [(0.0, 3.0, p, 90) for p in (middle(instrument) - 7, middle(instrument) - 3, middle(instrument))]
    if instrument in ("square_lead", "soft_lead", "flute"):
        notes = notes[:1]
    x = play(instrument, *notes)
    correlation = np.corrcoef(x)[0, 1]
    assert 0.3 < correlation < 0.9999
    assert rms(x.mean(axis=0)) > 0.7 * rms(x)


@pytest.mark.parametrize("instrument", ["string_ensemble", "warm_pad", "glass_pad", "choir"])
def test_a_held_note_never_falls_silent(instrument):
    for pitch in (INSTRUMENTS[instrument].low + 4, middle(instrument)):
        x = play(instrument, (0, 4, pitch, 90), seconds=4)[:, int(0.8 * SAMPLE_RATE) : int(3.9 * SAMPLE_RATE)]
        frames = x[:, : x.shape[1] // 4410 * 4410].reshape(2, -1, 4410)
        levels = np.sqrt(np.mean(frames**2, axis=(0, 2)))
        assert levels.min() > 0.35 * levels.mean()
        assert levels.max() < 2.0 * levels.mean()


def test_the_choir_goes_from_oo_to_ah():
    def formant_share(x):
        hz, power = power_of(x)
        return power[(hz > 800) & (hz < 1700)].sum() / power[hz < 700].sum()

    oo = play("choir", (0, 3, 57, 40), brightness=((0.0, 0.1),))
    ah = play("choir", (0, 3, 57, 115), brightness=((0.0, 1.0),))
    assert formant_share(ah) > 4 * formant_share(oo)


def test_brass_opens_with_its_attack_and_is_scooped_into():
    x = play("brass_section", (0, 2, 62, 110))
    first, later = x[:, : int(0.03 * SAMPLE_RATE)], x[:, int(0.12 * SAMPLE_RATE) : int(0.25 * SAMPLE_RATE)]
    assert centroid(later) > 1.2 * centroid(first)
    voice = voice_of("brass_section")
    from tonewheel.composer.synth.voice import Event

    event = Event(62, 0.9, 44_100, 0.6, 0.6, 0.5, (0.5,) * 8)
    bend = voice.bend(event, 44_100)
    assert -1.0 < bend[0] < -0.15
    assert abs(bend[int(0.2 * SAMPLE_RATE)]) < 0.01


def test_flute_vibrato_comes_late():
    x = play("flute", (0, 2.5, 76, 90)).mean(axis=0)
    f0 = hertz(76)

    def swing(part):
        turn = np.exp(-2j * np.pi * f0 * np.arange(part.size) / SAMPLE_RATE)
        smooth = np.convolve(part * turn, np.hanning(801) / 400, "valid")[::50]
        speed = np.diff(np.unwrap(np.angle(smooth))) * SAMPLE_RATE / 50 / (2 * np.pi)
        return np.std(1200 * np.log2(1 + speed / f0))

    early, late = (
        x[int(0.08 * SAMPLE_RATE) : int(0.3 * SAMPLE_RATE)],
        x[int(1.2 * SAMPLE_RATE) : int(2.2 * SAMPLE_RATE)],
    )
    assert swing(late) > 6.0
    assert swing(early) < 0.6 * swing(late)


def test_a_lead_glides_when_asked():
    straight = play("square_lead", (0, 1, 60, 100), (1, 1, 67, 100))
    glided = play("square_lead", (0, 1, 60, 100), (1, 1, 67, 100), glide=1.0)
    near = slice(SAMPLE_RATE, int(1.06 * SAMPLE_RATE))
    assert cents_from(glided[:, near], hertz(67)) < cents_from(straight[:, near], hertz(67)) - 50


def cents_from(x, f0):
    hz, power = power_of(np.pad(x, ((0, 0), (0, SAMPLE_RATE))))
    band = (hz > 0.6 * f0) & (hz < 1.3 * f0)
    return 1200 * np.log2(hz[band][np.argmax(power[band])] / f0)


@pytest.mark.parametrize("instrument", ["saw_lead", "choir", "pluck_synth"])
def test_the_same_seed_gives_the_same_bytes(instrument):
    notes = [(0, 1, 60, 90), (1, 1, 64, 90)]
    first = play(instrument, *notes)
    from tonewheel.composer.synth.render import CACHE

    CACHE.clear()
    play(instrument, (0, 1, 64, 90))
    assert first.tobytes() == play(instrument, *notes).tobytes()
    assert first.tobytes() != play(instrument, *notes, seed=2).tobytes()
