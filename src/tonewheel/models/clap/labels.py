"""The label sets of the contract, and the sentences they are asked in."""

from __future__ import annotations

GENRES = ("rock", "pop", "electronic", "jazz", "classical", "hip hop", "country", "reggae", "metal", "folk", "blues")
MOODS = (
    "happy", "sad", "angry", "peaceful", "exciting", "scary", "tense", "melancholic", "upbeat", "calm",
)  # fmt: skip

# CLAP was trained on captions. LAION's own evaluation on GTZAN asks for genres in these words.
_SENTENCE = "This audio is a {} song."


def sentences(labels: tuple[str, ...] | list[str]) -> list[str]:
    """What the text tower hears of each label."""
    return [_SENTENCE.format(label) for label in labels]
