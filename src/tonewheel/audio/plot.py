"""A picture of a recording: waveform, spectrogram and loudness over one time axis."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tonewheel.audio.loudness import hop_powers
from tonewheel.audio.report import Report
from tonewheel.audio.rhythm import Rhythm
from tonewheel.audio.spectrum import Samples, mono, power_frames

WIDTH, HEIGHT = 1600, 1000
_SCALE = 2  # drawn at twice the size and made smaller, which smooths every edge
_LEFT, _RIGHT = 74, 28
_LOW_HZ, _HIGH_HZ = 30.0, 20_000.0
_RANGE_DB = 78.0
_LOUDEST, _QUIETEST = 0.0, -60.0
_BACKGROUND = (16, 17, 24)
_PANEL = (22, 23, 33)
_GRID = (52, 54, 70)
_TEXT = (226, 226, 234)
_FAINT = (150, 152, 170)
_WAVE = (84, 160, 214)
_WAVE_RMS = (170, 214, 242)
_LINE = (250, 176, 92)
_AREA = (92, 64, 48)
_MARK = (255, 255, 255, 110)
# From near black over violet and red to pale yellow, brightness rising evenly.
_COLOURS = (
    (0.00, (14, 12, 26)),
    (0.20, (45, 18, 84)),
    (0.40, (114, 28, 112)),
    (0.60, (194, 56, 90)),
    (0.78, (243, 122, 66)),
    (0.92, (252, 198, 108)),
    (1.00, (252, 250, 208)),
)


@dataclass(frozen=True, slots=True)
class _Box:
    """A panel, in final pixels."""

    top: int
    height: int

    @property
    def bottom(self) -> int:
        return self.top + self.height


_WAVEFORM, _SPECTROGRAM, _LOUDNESS = _Box(98, 190), _Box(306, 440), _Box(764, 178)
_INNER = WIDTH - _LEFT - _RIGHT


def plot(
    samples: Samples, rate: int, report: Report, title: str, *, marks: Sequence[tuple[float, str]] = (),
    beats: Rhythm | None = None,
) -> bytes:  # fmt: skip
    """PNG bytes, 1600 x 1000, of `samples [n, channels]` with its `report`; `marks` are times in
    seconds with labels, such as the sections of a song; `beats` stand below the waveform, a bar's first
    one taller."""
    image = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE), _BACKGROUND)
    canvas = _Canvas(image)
    signal = mono(samples)
    seconds = max(len(signal) / rate, 1e-3)
    _paste(image, _waveform(signal), _WAVEFORM)
    _paste(image, _spectrogram(signal, rate), _SPECTROGRAM)
    _draw_loudness(canvas, samples, rate, report)
    _draw_frequencies(canvas, rate)
    _draw_times(canvas, seconds)
    _draw_marks(canvas, seconds, marks)
    _draw_beats(canvas, seconds, beats)
    _draw_words(canvas, title, report)
    memory = io.BytesIO()
    image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(memory, "PNG", optimize=False, compress_level=6)
    return memory.getvalue()


class _Canvas:
    """Drawing in final pixels on the enlarged image."""

    def __init__(self, image: Image.Image) -> None:
        self._draw = ImageDraw.Draw(image, "RGBA")

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, ...], width: float = 1.0) -> None:
        scaled = [(x * _SCALE, y * _SCALE) for x, y in points]
        self._draw.line(scaled, fill=colour, width=max(1, round(width * _SCALE)), joint="curve")

    def area(self, points: Sequence[tuple[float, float]], colour: tuple[int, ...]) -> None:
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def box(self, box: _Box, colour: tuple[int, ...]) -> None:
        corners = (_LEFT, box.top, _LEFT + _INNER, box.bottom)
        self._draw.rectangle([c * _SCALE for c in corners], fill=colour)

    def text(
        self, x: float, y: float, text: str, *, size: int = 15, colour: tuple[int, ...] = _TEXT, anchor: str = "la"
    ) -> None:
        self._draw.text((x * _SCALE, y * _SCALE), text, font=_font(size * _SCALE), fill=colour, anchor=anchor)

    def label(self, x: float, y: float, text: str, *, anchor: str = "la") -> None:
        """Small text on a dark ground of its own, readable on any picture."""
        font = _font(13 * _SCALE)
        left, top, right, bottom = self._draw.textbbox((x * _SCALE, y * _SCALE), text, font=font, anchor=anchor)
        margin = 4 * _SCALE
        ground = (left - margin, top - margin, right + margin, bottom + margin)
        self._draw.rounded_rectangle(ground, radius=3 * _SCALE, fill=(*_BACKGROUND, 190))
        self._draw.text((x * _SCALE, y * _SCALE), text, font=font, fill=_TEXT, anchor=anchor)

    def width(self, text: str, size: int) -> float:
        return float(self._draw.textlength(text, font=_font(size * _SCALE))) / _SCALE


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _paste(image: Image.Image, pixels: NDArray[np.uint8], box: _Box) -> None:
    size = (_INNER * _SCALE, box.height * _SCALE)
    image.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), (_LEFT * _SCALE, box.top * _SCALE))


def _columns(length: int) -> NDArray[np.int64]:
    """Where each column of pixels begins in a signal of `length`, and the end."""
    return np.linspace(0, length, _INNER + 1).astype(np.int64)


def _waveform(signal: Samples) -> NDArray[np.uint8]:
    """Extremes and RMS of every column."""
    height = _WAVEFORM.height * _SCALE
    bounds = np.minimum(_columns(len(signal))[:-1], max(len(signal) - 1, 0))
    if len(signal) == 0:
        signal, bounds = np.zeros(1, np.float32), np.zeros(_INNER, np.int64)
    top, bottom = np.maximum.reduceat(signal, bounds), np.minimum.reduceat(signal, bounds)
    counts = np.diff(np.append(bounds, len(signal))).clip(1)
    rms = np.sqrt(np.add.reduceat(signal**2, bounds) / counts)
    rows = np.linspace(1, -1, height)[:, None]  # the amplitude at each row of pixels
    thin = 1.2 / height
    pixels = np.empty((height, _INNER, 3), np.uint8)
    pixels[:] = _PANEL
    pixels[np.abs(rows[:, 0]) < thin] = _GRID
    pixels[(rows <= top + thin) & (rows >= bottom - thin)] = _WAVE
    pixels[np.abs(rows) <= rms] = _WAVE_RMS
    return pixels


def _spectrogram(signal: Samples, rate: int) -> NDArray[np.uint8]:
    """Power by time and the logarithm of frequency: long frames for the bass, short ones above, faded
    into each other over an octave and a half."""
    hertz = np.geomspace(_HIGH_HZ, _LOW_HZ, _SPECTROGRAM.height)
    fine, quick = (10 * np.log10(_power_rows(signal, rate, size, hertz) + 1e-12) for size in (8192, 2048))
    share = np.clip(np.log2(hertz / 250) / 1.5, 0, 1)[:, None]
    # Music falls by about 3 dB an octave; tilted against it, the top is seen as well as the bass.
    level = fine * (1 - share) + quick * share + 3 * np.log2(hertz / 1000)[:, None]
    top = float(np.quantile(level, 0.9995))
    shade = np.clip(1 + (level - top) / _RANGE_DB, 0, 1) if top > -100 else np.zeros_like(level)
    return np.asarray(_colours()[(shade * 255).astype(np.uint8)])


def _power_rows(signal: Samples, rate: int, size: int, hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean power `[frequency, column]` at each of `hertz`."""
    hop = int(np.clip(len(signal) // _INNER, 64, size // 2))
    padded = np.pad(signal, size // 2)
    bins = hertz * size / rate
    inside = bins < size // 2 - 1
    at = np.minimum(bins, size // 2 - 1).astype(int)
    share = (bins - at).astype(np.float32)
    after = np.minimum(at + 1, size // 2)
    rows = [p[:, at] * (1 - share) + p[:, after] * share for p in power_frames(padded, size, hop)]
    frames = np.concatenate(rows) * inside
    if len(frames) > _INNER:
        bounds = _columns(len(frames))
        means = np.add.reduceat(frames, bounds[:-1], axis=0) / np.diff(bounds)[:, None]
    else:
        means = frames[np.linspace(0, len(frames) - 1, _INNER).round().astype(int)]
    return np.asarray(means.T, np.float64)


@lru_cache(maxsize=1)
def _colours() -> NDArray[np.uint8]:
    places = [place for place, _ in _COLOURS]
    steps = np.linspace(0, 1, 256)
    channels = [np.interp(steps, places, [colour[c] for _, colour in _COLOURS]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def _draw_loudness(canvas: _Canvas, samples: Samples, rate: int, report: Report) -> None:
    """Momentary loudness (400 ms), and a line at the integrated one."""
    canvas.box(_LOUDNESS, _PANEL)
    for level in range(-50, 0, 10):
        y = _level_y(level)
        canvas.line([(_LEFT, y), (_LEFT + _INNER, y)], _GRID, 0.5)
        canvas.text(_LEFT - 8, y, str(level), size=13, colour=_FAINT, anchor="rm")
    hops = hop_powers(samples, rate)
    smooth = np.convolve(hops, np.ones(4) / 4, "same") if len(hops) >= 4 else hops
    levels = -0.691 + 10 * np.log10(np.maximum(smooth, 1e-12))
    times = (np.arange(len(levels)) + 0.5) / len(levels)
    curve = [(_LEFT + t * _INNER, _level_y(float(v))) for t, v in zip(times, levels, strict=True)]
    if len(curve) == 1:
        curve = [(_LEFT, curve[0][1]), (_LEFT + _INNER, curve[0][1])]
    canvas.area([(curve[0][0], _LOUDNESS.bottom), *curve, (curve[-1][0], _LOUDNESS.bottom)], _AREA)
    canvas.line(curve, _LINE, 1.6)
    if math.isfinite(report.lufs):
        y = _level_y(report.lufs)
        canvas.line([(_LEFT, y), (_LEFT + _INNER, y)], (*_TEXT, 150), 0.8)
        canvas.label(_LEFT + _INNER - 8, y - 7, f"{report.lufs:.1f} LUFS", anchor="rd")
    canvas.label(_LEFT + 10, _LOUDNESS.top + 10, "momentary loudness, LUFS")


def _level_y(level: float) -> float:
    share = (_LOUDEST - max(min(level, _LOUDEST), _QUIETEST)) / (_LOUDEST - _QUIETEST)
    return _LOUDNESS.top + share * _LOUDNESS.height


def _draw_frequencies(canvas: _Canvas, rate: int) -> None:
    for hertz in (50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        if hertz > rate / 2:
            break
        share = math.log(_HIGH_HZ / hertz) / math.log(_HIGH_HZ / _LOW_HZ)
        y = _SPECTROGRAM.top + share * _SPECTROGRAM.height
        canvas.line([(_LEFT - 5, y), (_LEFT, y)], _FAINT, 1)
        canvas.line([(_LEFT, y), (_LEFT + _INNER, y)], (255, 255, 255, 22), 0.6)
        name = f"{hertz // 1000}k" if hertz >= 1000 else str(hertz)
        canvas.text(_LEFT - 9, y, name, size=13, colour=_FAINT, anchor="rm")
    canvas.label(_LEFT + 10, _SPECTROGRAM.top + 10, "spectrum, Hz")


def _draw_times(canvas: _Canvas, seconds: float) -> None:
    step = next((s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600) if seconds / s <= 16), 1200)
    count = int(seconds / step + 1e-6)
    for index in range(count + 1):
        x = _LEFT + index * step / seconds * _INNER
        for box in (_WAVEFORM, _SPECTROGRAM, _LOUDNESS):
            canvas.line([(x, box.bottom), (x, box.bottom + 5)], _FAINT, 1)
        canvas.text(x, _LOUDNESS.bottom + 9, _clock(index * step, step), size=14, colour=_FAINT, anchor="ma")
    canvas.text(_LEFT + _INNER, HEIGHT - 16, "min:s" if step >= 1 else "s", size=12, colour=_FAINT, anchor="rm")


def _clock(at: float, step: float) -> str:
    return f"{at:.1f}" if step < 1 else f"{int(at) // 60}:{int(at) % 60:02d}"


def _draw_marks(canvas: _Canvas, seconds: float, marks: Sequence[tuple[float, str]]) -> None:
    clear = 0.0  # labels that would overlap are left out, their lines are not
    for at, label in marks:
        if not 0 <= at <= seconds:
            continue
        x = _LEFT + at / seconds * _INNER
        for box in (_WAVEFORM, _SPECTROGRAM, _LOUDNESS):
            canvas.line([(x, box.top), (x, box.bottom)], _MARK, 1)
        if x >= clear:
            canvas.text(x + 4, _WAVEFORM.top - 4, label, size=14, colour=_FAINT, anchor="ld")
            clear = x + 12 + canvas.width(label, 14)


def _draw_beats(canvas: _Canvas, seconds: float, beats: Rhythm | None) -> None:
    if beats is None or len(beats.beats) > _INNER / 3:  # closer they would be a bar
        return
    first_of_bar = set(beats.downbeats.tolist())
    for at in beats.beats.tolist():
        x = _LEFT + at / seconds * _INNER
        height = 16 if at in first_of_bar else 8
        canvas.line([(x, _WAVEFORM.bottom - height), (x, _WAVEFORM.bottom)], _LINE, 1)


def _draw_words(canvas: _Canvas, title: str, report: Report) -> None:
    shown = " ".join("".join(c if c.isprintable() else " " for c in title).split()) or "untitled"
    while len(shown) > 1 and canvas.width(shown, 28) > _INNER:
        shown = shown[: len(shown) * 9 // 10].rstrip() + "…"
    canvas.text(_LEFT, 14, shown, size=28)
    words = [f"{int(report.duration_s) // 60}:{report.duration_s % 60:04.1f}"]
    words.append(f"{report.lufs:.1f} LUFS" if math.isfinite(report.lufs) else "silent")
    if math.isfinite(report.true_peak_dbtp):
        words.append(f"true peak {report.true_peak_dbtp:.1f} dBTP")
    if report.loudness_range_lu is not None:
        words.append(f"range {report.loudness_range_lu:.1f} LU")
    if report.stereo_correlation is not None:
        words.append(f"stereo correlation {report.stereo_correlation:.2f}")
    if report.tempo is not None:
        words.append(f"{report.tempo.bpm:.1f} bpm")
    if report.key is not None:
        words.append(report.key.key)
    canvas.text(_LEFT, 50, "   ·   ".join(words), size=16, colour=_FAINT)
