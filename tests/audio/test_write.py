"""Encoding: every format, exact lengths, the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from signals import RATE, Samples, stereo, tone

from tonewheel.audio import mp3, ogg
from tonewheel.audio.formats import FORMATS, Format, format_of, rate_for
from tonewheel.audio.read import decode
from tonewheel.audio.tags import Tags, read_tags
from tonewheel.audio.write import encode
from tonewheel.errors import InvalidRequest, RenderFault

LOSSY = ("mp3", "ogg", "opus")


def _music(seconds: float, rate: int = RATE, channels: int = 2) -> Samples:
    left, right = tone(440, seconds, 0.4, rate), tone(554.4, seconds, 0.3, rate)
    noise = np.random.default_rng(1).standard_normal(len(left)).astype(np.float32) * 0.01
    return np.ascontiguousarray(np.stack([left + noise, right - noise], axis=1)[:, :channels])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [1 / RATE, 0.01, 1.0, 3.21])
def test_what_is_written_is_read_back_at_its_exact_length(format: Format, channels: int, seconds: float) -> None:
    samples = _music(seconds, channels=channels)
    audio = decode(encode(samples, RATE, format))
    assert audio.rate == (48_000 if format == "opus" else RATE)
    assert audio.channels == channels
    assert abs(audio.duration_s - len(samples) / RATE) <= 1.5 / RATE


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_written_sounds_the_same(format: Format) -> None:
    samples = stereo(tone(1000, 2.0, 0.5))
    audio = decode(encode(samples, RATE, format))
    middle = slice(audio.rate // 2, audio.rate * 3 // 2)
    t = np.arange(len(audio.samples))[middle] / audio.rate
    for channel in range(2):
        got = audio.samples[middle, channel]
        # A shift in time would turn the phase: 1 kHz tells 10 samples from none.
        in_phase = 2 * np.mean(got * np.sin(2 * np.pi * 1000 * t))
        assert in_phase == pytest.approx(0.5, abs=0.02)
        residue = got - in_phase * np.sin(2 * np.pi * 1000 * t)
        assert np.sqrt(np.mean(residue**2)) < (0.01 if format in LOSSY else 2e-4)


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_samples_and_tags_give_the_same_bytes(format: Format) -> None:
    samples, tags = _music(2.5), Tags(title="Tide", lyrics="la\nla", extra={"tonewheel_seed": "7"})
    first = encode(samples, RATE, format, tags)
    assert encode(samples, RATE, format, tags) == first
    assert encode(samples * np.float32(0.9), RATE, format, tags) != first


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("rate", [8000, 22_050, 32_000, 48_000, 96_000])
def test_every_usual_rate_is_taken(format: Format, rate: int) -> None:
    audio = decode(encode(_music(1.0, rate), rate, format))
    assert audio.rate == rate_for(format, rate)
    assert audio.duration_s == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("memory_order", ["C", "F"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_memory_order_makes_no_difference(format: Format, memory_order: str) -> None:
    samples = _music(0.5)
    assert encode(np.asarray(samples, order=memory_order), RATE, format) == encode(samples, RATE, format)  # type: ignore[call-overload]


@pytest.mark.parametrize("format", ["ogg", "opus"])
def test_minutes_of_ogg_do_not_end_the_process(format: Format) -> None:
    """libsndfile 1.2.2 overflows its stack when 120 s of Vorbis come in one write."""
    quiet = np.zeros((RATE * 150, 1), np.float32)
    quiet[::1000] = 0.5
    assert decode(encode(quiet, RATE, format)).duration_s == pytest.approx(150, abs=0.01)


def test_24_bits_are_kept() -> None:
    samples = _music(0.5)
    for format in ("wav", "flac"):
        fine = decode(encode(samples, RATE, format, bits=24))
        coarse = decode(encode(samples, RATE, format, bits=16))
        assert "24-bit" in fine.format
        assert np.abs(fine.samples - samples).max() < 2**-23
        assert np.abs(coarse.samples - samples).max() > 2**-18


def test_dither_keeps_what_lies_below_one_step() -> None:
    """A tone of a third of a step would be rounded away; with dither it is still there."""
    faint = stereo(tone(1000, 4.0, 0.33 / 32768))
    got = decode(encode(faint, RATE, "wav")).samples[:, 0]
    t = np.arange(len(got)) / RATE
    assert 2 * np.mean(got * np.sin(2 * np.pi * 1000 * t)) == pytest.approx(0.33 / 32768, rel=0.15)


def test_what_exceeds_full_scale_is_clipped_not_wrapped() -> None:
    loud = np.full((1000, 2), 1.7, np.float32)
    loud[500:] = -1.7
    for bits in (16, 24):
        got = decode(encode(loud, RATE, "wav", bits=bits)).samples
        assert got[:500].min() > 0.999
        assert got[500:].max() <= -0.999


@pytest.mark.parametrize("format", FORMATS)
def test_progress_rises_to_the_end(format: Format) -> None:
    told: list[float] = []
    encode(_music(3.0), RATE, format, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_written(bad: float) -> None:
    samples = _music(0.1)
    samples[17, 1] = bad
    with pytest.raises(RenderFault, match="not numbers"):
        encode(samples, RATE, "wav")


def test_requests_that_cannot_be_met_are_named() -> None:
    with pytest.raises(InvalidRequest, match="bits"):
        encode(_music(0.1), RATE, "wav", bits=8)
    with pytest.raises(InvalidRequest, match="shape"):
        encode(np.zeros((0, 2), np.float32), RATE, "wav")
    with pytest.raises(InvalidRequest, match="shape"):
        encode(np.zeros((5, 3), np.float32), RATE, "wav")
    with pytest.raises(InvalidRequest, match="shape"):
        encode(np.zeros(5, np.float32), RATE, "wav")
    with pytest.raises(InvalidRequest, match="format"):
        encode(_music(0.1), RATE, "aac")  # type: ignore[arg-type]


def test_the_ending_of_a_name_is_its_format() -> None:
    assert [format_of(f"a/b.{e}") for e in ("MP3", "wav", "oga", "opus", "flac")] == [
        "mp3",
        "wav",
        "ogg",
        "opus",
        "flac",
    ]
    for name in ("song.aac", "song", "mp3", ".mp3"):
        with pytest.raises(InvalidRequest, match=r"use \.wav"):
            format_of(name)


def test_an_mp3_says_how_long_it_is_and_where_to_seek() -> None:
    """The info frame: without it a reader takes a variable-bit-rate file for 40 % of its length."""
    samples = _music(5.0)
    data = encode(samples, RATE, "mp3")
    first = mp3.parse_header(data, 0)
    assert first is not None
    block = data[4 + first.side_info :]
    assert block[:4] == b"Xing"
    assert int.from_bytes(block[8:12], "big") == len(mp3.frames(data)) - 1
    assert int.from_bytes(block[12:16], "big") == len(data)
    delays = int.from_bytes(block[141:144], "big")
    start, padding = delays >> 12, delays & 0xFFF
    assert (len(mp3.frames(data)) - 1) * 1152 - start - padding == len(samples)
    assert list(block[16:116]) == sorted(block[16:116])


def test_an_mp3_is_known_by_its_checksum() -> None:
    assert mp3.crc16(b"123456789") == 0xBB3D  # the check value of CRC-16/ARC
    data = bytes(range(256)) * 300
    slow = 0
    for byte in data:
        slow ^= byte
        for _ in range(8):
            slow = slow >> 1 ^ (0xA001 if slow & 1 else 0)
    assert mp3.crc16(data) == slow
    assert mp3.crc16(b"") == 0


def test_ogg_pages_carry_oggs_checksum() -> None:
    """The polynomial bit by bit, as RFC 3533 gives it."""

    def slow(data: bytes) -> int:
        value = 0
        for byte in data:
            value ^= byte << 24
            for _ in range(8):
                value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        return value

    for data in (b"", b"OggS", bytes(range(256))):
        assert ogg.crc(data) == slow(data)


def test_other_programs_find_the_tags() -> None:
    """libsndfile's own readers, as a judge that is not us."""
    tags = Tags(title="Tïtle 日本", artist="Somebody", album="Ālbum", genre="waltz", date="2026", comment="Cömment")
    for format in FORMATS:
        data = encode(_music(0.5), RATE, format, tags)
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            found = (file.title, file.artist, file.album, file.date, file.comment)
        assert found == (tags.title, tags.artist, tags.album, tags.date, tags.comment), format


def test_no_tags_are_no_trouble() -> None:
    for format in FORMATS:
        assert read_tags(encode(_music(0.1), RATE, format)) == Tags()
