"""One song on its way: codes from the engine, samples from the codec as its windows fill."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tonewheel.engine import Engine, GenerationRequest
from tonewheel.errors import RenderFault
from tonewheel.models.base import Audio, RunContext
from tonewheel.models.heartmula.codec import HeartCodec
from tonewheel.models.heartmula.windows import SAMPLE_RATE, WINDOW, count

_WAIT_S = 0.05  # between two looks at whether to stop
_CODES, _SAMPLES = 0.6, 0.3  # shares of the work told as progress; encoding is the rest


class Song:
    """One song. `make` blocks until it is whole; `frames` are then those that were made."""

    def __init__(self, engine: Engine, codec: HeartCodec, request: GenerationRequest, context: RunContext) -> None:
        """Raises InvalidRequest, OutOfMemory for what can never run."""
        self.frames = 0
        self.ended_itself = False
        self._context = context
        self._wanted = request.frames
        self._windows = 0  # decoded
        self._sequence = engine.submit(request)
        self._decoding = codec.begin(request.sampling.seed, check=self._check)

    def make(self) -> NDArray[np.float32]:
        """All samples [n, 2]; those of finished windows are handed out meanwhile. Raises what ended it."""
        made: list[NDArray[np.float32]] = []
        try:
            while not self._over():
                made.append(self._told(self._decoding.push(self._fresh())))
            made += [self._told(self._decoding.push(self._fresh())), self._told(self._decoding.finish())]
        finally:
            self._sequence.cancel()
        self.ended_itself = self.frames < self._wanted
        if self.frames == 0:
            raise RenderFault("the model ended the song before its first sound: use another seed, or other words")
        return np.concatenate(made)

    def _over(self) -> bool:
        """Wait a moment for what the next window needs; True once all codes are there."""
        needed = min(self._wanted, self.frames + WINDOW)
        found = self._sequence.wait(needed, _WAIT_S)
        self._check(found)
        return self._sequence.ended or found >= self._wanted

    def _fresh(self) -> Tensor:
        """Codes [K, n] that came since."""
        found = self._sequence.ready
        codes = self._sequence.codes(self.frames, found)
        self.frames = found
        return codes

    def _told(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(samples):
            self._windows += 1
            self._context.audio(Audio(samples, SAMPLE_RATE))
        return samples

    def _check(self, found: int | None = None) -> None:
        found = self._sequence.ready if found is None else found
        total = count(self._wanted)
        share = _CODES * found / self._wanted + _SAMPLES * min(1.0, self._windows / total)
        self._context.progress("codes" if found < self._wanted else "samples", share)
