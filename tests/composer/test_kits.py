"""What the drum kits and the effects promise."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from tonewheel.composer.score import Note, Part
from tonewheel.composer.synth.effects import render_effects
from tonewheel.composer.synth.kits import KITS, render_kit, split_kick, voice_of
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.errors import UnknownName
from tonewheel.styles.instruments import DRUM_VOICES, INSTRUMENTS
from tonewheel.styles.schema import PartMix

KIT_IDS = sorted(KITS)
TEMPO = 60.0  # a quarter is a second


def kit_part(kit, *notes, brightness=((0.0, 0.6),)):
    return Part("drums", "drums", kit, tuple(Note(*n) for n in notes), PartMix(), brightness=brightness)


def hits(kit, *notes, seconds=1.0, seed=1, **options):
    part = kit_part(kit, *notes, **options)
    return render_kit(part, tempo=TEMPO, samples=int(seconds * SAMPLE_RATE), seed=seed)


def hit(kit, voice, velocity=100, seconds=1.0, **options):
    return hits(kit, (0.0, 1.0, DRUM_VOICES[voice], velocity), seconds=seconds, **options)


def spectrum(x):
    mono = np.atleast_2d(x).mean(axis=0).astype(np.float64)
    return np.fft.rfftfreq(mono.size, 1 / SAMPLE_RATE), np.abs(np.fft.rfft(mono)) ** 2


def share(x, low, high):
    hz, power = spectrum(x)
    return power[(hz >= low) & (hz < high)].sum() / power.sum()


def centroid(x):
    """Of the amplitudes: a click over a pure tone counts."""
    hz, power = spectrum(x)
    return (hz * np.sqrt(power)).sum() / np.sqrt(power).sum()


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def bands(x):
    """Energy in thirds of the spectrum's octaves, in dB, level taken out."""
    hz, power = spectrum(x)
    edges = np.geomspace(30, 16_000, 19)
    levels = np.array([power[(hz >= a) & (hz < b)].sum() for a, b in pairwise(edges)])
    return 10 * np.log10(levels / levels.sum() + 1e-6)


def test_every_kit_of_the_catalogue_is_built():
    assert {i.id for i in INSTRUMENTS.values() if i.family == "drums"} == set(KITS)


@pytest.mark.parametrize("kit", KIT_IDS)
@pytest.mark.parametrize("voice", sorted(DRUM_VOICES))
def test_every_drum_sounds_is_clean_and_ends(kit, voice):
    x = hit(kit, voice, seconds=5.5)
    assert x.dtype == np.float32
    assert x.shape == (2, int(5.5 * SAMPLE_RATE))
    assert np.all(np.isfinite(x))
    assert 0.03 < np.max(np.abs(x)) < 3.0
    assert np.all(np.abs(x.mean(axis=1)) < 2e-4), "no offset"
    assert np.max(np.abs(x[:, -1000:])) < 1e-4, "it has died away"
    loud = np.flatnonzero(np.max(np.abs(x), axis=0) > 1e-3)
    steps = np.max(np.abs(np.diff(x[:, loud[-1] - 50 : loud[-1] + 400], axis=1)))
    assert steps < (0.1 if voice == "reverse" else 0.01), "no click at the end"
    assert all(voice in KITS[k].voices for k in KITS)


@pytest.mark.parametrize("kit", KIT_IDS)
@pytest.mark.parametrize("voice", sorted(set(DRUM_VOICES) - {"reverse"}))
def test_a_harder_stroke_is_louder_and_brighter(kit, voice):
    soft, hard = hit(kit, voice, 35), hit(kit, voice, 120)
    assert rms(hard) > 2.5 * rms(soft)
    assert centroid(hard) > 1.02 * centroid(soft)


