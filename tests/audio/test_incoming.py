"""Other people's audio: what is taken comes out exact, what is not is refused, whatever it is."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from hostile import HOSTILE, flac_bomb, sound, whole
from signals import RATE, stereo, tone

from tonewheel.audio.incoming import Intake, Limits, decode, decoders, warm
from tonewheel.audio.read import decode as read_own
from tonewheel.audio.resample import resample
from tonewheel.errors import Cancelled, InvalidRequest, TonewheelError, TooLarge, UnreadableAudio

KINDS = ("WAV", "FLAC", "MP3", "OGG", "OPUS", "AIFF")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_decoded_as_our_own_files_are(kind: str) -> None:
    data = whole(kind)
    heard, own = decode(data), read_own(data)
    assert np.array_equal(heard.samples, own.samples)
    assert (heard.rate, heard.channels, heard.format) == (own.rate, 2, own.format)
    assert heard.duration_s == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_mixing_down_and_resampling_on_the_way_changes_nothing(rate: int) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, (RATE * 7 + 123, 2)).astype(np.float32)
    heard = decode(sound(noise, format="WAV", subtype="FLOAT"), rate=rate, mono=True)
    expected = resample(noise.mean(axis=1, keepdims=True, dtype=np.float32), RATE, rate)
    assert heard.samples.shape == expected.shape
    np.testing.assert_allclose(heard.samples, expected, atol=1e-6)
    assert (heard.rate, heard.source_rate, heard.source_channels) == (rate, RATE, 2)


def test_what_comes_out_may_be_written_to_and_outlives_the_decoder() -> None:
    heard = decode(whole("WAV"))
    heard.samples[:] = 0.25
    assert float(heard.samples.mean()) == 0.25


def test_a_wav_from_a_pipe_has_no_length_and_is_whole() -> None:
    data = bytearray(whole("WAV"))
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert decode(bytes(data)).duration_s == pytest.approx(1.0, abs=0.001)


def test_an_mp3_may_begin_with_a_tag_and_end_with_one() -> None:
    tag = b"ID3\x04\0\0\0\0\x08\0" + bytes(1024)
    assert decode(tag + whole("MP3") + b"TAG" + bytes(125)).format == "MP3"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_audio_is_refused_with_one_clear_line(name: str) -> None:
    make, status = HOSTILE[name]
    with pytest.raises((UnreadableAudio, TooLarge)) as caught:
        decode(make(), name="audio", param="audio")
    error = caught.value
    assert error.http_status == status, error.message
    assert error.param == "audio"
    assert error.message.startswith("audio ")
    assert "\n" not in error.message and "Traceback" not in error.message


def test_a_bomb_costs_neither_memory_nor_time() -> None:
    warm()
    began, held = time.monotonic(), psutil.Process().memory_info().rss
    with pytest.raises(TooLarge, match="600 s"):
        decode(flac_bomb(6 * 3600, declared=0), Limits(seconds=600))
    assert time.monotonic() - began < 300  # all of it would take many times as long as the ten minutes of it
    assert psutil.Process().memory_info().rss - held < 1e9  # what other tests of this process hold is not its


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_and_missing_bits_end_in_sound_or_in_a_refusal(kind: str) -> None:
    data = whole(kind, 0.3)
    rng = np.random.default_rng(len(kind))
    for turn in range(12):
        broken = bytearray(data)
        where = rng.integers(0, len(data) if turn % 2 else min(200, len(data)), 1 + turn)
        for at in where:
            broken[at] ^= 1 << int(rng.integers(8))
        cut = len(broken) if turn % 3 else int(rng.integers(1, len(broken)))
        try:
            heard = decode(bytes(broken[:cut]))
        except (UnreadableAudio, TooLarge):
            continue
        assert np.isfinite(heard.samples).all()
        assert heard.duration_s >= 0.02


def test_no_more_is_decoded_than_a_header_tells() -> None:
    assert decode(flac_bomb(6 * 3600, declared=48_000)).duration_s == 1.0


def test_limits_are_the_callers() -> None:
    data = whole("WAV", 2.0)
    with pytest.raises(TooLarge, match=r"longer than 1\.5 s"):
        decode(data, Limits(seconds=1.5))
    with pytest.raises(TooLarge, match="1000 bytes"):
        decode(data, Limits(file_bytes=1000))
    with pytest.raises(TooLarge, match="1000 samples"):
        decode(data, Limits(samples=1000))
    with pytest.raises(UnreadableAudio, match="2 channels: 1 to 1"):
        decode(data, Limits(channels=1))
    with pytest.raises(UnreadableAudio, match="44100 samples a second"):
        decode(data, Limits(rate=22_050))
    with pytest.raises(UnreadableAudio, match="at least 3 s"):
        decode(data, Limits(least_seconds=3.0))


def test_decoding_for_too_long_ends_the_decoder() -> None:
    with pytest.raises(TooLarge, match="takes longer than 1 s"):
        decode(flac_bomb(6 * 3600, declared=0), Limits(seconds=1e6, samples=10**12, cpu_s=1), rate=8000, mono=True)


@pytest.mark.parametrize("spare", [0, 1_000_000, 2_000_000, 2_050_000, 2_100_000, 2_200_000, 3_000_000])
def test_more_memory_than_allowed_is_refused(spare: int) -> None:
    """Wherever it runs short: in our own code, in a library's that calls ours, in one that dies of it."""
    silence = io.BytesIO()  # small as a file, 2 MB a block
    soundfile.write(silence, np.zeros((200_000, 8), np.int16), 48_000, format="FLAC")
    with pytest.raises((UnreadableAudio, TooLarge), match="memory"):
        decode(silence.getvalue(), Limits(memory_bytes=spare))


