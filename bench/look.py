"""Draws a song of each style for the eye: its piano roll above its spectrogram.

    python bench/look.py [--style NAME ...] [--duration 60] [--seed 1] [--folder out]

`docs/listening.md` shows four of them.
"""

from __future__ import annotations

import argparse
import colorsys
import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tonewheel.audio.checks import check
from tonewheel.audio.plot import plot
from tonewheel.composer.arrange import arrange
from tonewheel.composer.render import render
from tonewheel.composer.score import Score
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request
from tonewheel.styles.library import styles

NARRATIVE = (
    "An old lighthouse keeper counts the waves every night. The ships stopped coming, but he still lights the lamp."
)
WIDTH, ROW, DRUM_ROW, LEFT, TOP = 1400, 6, 9, 90, 46
_ORDER = ("melody", "lead", "counter", "arpeggio", "chords", "pad", "bass", "effects")


def piano_roll(score: Score) -> Image.Image:
    """Pitches over time, a colour a part, sections and chords above, drums below."""
    pitched = [p for p in score.parts if p.role not in ("drums", "effects") and p.notes]
    pitched.sort(key=lambda p: _ORDER.index(p.role), reverse=True)
    drums = [n for p in score.parts if p.role == "drums" for n in p.notes]
    voices = sorted({n.pitch for n in drums})
    low = min(n.pitch for p in pitched for n in p.notes) - 2
    high = max(n.pitch for p in pitched for n in p.notes) + 2
    bottom = TOP + (high - low) * ROW
    image = Image.new("RGB", (WIDTH, bottom + 14 + len(voices) * DRUM_ROW + 24), "#101418")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    quarters = score.duration_s / score.quarter_s
    scale = (WIDTH - LEFT - 10) / quarters

    def x(quarter: float) -> float:
        return LEFT + quarter * scale

    for c in range(-(-low // 12) * 12, high, 12):
        y = bottom - (c - low) * ROW
        draw.line([(LEFT, y), (WIDTH - 10, y)], fill="#2a323a")
        draw.text((62, y - 12), f"C{c // 12 - 1}", fill="#7f8b96", font=font)
    for section in score.sections:
        draw.line([(x(section.start), 18), (x(section.start), image.height - 20)], fill="#4a5560")
        draw.text((x(section.start) + 3, 4), f"{section.label} {section.energy:.2f}", fill="#e8edf2", font=font)
    for span in score.chords:
        draw.text((x(span.start) + 2, 24), span.symbol, fill="#9fb0bf", font=font)
    for i, part in enumerate(pitched):
        hue = i / max(len(pitched), 1)
        for n in part.notes:
            light = 0.25 + 0.4 * n.velocity / 127
            colour = tuple(round(255 * v) for v in colorsys.hls_to_rgb(hue, light, 0.8))
            y = bottom - (n.pitch - low) * ROW
            draw.rectangle([x(n.start), y - ROW + 1, max(x(n.end) - 1, x(n.start) + 1), y], fill=colour)
        rgb = tuple(round(255 * v) for v in colorsys.hls_to_rgb(hue, 0.6, 0.8))
        where = (LEFT + i * (WIDTH - LEFT) / len(pitched), image.height - 18)
        draw.text(where, f"{part.id}: {part.instrument}"[:24], fill=rgb, font=font)
    for row, voice in enumerate(voices):
        y = bottom + 14 + row * DRUM_ROW
        draw.text((62, y - 3), str(voice), fill="#7f8b96", font=font)
        for n in drums:
            if n.pitch == voice:
                v = 80 + n.velocity
                draw.rectangle([x(n.start), y, x(n.start) + 2, y + DRUM_ROW - 3], fill=(v, v, v))
    return image


def picture(style: str, duration: float, seed: int) -> Image.Image:
    plan = make_plan(plan_request(narrative=NARRATIVE, style=style, duration_s=duration, seed=seed))
    score = arrange(plan)
    audio = render(score)
    title = f"{plan.title}: {style}, {plan.key}, {plan.tempo:.1f} bpm"
    sound = Image.open(io.BytesIO(plot(audio.T, SAMPLE_RATE, check(audio.T, SAMPLE_RATE), title))).convert("RGB")
    roll = piano_roll(score)
    sound = sound.resize((WIDTH, round(sound.height * WIDTH / sound.width)))
    both = Image.new("RGB", (WIDTH, roll.height + sound.height))
    both.paste(sound, (0, 0))
    both.paste(roll, (0, sound.height))
    return both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--style", action="append", help="only these styles")
    parser.add_argument("--duration", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("out"))
    args = parser.parse_args()
    args.folder.mkdir(exist_ok=True)
    for style in args.style or list(styles()):
        path = args.folder / f"{style}.png"
        picture(style, args.duration, args.seed).quantize(200).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
