"""Reading: what is audio, what is not, and what is said of it."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import RATE, stereo, tone

from tonewheel.audio import read as reading
from tonewheel.audio.formats import FORMATS, Format
from tonewheel.audio.read import decode, read
from tonewheel.audio.write import encode
from tonewheel.errors import MissingExtra, UnreadableAudio


def _sound(samples: np.ndarray, rate: int = RATE, **how: str) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, **how)
    return memory.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_the_content_decides_not_the_name(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "song.txt"
    path.write_bytes(encode(stereo(tone(440, 0.5)), RATE, format))
    titles = {"wav": "WAV 16-bit", "flac": "FLAC 16-bit", "mp3": "MP3", "ogg": "Ogg Vorbis", "opus": "Opus"}
    audio = read(path)
    assert audio.format == titles[format]
    assert audio.samples.dtype == np.float32
    assert audio.duration_s == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("container", ["AIFF", "CAF", "AU", "W64", "RF64"])
def test_other_containers_are_read(container: str) -> None:
    assert decode(_sound(stereo(tone(440, 0.1)), format=container)).samples.shape == (4410, 2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\0", "cannot be decoded"),
        (b"I am a text, and no audio at all.\n" * 50, "cannot be decoded"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "cannot be decoded"),
        (b"ID3\x04\0\0\0\0\0\0", "cannot be decoded"),
        (bytes(5000), "cannot be decoded"),
    ],
)
def test_what_is_no_audio_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(UnreadableAudio, match=why) as caught:
        decode(data, "'x.wav'")
    assert "x.wav" in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_without_samples_is_refused() -> None:
    with pytest.raises(UnreadableAudio, match="no samples"):
        decode(_sound(np.zeros((0, 2), np.float32), format="WAV"))


def test_one_sample_is_audio() -> None:
    assert decode(_sound(np.full((1, 1), 0.5, np.float32), format="WAV", subtype="FLOAT")).samples.tolist() == [[0.5]]


@pytest.mark.parametrize("format", FORMATS)
def test_half_a_file_is_read_as_far_as_it_goes_or_refused(format: Format) -> None:
    data = encode(stereo(tone(440, 2.0)), RATE, format)
    try:
        audio = decode(data[: len(data) // 2])
    except UnreadableAudio:
        return
    assert 0 < audio.duration_s < 1.6


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    samples = stereo(tone(440, 0.1))
    samples[100, 0] = bad
    with pytest.raises(UnreadableAudio, match="not numbers"):
        decode(_sound(samples, format="WAV", subtype="FLOAT"))


def test_float_files_keep_what_exceeds_full_scale() -> None:
    data = _sound(stereo(tone(440, 0.1, 3.0)), format="WAV", subtype="FLOAT")
    assert np.abs(decode(data).samples).max() == pytest.approx(3.0, rel=0.01)


def test_too_many_channels_and_odd_rates_are_refused() -> None:
    with pytest.raises(UnreadableAudio, match="9 channels"):
        decode(_sound(np.zeros((10, 9), np.float32), format="WAV"))
    with pytest.raises(UnreadableAudio, match="samples a second"):
        decode(_sound(np.zeros((10, 1), np.float32), rate=500, format="WAV"))


def test_too_long_a_recording_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_SAMPLES", 1000)
    with pytest.raises(UnreadableAudio, match="at most 1000"):
        decode(_sound(np.zeros((501, 2), np.float32), format="WAV"))
    assert len(decode(_sound(np.ones((500, 2), np.float32), format="WAV")).samples) == 500


def test_a_header_that_lies_about_the_length_costs_no_memory() -> None:
    honest = encode(stereo(tone(440, 0.1)), RATE, "wav")
    at = honest.index(b"data") + 4
    lying = honest[:at] + struct.pack("<I", 0xFFFFFF00) + honest[at + 4 :]
    with contextlib.suppress(UnreadableAudio):
        assert decode(lying).duration_s < 1


def test_paths_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableAudio, match="does not exist"):
        read(tmp_path / "missing.wav")
    with pytest.raises(UnreadableAudio, match="folder"):
        read(tmp_path)
    with pytest.raises(UnreadableAudio, match="name"):
        read("a\0b")
    with pytest.raises(UnreadableAudio, match="too long"):
        read("x" * 300)
    with pytest.raises(UnreadableAudio, match="regular"):
        read("/dev/zero")
    (tmp_path / "large.wav").write_bytes(bytes(100))
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 99)
    with pytest.raises(UnreadableAudio, match="at most 99"):
        read(tmp_path / "large.wav")


M4A_HEAD = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(100)


def test_m4a_without_pyav_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"tonewheel\[m4a\]"):
        decode(M4A_HEAD)


def test_m4a_with_pyav_is_read() -> None:
    av = pytest.importorskip("av", reason="tonewheel[m4a] is not installed")
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(stereo(tone(440, 1.0)).T), format="fltp", layout="stereo"
        )
        frame.rate = RATE
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    audio = decode(memory.getvalue())
    assert audio.duration_s == pytest.approx(1.0, abs=0.05)
    with pytest.raises(UnreadableAudio):
        decode(M4A_HEAD)
