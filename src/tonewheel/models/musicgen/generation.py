"""One piece of music on its way: windows one after another on the engine, codes to samples as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel.engine import Engine, GenerationRequest, Sampling, Sequence
from tonewheel.errors import RenderFault
from tonewheel.models.musicgen.codec import Codec
from tonewheel.models.musicgen.decoder import MusicgenPrompt
from tonewheel.models.musicgen.windows import MAX_CONTEXT, SAMPLES_PER_FRAME, Window, frames_of, samples_of, windows
from tonewheel.seeds import MAX_DRAWN, derive

Samples = NDArray[np.float32]
# Frames decoded at a time: always the same, so that the samples do not depend on who was quick.
FIRST_CHUNK = 25
CHUNK = 50


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made. `prompt(window)`: what a window is conditioned on; `given` [n, channels]: what it goes on
    from, which the piece begins with, and `begun` the codes of its end (`codes_of_end`)."""

    prompt: Callable[[Window], MusicgenPrompt]
    seconds: float
    sampling: Sampling
    given: Samples | None = None
    begun: torch.Tensor | None = None
    late: bool = False  # nobody waits for the first of it: decode it when all codes are there


def sub_seed(seed: int, kind: str, number: int) -> int:
    """The seed of a further variation or window; the first has the seed itself."""
    return seed if number == 0 else derive(seed, "musicgen", kind, number) & MAX_DRAWN


class Piece:
    """One piece. `advance` until `done`; `samples` is then the whole."""

    def __init__(self, engine: Engine, codec: Codec, wish: Wish) -> None:
        self._engine, self._codec, self._wish = engine, codec, wish
        self.frames = frames_of(wish.seconds)
        self.ready = 0  # new frames that are there
        self.done = False
        none = torch.empty((codec.codebooks, 0), dtype=torch.int64)
        self._begun = none if wish.begun is None else wish.begun  # codes [K, n] it goes on from
        self._codes = self._begun
        self._windows = windows(self.frames, self._begun.shape[1])
        self._window: Window | None = None
        self._sequence: Sequence | None = None
        self._decoding = codec.begin(skip=max(0, self._begun.shape[1] - 1))
        self._join = _Join(wish.given, samples_of(wish.seconds))
        self._decoding.push(self._begun)  # nothing of it is certain yet but what is not wanted
        self._samples: list[Samples] = []
        self._decoded = self._begun.shape[1]

    @property
    def samples(self) -> Samples:
        """All so far, [n, channels]."""
        return np.concatenate(self._samples) if self._samples else np.zeros((0, self._codec.channels), np.float32)

    def advance(self, timeout: float) -> list[Samples]:
        """Wait up to `timeout` seconds for more and decode it → the samples that are new. Raises what ended it."""
        if self._codes.shape[1] - self._begun.shape[1] >= self.frames:
            return self._decode(self._codes)
        if self._sequence is None:
            self._next_window()
        assert self._sequence is not None and self._window is not None
        before = self._codes.shape[1] - self._begun.shape[1]
        wanted = min(self._window.frames, _next_boundary(self.ready) - before)
        found = self._sequence.wait(wanted, timeout)
        self.ready = before + found
        if found < wanted:
            if self._sequence.ended:
                raise RenderFault(f"the engine ended a window after {found} of {self._window.frames} frames")
            return []
        if found >= self._window.frames:
            self._codes = torch.cat([self._codes, self._sequence.codes(0, self._window.frames)], dim=1)
            self._sequence = None
            return self._decode(self._codes)
        fresh = self._sequence.codes(0, found)
        return self._decode(torch.cat([self._codes, fresh], dim=1))

    def cancel(self) -> None:
        """Let go of the engine's slot."""
        if self._sequence is not None:
            self._sequence.cancel()

    def _next_window(self) -> None:
        window = next(self._windows)
        sampling = replace(self._wish.sampling, seed=sub_seed(self._wish.sampling.seed, "window", window.number))
        start = self._codes[:, window.start : window.start + window.context] if window.context else None
        request = GenerationRequest(self._wish.prompt(window), window.frames, sampling, start)
        self._window, self._sequence = window, self._engine.submit(request)

    def _decode(self, codes: torch.Tensor) -> list[Samples]:
        """Decode whole chunks of what is there and, at the end, the rest."""
        begun, there = self._begun.shape[1], codes.shape[1]
        whole = there - begun >= self.frames
        made: list[Samples] = []
        if self._wish.late and not whole:
            return made
        while self._decoded < there:
            upto = begun + _next_boundary(self._decoded - begun)
            if upto > there and not whole:
                break
            upto = min(upto, there)
            made += self._join.add(self._decoding.push(codes[:, self._decoded : upto]))
            self._decoded = upto
            if self._wish.late:  # the next one in the next turn: whoever asked may leave meanwhile
                break
        if whole and self._decoded == there:
            made += self._join.add(self._decoding.finish())
            self.done = True
        self._samples += made
        return made


class _Join:
    """What was given and what is new as one: the last frame of the one is faded into the codec's own rendering of it
    (what the codec tells first), after which the other begins without a seam. Of the new `wanted` samples are taken."""

    def __init__(self, given: Samples | None, wanted: int) -> None:
        self._given = given
        self._left = wanted

    def add(self, decoded: Samples) -> Iterator[Samples]:
        """Samples as they come from the codec → samples of the piece."""
        if self._given is not None and len(decoded):  # always whole frames
            yield self._faded(self._given, decoded[:SAMPLES_PER_FRAME])
            self._given, decoded = None, decoded[SAMPLES_PER_FRAME:]
        taken = decoded[: self._left]
        self._left -= len(taken)
        if len(taken):
            yield taken

    @staticmethod
    def _faded(given: Samples, last: Samples) -> Samples:
        fade = np.linspace(0, 1, len(last), dtype=np.float32)[:, None]
        tail = given[-len(last) :]
        mixed = tail * (1 - fade[-len(tail) :]) + last[-len(tail) :] * fade[-len(tail) :]
        return np.concatenate([given[: -len(tail)], mixed])


def _next_boundary(frame: int) -> int:
    """The frame up to which the next chunk goes, after `frame`."""
    return FIRST_CHUNK if frame < FIRST_CHUNK else frame + CHUNK - (frame - FIRST_CHUNK) % CHUNK


def codes_of_end(codec: Codec, given: Samples) -> torch.Tensor:
    """The codes [K, n] of the end of samples [m, channels]: whole frames, at most the 20 s a window goes on from."""
    frames = min(MAX_CONTEXT, max(1, len(given) // SAMPLES_PER_FRAME))
    end = given[-frames * SAMPLES_PER_FRAME :]
    missing = frames * SAMPLES_PER_FRAME - len(end)
    return codec.encode(np.pad(end, ((missing, 0), (0, 0)))).cpu()