def test_a_decoder_opens_no_other_file(tmp_path: Path) -> None:
    """A QuickTime reference movie names another file as its sound."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(whole("WAV"))
    alias = b"\0\0\0\x1curl \0\0\0\0file://" + str(secret).encode()
    body = b"\0\0\0\x08mvhd" + alias
    movie = b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + (8 + len(body)).to_bytes(4, "big") + b"moov" + body
    with pytest.raises(UnreadableAudio):
        decode(movie)


def test_an_upload_is_refused_while_it_comes() -> None:
    with Intake(Limits(file_bytes=100_000), "the upload") as intake:
        for _ in range(24):
            intake.write(whole("WAV")[:4096])
        with pytest.raises(TooLarge, match="the upload is larger than 100000 bytes"):
            intake.write(bytes(4096))
    with Intake() as intake, pytest.raises(UnreadableAudio, match="not audio"):
        for _ in range(1000):
            intake.write(b"a text " * 10)
    assert intake.size < 10_000


def test_an_upload_in_pieces_is_decoded() -> None:
    data = io.BytesIO(whole("FLAC"))
    with Intake() as intake:
        while chunk := data.read(1000):
            intake.write(chunk)
        assert decode(intake, rate=48_000, mono=True).samples.shape == (48_000, 1)
    with Intake(name="the upload") as intake, pytest.raises(UnreadableAudio, match="the upload is empty"):
        decode(intake)


def test_a_file_on_disk_is_taken_and_other_things_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(whole("FLAC"))
    assert decode(tmp_path / "a.flac").format.startswith("FLAC")
    for wrong in (tmp_path, tmp_path / "missing.wav", Path("/dev/zero")):
        with pytest.raises(UnreadableAudio, match="is no file"):
            decode(wrong)


def test_many_at_once_get_their_own() -> None:
    rates = [8000 + 500 * n for n in range(16)]
    files = [sound(np.full((rate, 1), rate / 20_000, np.float32), rate, format="WAV") for rate in rates]
    heard: dict[int, float] = {}

    def one(rate: int, data: bytes) -> None:
        heard[rate] = float(decode(data).samples.mean())

    threads = [threading.Thread(target=one, args=pair) for pair in zip(rates, files, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert heard == {rate: pytest.approx(rate / 20_000, abs=1e-3) for rate in rates}


def test_who_gives_up_need_not_wait() -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        decode(flac_bomb(6 * 3600, declared=0), Limits(seconds=1e6, samples=10**12), rate=8000, mono=True, check=check)
    assert decode(whole("WAV")).channels == 2


def test_a_decoder_that_dies_takes_nobody_with_it() -> None:
    warm()
    assert decoders.NURSERY._process is not None
    os.kill(decoders.NURSERY._process.pid, signal.SIGKILL)
    decoders.NURSERY._process.wait(120)
    assert decode(whole("WAV")).channels == 2  # another one was started


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"died": signal.SIGSEGV}, 422), ({"died": signal.SIGXCPU}, 413), ({"died": signal.SIGALRM}, 413),
        ({"died": signal.SIGKILL}, 507), ({}, 503), ({"error": "internal", "message": "x"}, 500),
        ({"error": "too_large", "message": "x"}, 413), ({"error": "unreadable_audio", "message": "x"}, 422),
    ],
)  # fmt: skip
def test_however_a_decoder_ends_it_has_a_status(said: dict[str, object], status: int) -> None:
    assert decoders._fault(said, "audio", Limits()).http_status == status


def test_a_decoder_that_lies_is_not_believed() -> None:
    with decoders.scratch() as out:
        os.write(out, bytes(400))
        facts = {"rate": 8000, "channels": 1, "frames": 100, "source_rate": 8000, "source_channels": 1, "format": "WAV"}
        assert len(decoders._mapped(facts, out).samples) == 100
        with pytest.raises(TonewheelError, match="more samples"):
            decoders._mapped(facts | {"frames": 101}, out)


@pytest.mark.parametrize("letter", ["\U0001f39b", "\0", "\udcff", '"'])
def test_a_name_of_any_characters_takes_no_more_room_than_there_is(letter: str) -> None:
    name = letter * 200
    assert decode(whole("WAV"), name=name).channels == 2
    with pytest.raises(TooLarge, match="longer than"):
        decode(whole("WAV"), Limits(seconds=0.5), name=name)
    assert decode(whole("WAV")).channels == 2


def test_keys_and_passwords_are_not_in_the_decoders_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWHEEL_API_KEY", "secret")
    assert "secret" not in str(decoders._environment())


def test_m4a_is_taken_with_pyav_and_refused_clearly_without() -> None:
    data = _m4a()
    if data is None:
        with pytest.raises(InvalidRequest, match="m4a extra"):
            decode(HOSTILE["an MP4 without anything in it"][0]())
        return
    assert decode(data).format == "AAC"
    with pytest.raises(UnreadableAudio):
        decode(data[: len(data) // 2])


def _m4a() -> bytes | None:
    try:
        import av
    except ImportError:
        return None
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE)
        stream.layout = "stereo"
        planes = np.ascontiguousarray(stereo(tone(440, 1.0)).T)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
        frame.rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return memory.getvalue()
