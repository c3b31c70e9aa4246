"""One stem made ready for the mix: tone, swell, side-chain, place and loudness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tonewheel.audio.fourier import rfft
from tonewheel.composer.mix.filters import CHUNK, Bell, Curve, Equaliser, Samples
from tonewheel.composer.score import Part
from tonewheel.composer.synth.rate import SAMPLE_RATE

# What a role owes the others: pads and chords leave room where voices and snares live (low mids),
# the melody gets presence, everything but bass and drums leaves the lowest octave alone.
_ROLE_CURVES: dict[str, Curve] = {
    "drums": Curve(highpass=28.0),
    "bass": Curve(highpass=30.0, bells=(Bell(280.0, -1.5, 1.2),)),
    "chords": Curve(highpass=110.0, bells=(Bell(320.0, -2.0, 1.4),)),
    "pad": Curve(highpass=150.0, bells=(Bell(350.0, -3.0, 1.6),)),
    "arpeggio": Curve(highpass=160.0),
    "counter": Curve(highpass=140.0),
    "lead": Curve(highpass=130.0, bells=(Bell(2800.0, 1.5, 1.5),)),
    "melody": Curve(highpass=130.0, bells=(Bell(2800.0, 1.5, 1.5),)),
    "effects": Curve(highpass=60.0),
}
_FRAME = 8192
_BLOCK = 32  # samples between the points of a gain curve; CHUNK is a multiple of it and of 2 * _FRAME


def stem_curve(part: Part) -> Curve:
    """The part's equaliser: its role's, and the part's own passes where those are stricter."""
    role = _ROLE_CURVES.get(part.role, Curve())
    return Curve(max(role.highpass, part.mix.highpass), part.mix.lowpass, role.bells)


