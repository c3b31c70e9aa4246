"""MP3: encoding by LAME, and the LAME info frame that lameenc leaves out.

Without that frame players guess the length of a variable-bit-rate file (libsndfile read 3.9 s of a
10 s one) and cannot cut off the encoder's delay. Its layout is the "MP3 Info Tag revision 1"
specification (gabriel.mp3-tech.org/mp3infotag.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import lameenc
import numpy as np
from numpy.typing import NDArray

# LAME delays its input by 576 samples (ENCDELAY in encoder.h); decoders add 529 of their own and know it.
ENCODER_DELAY = 576
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_INFO_BYTES = 156  # "Xing" block with all four fields (120) and the LAME extension (36)


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header of one MPEG layer III frame."""

    version: int  # 3 = MPEG-1, 2 = MPEG-2, 0 = MPEG-2.5
    rate: int
    channels: int
    kbps: int
    size: int  # bytes, header and padding included

    @property
    def samples(self) -> int:
        return 1152 if self.version == 3 else 576

    @property
    def side_info(self) -> int:
        if self.version == 3:
            return 17 if self.channels == 1 else 32
        return 9 if self.channels == 1 else 17


def parse_header(data: bytes, at: int) -> FrameHeader | None:
    """The layer III frame header at `at`, or None."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version = data[at + 1] >> 3 & 3
    if version == 1 or data[at + 1] >> 1 & 3 != 1:
        return None
    bitrate, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if bitrate in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    kbps = (_KBPS_1 if version == 3 else _KBPS_2)[bitrate]
    size = (144 if version == 3 else 72) * kbps * 1000 // hertz + (data[at + 2] >> 1 & 1)
    return FrameHeader(version, hertz, 1 if data[at + 3] >> 6 == 3 else 2, kbps, size)


def encode_mp3(pcm: Iterator[NDArray[np.int16]], rate: int, channels: int) -> bytes:
    """MP3 bytes of the 16-bit chunks `[n, channels]`: LAME's variable bit rate at quality 2 (about
    190 kbit/s in stereo), with the info frame, without tags. `rate` must be one MP3 has."""
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(rate)  # LAME would otherwise choose a lower one for some qualities
    encoder.set_vbr(lameenc.VBR_MTRH)
    encoder.set_vbr_quality(2)
    encoder.set_quality(3)
    count = 0
    stream = bytearray()
    for chunk in pcm:
        count += len(chunk)
        stream += encoder.encode(np.ascontiguousarray(chunk, dtype="<i2").tobytes())
    stream += encoder.flush()
    return _info_frame(bytes(stream), count) + bytes(stream)


def frames(stream: bytes) -> list[int]:
    """Byte offset of each frame of a bare stream."""
    offsets = []
    at = 0
    while (header := parse_header(stream, at)) is not None and at + header.size <= len(stream):
        offsets.append(at)
        at += header.size
    return offsets


def _info_frame(stream: bytes, samples: int) -> bytes:
    first = parse_header(stream, 0)
    offsets = frames(stream)
    if first is None or not offsets:
        raise ValueError("LAME gave no frames")
    head, size = _silent_frame(stream, first)
    length = size + len(stream)
    padding = len(offsets) * first.samples - ENCODER_DELAY - samples
    block = b"Xing" + struct.pack(">III", 0xF, len(offsets), length) + _seek_table(offsets, size, length)
    block += struct.pack(">I", 78)  # LAME's quality figure: 100 - 10 * V - q with V2 and q 2
    block += b"LAME3.100" + bytes([0x04, 0]) + bytes(8)  # revision 0, VBR mtrh; no lowpass, peak or gain stated
    delays = min(ENCODER_DELAY, 4095) << 12 | min(max(padding, 0), 4095)
    block += bytes([0, 0]) + delays.to_bytes(3, "big") + bytes(4)
    block += struct.pack(">IH", length, crc16(stream))
    body = head + bytes(first.side_info) + block
    checked = body + struct.pack(">H", crc16(body))
    return checked + bytes(size - len(checked))


def _silent_frame(stream: bytes, first: FrameHeader) -> tuple[bytes, int]:
    """Header and size of the smallest frame of this stream's kind that holds the info block."""
    for index in range(1, 15):
        head = bytes([stream[0], stream[1] | 1, index << 4 | stream[2] & 0x0C, stream[3]])
        header = parse_header(head, 0)
        if header is not None and header.size >= 4 + first.side_info + _INFO_BYTES:
            return head, header.size
    raise ValueError("no frame is large enough")


def _seek_table(offsets: list[int], info_size: int, length: int) -> bytes:
    """For each percent of the time, where it is in 256ths of the bytes."""
    marks = [offsets[len(offsets) * percent // 100] + info_size for percent in range(100)]
    return bytes(min(255, mark * 256 // length) for mark in marks)


def crc16(data: bytes) -> int:
    """CRC-16/ARC, as the info tag wants it (polynomial 0x8005 reflected, start 0).

    The bytes are taken in parallel strips that are joined by the CRC's linearity: a megabyte byte by
    byte would cost as much as the encoding.
    """
    table = _crc_table()
    strips = max(1, min(2048, len(data) // 256))
    width = -(-len(data) // strips)
    # Zeros before the data do not change a CRC that starts at 0.
    grid = np.frombuffer(data.rjust(strips * width, b"\0"), np.uint8).reshape(strips, width)
    state = np.zeros(strips, np.uint16)
    for column in np.ascontiguousarray(grid.T):
        state = state >> 8 ^ table[(state ^ column) & 0xFF]
    shift = _crc_shift(width)
    total = 0
    for value in state.tolist():
        total = _apply(shift, total) ^ value
    return total


def _apply(columns: list[int], value: int) -> int:
    out = 0
    for bit, column in enumerate(columns):
        if value >> bit & 1:
            out ^= column
    return out


def _crc_shift(width: int) -> list[int]:
    """What `width` zero bytes do to each bit of a CRC."""
    table = _crc_table()
    state = (1 << np.arange(16)).astype(np.uint16)
    for _ in range(width):
        state = state >> 8 ^ table[state & 0xFF]
    return [int(v) for v in state]


@lru_cache(maxsize=1)
def _crc_table() -> NDArray[np.uint16]:
    values = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ 0xA001, values >> 1).astype(np.uint16)
    return values
