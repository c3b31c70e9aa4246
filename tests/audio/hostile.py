"""Files that mean harm, or look like it: made here, small, quick to make."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import soundfile
from signals import RATE, stereo, tone


def sound(samples: np.ndarray, rate: int = RATE, **how: str) -> bytes:
    """A file that libsndfile writes."""
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, **how)
    return memory.getvalue()


def whole(kind: str, seconds: float = 1.0) -> bytes:
    """An honest stereo file."""
    samples = stereo(tone(440, seconds))
    how = {"OGG": {"format": "OGG", "subtype": "VORBIS"}, "OPUS": {"format": "OGG", "subtype": "OPUS"}}
    rate = 48_000 if kind == "OPUS" else RATE
    return sound(samples, rate, **how.get(kind, {"format": kind}))


def wav(channels: int = 2, rate: int = RATE, *, data: bytes = bytes(40_000), claims: int | None = None, bits: int = 16,
        tag: int = 1) -> bytes:  # fmt: skip
    """A WAV file whose header says what it is told to say."""
    align = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels & 0xFFFF, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    size = len(data) if claims is None else claims
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", (len(body) - len(data) + size) & 0xFFFFFFFF) + body


@lru_cache
def flac_bomb(seconds: float, rate: int = 48_000, *, declared: int | None = None) -> bytes:
    """Silence in FLAC, 13 bytes for each 65,535 samples (RFC 9639: constant subframes); 6 h are 200 kB."""
    frames = round(seconds * rate)
    total = frames if declared is None else declared
    info = struct.pack(">HH6x", 65_535, 65_535)
    info += ((rate << 44) | (0 << 41) | (15 << 36) | total).to_bytes(8, "big") + bytes(16)
    out = [b"fLaC\x80" + len(info).to_bytes(3, "big") + info]
    count, rest = divmod(frames, 65_535)
    for number in range(count + (rest > 0)):
        size = 65_535 if number < count else rest
        head = b"\xff\xf8\x70\x00" + _utf8(number) + struct.pack(">H", size - 1)
        frame = head + bytes([_crc(head, 8, 0x07)]) + b"\x00\x00\x00"
        out.append(frame + struct.pack(">H", _crc(frame, 16, 0x8005)))
    return b"".join(out)


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, bits: int, polynomial: int) -> int:
    table, value, mask = _crc_table(bits, polynomial), 0, (1 << bits) - 1
    for byte in data:
        value = table[(value >> (bits - 8)) ^ byte] ^ (value << 8 & mask)
    return value


@lru_cache
def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table


def mp4_head(brand: bytes = b"M4A ") -> bytes:
    return b"\0\0\0\x20ftyp" + brand + b"\0\0\0\0M4A mp42isom\0\0\0\0"


def _float_wav(value: float) -> bytes:
    samples = stereo(tone(440, 0.5))
    samples[1000, 1] = value
    return sound(samples, format="WAV", subtype="FLOAT")


def _half(kind: str) -> Callable[[], bytes]:
    def make() -> bytes:
        data = whole(kind, 2.0)
        return data[: len(data) // 2]

    return make


HOSTILE: dict[str, tuple[Callable[[], bytes], int]] = {
    "nothing": (lambda: b"", 422),
    "one byte": (lambda: b"\0", 422),
    "a text": (lambda: b"I am a text, and no audio at all.\n" * 50, 422),
    "zeros": (lambda: bytes(5000), 422),
    "a playlist": (lambda: b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", 422),
    "a concat script": (lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", 422),
    "a cue sheet": (lambda: b'FILE "/etc/passwd" WAVE\n  TRACK 01 AUDIO\n', 422),
    "an SDP session": (lambda: b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", 422),
    "a zip": (lambda: b"PK\x03\x04" + bytes(500), 422),
    "a gzip bomb": (lambda: b"\x1f\x8b\x08\0" + zlib.compress(bytes(10_000_000)), 422),
    "a program": (lambda: b"\x7fELF" + bytes(500), 422),
    "module music": (lambda: b"Extended Module: " + bytes(500), 422),
    "half a WAV": (_half("WAV"), 422),
    "half a FLAC": (_half("FLAC"), 422),
    "half an MP3": (_half("MP3"), 422),
    "half an Ogg": (_half("OGG"), 422),
    "half an Opus": (_half("OPUS"), 422),
    "half an AIFF": (_half("AIFF"), 422),
    "only the head of a WAV": (lambda: whole("WAV")[:44], 422),
    "a WAV that claims 2 GB": (lambda: wav(claims=2**31), 422),
    "a WAV that claims nearly 4 GB": (lambda: wav(claims=2**32 - 256), 422),
    "a WAV without channels": (lambda: wav(channels=0), 422),
    "a WAV of 64 channels": (lambda: sound(np.zeros((4000, 64), np.float32), format="WAV"), 422),
    "a WAV of 65,535 channels": (lambda: wav(channels=65_535), 422),
    "a WAV at 384 kHz": (lambda: sound(np.zeros((400_000, 1), np.float32), 384_000, format="WAV"), 422),
    "a WAV at 0 Hz": (lambda: wav(rate=0), 422),
    "a WAV at 1 Hz": (lambda: wav(rate=1), 422),
    "a WAV at 4 GHz": (lambda: wav(rate=2**32 - 1), 422),
    "a WAV of 77 bits": (lambda: wav(bits=77), 422),
    "an ADPCM WAV": (lambda: sound(stereo(tone(440, 0.5)), format="WAV", subtype="MS_ADPCM"), 422),
    "a WAV of an unknown codec": (lambda: wav(tag=0x1234), 422),
    "no samples": (lambda: sound(np.zeros((0, 2), np.float32), format="WAV"), 422),
    "one sample": (lambda: sound(np.full((1, 1), 0.5, np.float32), format="WAV"), 422),
    "NaN": (lambda: _float_wav(np.nan), 422),
    "infinity": (lambda: _float_wav(-np.inf), 422),
    "a million times full scale": (lambda: _float_wav(1e6), 422),
    "six hours of silence": (lambda: flac_bomb(6 * 3600), 413),
    "six hours of silence that claim nothing": (lambda: flac_bomb(6 * 3600, declared=0), 413),
    "a FLAC that claims more than it has": (lambda: flac_bomb(2.0, declared=48_000 * 60), 422),
    "a FLAC head and no frames": (lambda: flac_bomb(0.0, declared=0), 422),
    "an MP4 without anything in it": (lambda: mp4_head() + bytes(100), 422),
    "an MP4 whose box claims 4 GB": (lambda: mp4_head() + b"\xff\xff\xff\xf0moov" + bytes(100), 422),
    "half a WebM head": (lambda: b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f" + bytes(40), 422),
}
"""What it is → how to make it, and the HTTP status it is refused with."""
