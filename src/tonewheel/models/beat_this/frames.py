"""Logits of recordings of any length: chunks of 30 s as in training, their edges thrown away.

As upstream (CPJKU/beat_this, `inference.py`, MIT): the network never learnt what the first and last 6 frames of a
chunk mean, so chunks overlap by as much and the ends of the piece are padded with silence; the last chunk is moved
back to end with the piece; where two overlap, the earlier one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from tonewheel.models.beat_this.network import BeatThis

CHUNK = 1500
BORDER = 6
_KEPT = CHUNK - 2 * BORDER


def logits_of(
    network: BeatThis, frames: Tensor, *, batch: int = 1, on_progress: Callable[[float], None] = lambda _: None
) -> Tensor:
    """Logits `[T, 2]` (beat, downbeat), float32 on the CPU, of `frames [T, 128]`.

    `batch` chunks are run at once. `on_progress(share)` is told before each batch and may raise to stop.
    """
    starts = chunk_starts(len(frames))
    found = torch.empty(len(frames), 2)
    done = 0  # frames that have their logits: in order, the earlier chunk counts
    for group in _grouped(starts, batch):
        on_progress(done / len(frames))
        chunks = torch.stack([_chunk(frames, start) for start in group])
        with torch.inference_mode():
            answers = network(chunks)[:, BORDER:-BORDER].cpu()
        for start, answer in zip(group, answers, strict=True):
            first = start + BORDER  # the frame the answer begins with
            found[done : first + len(answer)] = answer[done - first :]
            done = first + len(answer)
    return found


def chunk_starts(length: int) -> list[int]:
    """First frames of the chunks of `length` frames; the padding before the piece makes the first one negative."""
    starts = list(range(-BORDER, length - BORDER, _KEPT))
    if length > _KEPT:
        starts[-1] = length + BORDER - CHUNK
    return starts


def _grouped(starts: list[int], size: int) -> Iterator[list[int]]:
    for i in range(0, len(starts), size):
        yield starts[i : i + size]


def _chunk(frames: Tensor, start: int) -> Tensor:
    end = start + CHUNK
    before, after = max(0, -start), max(0, min(BORDER, end - len(frames)))
    return functional.pad(frames[max(0, start) : end], (0, 0, before, after))