def side_chain(kicks: tuple[float, ...], quarter_s: float, samples: int) -> NDArray[np.float64]:
    """Depth 0-1 at the edges of blocks of 32 samples: down within 4 ms of a known kick, back over 180 ms."""
    step = _BLOCK / SAMPLE_RATE
    depth = np.zeros(samples // _BLOCK + 2)
    t = np.arange(0.0, 0.184, step)
    shape = np.minimum(t / 0.004, 1.0) * np.cos(np.clip((t - 0.004) / 0.18, 0.0, 1.0) * np.pi / 2) ** 2
    for kick in kicks:
        place = depth[max(0, int(kick * quarter_s / step)) :][: shape.size]
        np.maximum(place, shape[: place.size], out=place)
    return depth


def shape_stem(stem: Samples, part: Part, quarter_s: float, depth: NDArray[np.float64] | None) -> float:
    """Tone, drive, swell, side-chain and place of `stem` [2, n], in place, piece by piece.

    `depth` is `side_chain`'s. Returns the stem's loudness (see `loudness`), measured on the way.
    """
    equaliser = Equaliser(stem_curve(part), 2)
    knee = _knee(stem, part.mix.drive)
    gain = _gain(part, quarter_s, depth, stem.shape[1])
    powers = [np.zeros(1)]
    for start in range(0, stem.shape[1], CHUNK):
        piece = stem[:, start : start + CHUNK]
        # Parts pause for whole sections: what is not touched there takes no time and no memory.
        if not piece.any() and equaliser.silent:
            continue
        equaliser.process(piece)
        if knee:
            piece /= knee
            np.tanh(piece, out=piece)
            piece *= knee
        if gain is not None:
            _ramp(piece, gain[start // _BLOCK :])
        _place(piece, part.mix.pan, part.mix.width)
        powers.append(_frame_powers(piece))
    return _gated(np.concatenate(powers))


def _knee(stem: Samples, amount: float) -> np.float32 | None:
    """Where saturation sets in, against the stem's own level, so that it does not depend on how loud it came."""
    if amount <= 0:
        return None
    some = stem[:, :: 1 + stem.shape[1] // 200_000]  # a level needs no more samples than that
    rms = float(np.sqrt(np.mean(np.square(some, dtype=np.float32))))
    return np.float32(rms * (10.0 - 8.0 * amount)) if rms > 0 else None


def _gain(part: Part, quarter_s: float, depth: NDArray[np.float64] | None, samples: int) -> NDArray[np.float32] | None:
    """Swell and side-chain together, linear, at the edges of blocks; None when there is neither."""
    db = np.zeros(samples // _BLOCK + 2)
    if any(level for _, level in part.level):
        at, levels = zip(*part.level, strict=True)
        db += np.interp(np.arange(db.size) * (_BLOCK / SAMPLE_RATE / quarter_s), at, levels)
    if part.mix.duck > 0 and depth is not None:
        db -= part.mix.duck * depth
    return (10 ** (db / 20)).astype(np.float32) if db.any() else None


def _ramp(piece: Samples, edges: NDArray[np.float32]) -> None:
    """Multiply a piece by a gain given at block edges, linear between them."""
    n = piece.shape[1]
    blocks = -(-n // _BLOCK)
    here = edges[: blocks + 1]
    ramp = np.arange(_BLOCK, dtype=np.float32) / _BLOCK
    curve = here[:-1, None] + (here[1:] - here[:-1])[:, None] * ramp
    piece *= curve.reshape(-1)[:n]


def _place(stem: Samples, pan: float, width: float) -> None:
    """Width by mid and side, then a balance pan with constant power. In place."""
    if width != 1:
        side = (stem[0] - stem[1]) * np.float32(0.5 * (width - 1))
        stem[0] += side
        stem[1] -= side
    if pan:
        angle = (pan + 1) * np.pi / 4
        left, right = np.cos(angle) * np.sqrt(2), np.sin(angle) * np.sqrt(2)
        # A balance pan alone would drop the far side's own content: fold a part of it over.
        far, near = (1, 0) if pan < 0 else (0, 1)
        stem[near] += stem[far] * np.float32(0.5 * abs(pan))
        stem[near] *= np.float32(1 / (1 + 0.25 * abs(pan)))
        stem[0] *= np.float32(left)
        stem[1] *= np.float32(right)


def loudness(stem: Samples) -> float:
    """K-weighted loudness (LUFS-like, ITU-R BS.1770 weighting, relative gate) of [2, n] from every
    second frame: exact enough to balance stems, a tenth of the price. -inf for silence."""
    return _gated(_frame_powers(stem))


def _frame_powers(piece: Samples) -> NDArray[np.float64]:
    """K-weighted mean square of every second frame, channels added up."""
    size = min(_FRAME, piece.shape[1])
    frames = piece.shape[1] // size
    weight = _k_weight(size)
    power = np.zeros(-(-frames // 2))
    for channel in piece:
        picked = channel[: frames * size].reshape(frames, size)[::2]
        spectrum = rfft(picked)
        power += (spectrum.real**2 + spectrum.imag**2) @ weight
    return power


def _gated(power: NDArray[np.float64]) -> float:
    loud = power[power > 1e-10]
    if not loud.size:
        return float("-inf")
    loud = loud[loud > loud.mean() * 0.1]  # -10 LU relative gate
    return float(-0.691 + 10 * np.log10(loud.mean()))


@lru_cache(maxsize=8)
def _k_weight(size: int) -> NDArray[np.float32]:
    """Power weight of each rfft bin of `size` samples: K-weighting over the mean square."""
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    shelf = 10 ** (4.0 / 20 / (1 + (1682.0 / np.maximum(hz, 1e-3)) ** 2.6))  # +4 dB above about 1.7 kHz
    high = 1 / np.sqrt(1 + (38.0 / np.maximum(hz, 1e-3)) ** 4)
    weight = (shelf * high) ** 2 * 2.0 / size**2
    weight[0] = 0.0
    return np.asarray(weight, dtype=np.float32)