@pytest.mark.parametrize("kit", KIT_IDS)
@pytest.mark.parametrize("voice", ["kick", "snare", "hat", "open", "ride", "tom_lo", "shaker"])
def test_no_two_hits_are_the_same_samples(kit, voice):
    key = DRUM_VOICES[voice]
    x = hits(kit, *((2.0 * i, 0.5, key, 100) for i in range(4)), seconds=8)
    ones = x.reshape(2, 4, -1).transpose(1, 0, 2)[..., : SAMPLE_RATE // 2]
    for i in range(4):
        for j in range(i):
            difference = min(rms(ones[i] - np.roll(ones[j], lag, axis=1)) for lag in range(-20, 21))
            assert difference > 0.01 * rms(ones[i])
            assert 0.8 < rms(ones[i]) / rms(ones[j]) < 1.25, "still the same drum"


def test_the_same_seed_gives_the_same_bytes_another_seed_others():
    notes = [(i / 4, 0.2, DRUM_VOICES[v], 90) for i, v in enumerate(["kick", "hat", "snare", "open", "hat", "reverse"])]
    first, again, other = (hits("kit_dusty", *notes, seconds=3, seed=s) for s in (5, 5, 6))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_layers_do_not_depend_on_the_order_of_calls_nor_on_the_process():
    script = (
        "import hashlib, sys\n"
        "from tonewheel.composer.synth.kits.layers import layers_of\n"
        "names = sys.argv[1].split(',')\n"
        "done = {n: hashlib.sha256(layers_of('kit_909', n, None).stack.tobytes()).hexdigest() for n in names}\n"
        "print(*(done[n] for n in sorted(done)))\n"
    )
    orders = ("kick,open,clap", "clap,kick,open")
    digests = {
        subprocess.run([sys.executable, "-c", script, names], capture_output=True, text=True, check=True).stdout
        for names in orders
    }
    from tonewheel.composer.synth.kits.layers import layers_of

    here = " ".join(
        hashlib.sha256(layers_of("kit_909", n, None).stack.tobytes()).hexdigest() for n in ("clap", "kick", "open")
    )
    assert {d.strip() for d in digests} == {here}


@pytest.mark.parametrize("kit", KIT_IDS)
def test_drums_lie_where_drums_lie(kit):
    assert share(hit(kit, "kick"), 0, 120) > 0.7
    top = 2500 if kit == "kit_dusty" else 5000  # an old record has no top
    assert share(hit(kit, "hat"), top, SAMPLE_RATE / 2) > 0.6
    assert share(hit(kit, "open"), top, SAMPLE_RATE / 2) > 0.6
    snare = hit(kit, "snare")
    assert share(snare, 120, 9000) > 0.7
    assert centroid(hit(kit, "kick")) < centroid(snare) < centroid(hit(kit, "hat"))
    loudest = []
    for tom in ("tom_lo", "tom_hi"):
        hz, power = spectrum(hit(kit, tom))
        loudest.append(hz[np.argmax(power)])
    assert loudest[1] > 1.3 * loudest[0]


@pytest.mark.parametrize("voice", ["kick", "snare", "hat"])
def test_kits_can_be_told_apart(voice):
    colours = {kit: bands(hit(kit, voice)) for kit in KIT_IDS}
    lengths = {}
    for kit in KIT_IDS:
        energy = np.cumsum(np.sum(hit(kit, voice) ** 2, axis=0))
        lengths[kit] = np.searchsorted(energy, 0.9 * energy[-1]) / SAMPLE_RATE
    for i, a in enumerate(KIT_IDS):
        for b in KIT_IDS[:i]:
            colour = np.sqrt(np.mean(np.clip(colours[a] - colours[b], -30, 30) ** 2))
            length = abs(np.log2(lengths[a] / lengths[b]))
            assert colour > 2.0 or length > 0.4, (a, b)


@pytest.mark.parametrize("kit", KIT_IDS)
def test_a_closed_hat_stops_an_open_one(kit):
    open_, closed = DRUM_VOICES["open"], DRUM_VOICES["hat"]
    ringing = hits(kit, (0.0, 0.5, open_, 100))
    choked = hits(kit, (0.0, 0.5, open_, 100), (0.25, 0.1, closed, 1))
    after = slice(int(0.32 * SAMPLE_RATE), int(0.6 * SAMPLE_RATE))
    assert rms(choked[:, after]) < 0.15 * rms(ringing[:, after])
    before = slice(0, int(0.24 * SAMPLE_RATE))
    assert np.allclose(choked[:, before], ringing[:, before], atol=0.2)


@pytest.mark.parametrize("kit", KIT_IDS)
def test_a_reversed_cymbal_rises_and_ends_with_its_note(kit):
    x = hits(kit, (1.0, 2.5, DRUM_VOICES["reverse"], 100), seconds=5)
    end = int(3.5 * SAMPLE_RATE)
    assert np.all(x[:, end + 1 :] == 0)
    assert np.all(x[:, : SAMPLE_RATE - 1] == 0)
    levels = [rms(x[:, int((1.0 + 0.5 * i) * SAMPLE_RATE) :][:, : SAMPLE_RATE // 2]) for i in range(5)]
    assert levels == sorted(levels)
    assert rms(x[:, end - 2000 : end - 400]) > 0.9 * levels[-1]


def test_brightness_opens_the_kit_mildly():
    dark = hit("kit_acoustic", "snare", 70, brightness=((0.0, 0.1),))
    bright = hit("kit_acoustic", "snare", 70, brightness=((0.0, 1.0),))
    assert 1.02 < centroid(bright) / centroid(dark) < 2.0


def test_tuning_moves_tonal_drums_to_the_key():
    def peak(x):
        hz, power = spectrum(x[:, SAMPLE_RATE // 20 :])
        return hz[np.argmax(power * (hz > 30))]

    notes = (0.0, 1.0, DRUM_VOICES["kick"], 100)
    part = kit_part("kit_808", notes)
    for tonic in (0, 3, 8):
        x = render_kit(part, tempo=TEMPO, samples=2 * SAMPLE_RATE, seed=1, tuning=tonic)
        pitch = 69 + 12 * np.log2(peak(x) / 440)
        away = min(abs((pitch - tonic - degree + 6) % 12 - 6) for degree in (0, 7))
        assert away < 0.35, (tonic, pitch)


def test_toms_and_snares_sit_across_the_stage():
    def balance(voice):
        left, right = np.sqrt(np.mean(np.square(hit("kit_acoustic", voice)), axis=1))
        return (right - left) / (right + left)

    assert abs(balance("kick")) < 0.05
    assert abs(balance("snare")) < 0.08
    assert balance("tom_hi") < -0.05 < 0.05 < balance("tom_lo")
    assert balance("hat") > 0.03


def test_a_part_splits_into_kick_and_kit():
    part = kit_part("kit_909", (0, 1, 36, 100), (0, 1, 42, 80), (1, 1, 35, 90), (1, 1, 38, 90))
    kick, rest = split_kick(part)
    assert [n.pitch for n in kick.notes] == [36, 35]
    assert [n.pitch for n in rest.notes] == [42, 38]
    assert kick.id != rest.id
    assert split_kick(kit_part("kit_909", (0, 1, 42, 80)))[0] is None
    assert split_kick(kit_part("kit_909", (0, 1, 36, 80)))[1] is None


def test_every_percussion_key_finds_a_drum():
    for key in range(128):
        assert voice_of(key) in DRUM_VOICES
    x = hits("kit_acoustic", *((0.0, 0.2, key, 80) for key in (27, 43, 57, 62, 87, 0, 127)))
    assert np.max(np.abs(x)) > 0.1


def test_what_is_no_kit_is_refused_by_name():
    with pytest.raises(UnknownName, match="kit_acoustic"):
        hits("kit_acustic", (0, 1, 36, 100))


def test_hits_at_the_very_end_and_an_empty_part_are_no_trouble():
    x = hits("kit_acoustic", (0.999, 1, 49, 100), (3.0, 1, 49, 100))
    assert np.max(np.abs(x[:, -1])) < 0.02
    assert not hits("kit_acoustic").any()
    assert hits("kit_acoustic", (0, 1, 36, 100), seconds=0).shape == (2, 0)


# ── effects ─────────────────────────────────────────────────────────────────────────────────────────


def effect(*notes, seconds=5.0, seed=1):
    part = Part("fx", "effects", "riser", tuple(Note(*n) for n in notes), PartMix())
    return render_effects(part, tempo=TEMPO, samples=int(seconds * SAMPLE_RATE), seed=seed)


@pytest.mark.parametrize("length", [0.5, 2.0, 3.7])
def test_a_riser_rises_in_level_and_pitch_and_ends_with_its_note(length):
    x = effect((1.0, length, 72, 100))
    first, end = SAMPLE_RATE, round((1.0 + length) * SAMPLE_RATE)
    assert not x[:, : first - 1].any()
    assert not x[:, end + 1 :].any()
    parts = np.array_split(x[:, first:end], 4, axis=1)
    assert [rms(p) for p in parts] == sorted(rms(p) for p in parts)
    noise = [centroid(np.diff(p, axis=1)) for p in parts]
    assert noise == sorted(noise)
    assert rms(x[:, end - 1500 : end - 300]) > rms(parts[-1])


def test_a_drop_falls_after_its_start():
    x = effect((1.0, 3.0, 48, 100))
    assert not x[:, : SAMPLE_RATE - 1].any()
    assert not x[:, 4 * SAMPLE_RATE + 1 :].any()
    parts = np.array_split(x[:, SAMPLE_RATE : 4 * SAMPLE_RATE], 4, axis=1)
    assert [rms(p) for p in parts] == sorted((rms(p) for p in parts), reverse=True)
    assert share(x, 0, 120) > 0.5


def test_effects_are_the_players_own_and_repeatable():
    one = effect((0.0, 2.0, 72, 100), (2.0, 2.0, 72, 100))
    assert one.tobytes() == effect((0.0, 2.0, 72, 100), (2.0, 2.0, 72, 100)).tobytes()
    a, b = one[:, : 2 * SAMPLE_RATE], one[:, 2 * SAMPLE_RATE : 4 * SAMPLE_RATE]
    assert rms(a - b) > 0.3 * rms(a)
    assert np.all(np.isfinite(one))
    assert np.max(np.abs(one)) < 2.0
    assert 0.2 < np.corrcoef(one)[0, 1] < 0.98
