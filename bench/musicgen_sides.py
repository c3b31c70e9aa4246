"""Who decodes in `musicgen.py`: transformers, our engine on one kind of kernels or another, OpenVINO."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch

from musicgen_models import SAMPLING, TEXT_TOKENS, our_decoder, random_weights, their_model
from openvino_step import OpenVinoDecoder, Settings, all_settings, difference
from report import median
from tonewheel.engine import Engine, GenerationRequest
from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.cross import CrossCache
from tonewheel.engine.kernels import Block, Drawing, Kernels, Linear, Norm, Stack, StackShape
from tonewheel.engine.kernels.offer import Made
from tonewheel.engine.model import CacheShape
from tonewheel.engine.sampler import Sampler
from tonewheel.errors import Cancelled
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenPrompt

_BITS = {"float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "int4": 4}


class Side(ABC):
    """One that can decode. `id` is what `--only` and `--skip` name."""

    id: str
    name: str
    precision: str
    bytes: int | None = None  # of the weights that a step reads

    @abstractmethod
    def run(self, count: int, frames: int) -> float:
        """Seconds for `count` requests at once."""

    def warm(self, count: int, frames: int) -> None:
        """What is done before such a run, untimed: memory, captured graphs."""
        self.run(count, 2)

    def outside(self) -> float | None:
        """Share of the last run's time that was not spent in the native call; None where there is none."""
        return None

    def rest(self) -> None:  # noqa: B027  (most hold nothing)
        """Give back what `warm` took."""


class Transformers(Side):
    """`generate` over one batch, SDPA attention, inference mode; on a GPU with its own best cache."""

    id = name = "transformers"

    def __init__(self, shape: DecoderShape, device: torch.device, dtype: torch.dtype) -> None:
        self.precision = str(dtype).removeprefix("torch.")
        self._model = their_model(shape, device, dtype)
        self._device = device

    def run(self, count: int, frames: int) -> float:
        """With a text encoder of one layer: next to nothing."""
        ones = torch.ones(count, TEXT_TOKENS, dtype=torch.int64, device=self._device)
        began = time.perf_counter()
        with torch.inference_mode():
            self._model.generate(
                input_ids=ones + 1, attention_mask=ones, do_sample=True, top_k=SAMPLING.top_k, guidance_scale=3.0,
                max_new_tokens=frames + 3,
            )  # fmt: skip
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began


class Ours(Side):
    """Our engine on the kernels given."""

    def __init__(self, shape: DecoderShape, device: torch.device, dtype: torch.dtype, kernels: Kernels, kind: str):
        self._watched = _Watched(kernels)
        self.precision = kernels.precision
        self.id, self.name = f"{kind}-{self.precision}", f"ours, {kind} {self.precision}"
        self.shape, self.kernels = shape, kernels
        self.decoder = our_decoder(shape, device, dtype, self._watched)
        self.bytes = self._watched.bytes
        self.text = torch.randn(TEXT_TOKENS, shape.text_width, device=device, dtype=dtype)
        self._engine: tuple[int, Engine] | None = None
        self._took = 0.0

    def engine(self, slots: int) -> Engine:
        if self._engine is None or self._engine[0] != slots:
            self.rest()
            self._engine = slots, Engine(self.decoder, slots)
        return self._engine[1]

    def request(self, frames: int, seed: int) -> GenerationRequest:
        return GenerationRequest(MusicgenPrompt(text=self.text), frames, replace(SAMPLING, seed=seed))

    def run(self, count: int, frames: int) -> float:
        engine = self.engine(count)
        self._watched.seconds = 0.0
        began = time.perf_counter()
        running = [engine.submit(self.request(frames, n)) for n in range(count)]
        for sequence in running:
            sequence.result()
        self._took = time.perf_counter() - began
        return self._took

    def warm(self, count: int, frames: int) -> None:
        """The engine gives its cache back when others take long: make room anew."""
        running = [self.engine(count).submit(self.request(frames, n)) for n in range(count)]
        running[-1].wait(1)
        for sequence in running:
            sequence.cancel()
            with contextlib.suppress(Cancelled):
                sequence.result()

    def outside(self) -> float | None:
        return 1 - self._watched.seconds / self._took if self._watched.seconds else None

    def rest(self) -> None:
        if self._engine is not None:
            self._engine[1].close()
        self._engine = None


class OpenVino(Side):
    """The step of `openvino_step.py`, in the fastest of OpenVINO's settings."""

    def __init__(self, shape: DecoderShape, precision: str, threads: int, quick: bool) -> None:
        self.id, self.name, self.precision = f"openvino-{precision}", f"OpenVINO {precision}", precision
        if quick:
            self.settings = Settings(precision)
        else:
            self.settings = fastest(shape, precision, threads)
        self.difference = difference(self.settings, threads)
        self._decoder = OpenVinoDecoder(shape, random_weights(shape), self.settings, threads)
        self.version = self._decoder.version
        self._text = torch.randn(TEXT_TOKENS, shape.text_width)

    def run(self, count: int, frames: int) -> float:
        return self._decoder.run(self._text, count, frames)


def fastest(shape: DecoderShape, precision: str, threads: int) -> Settings:
    """OpenVINO's best settings here: four layers of the real width, one and eight requests, whose times count alike."""
    cut = replace(shape, layers=min(4, shape.layers))
    text = torch.randn(TEXT_TOKENS, shape.text_width)
    found: list[tuple[float, Settings]] = []
    for settings in all_settings(precision):
        decoder = OpenVinoDecoder(cut, random_weights(cut), settings, threads)
        product = 1.0
        for count in (1, 8):
            decoder.run(text, count, 3)
            product *= median([decoder.run(text, count, 12) for _ in range(3)])
        found.append((product, settings))
    return min(found, key=lambda pair: pair[0])[1]


class _Watched(Kernels):
    """Other kernels, and how much a step reads and how long it stays in their call."""

    def __init__(self, inner: Kernels) -> None:
        self._inner = inner
        self.name, self.precision = inner.name, inner.precision
        self.bytes = 0
        self.seconds = 0.0  # within the stack's step

    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> Linear:
        count = 0

        def counted() -> torch.Tensor:
            nonlocal count
            made = weight()
            count = made.numel()
            return made

        layer = self._inner.linear(name, counted, bias)
        if not name.endswith("encoder_attn.k_proj"):  # keys and values of the text: once a request
            native: Any = getattr(layer, "weight", None)
            self.bytes += native.memory if native is not None else count * _BITS[self.precision] // 8
        return layer

    def cache(self, shape: CacheShape, dtype: torch.dtype) -> tuple[CacheShape, torch.dtype]:
        return self._inner.cache(shape, dtype)

    def drawing(self, sampler: Sampler, last: torch.Tensor, spoilt: torch.Tensor) -> Drawing | None:
        return self._inner.drawing(sampler, last, spoilt)

    def stack(self, shape: StackShape, blocks: list[Block], last: Norm, heads: Linear | None) -> Stack | None:
        made = self._inner.stack(shape, blocks, last, heads)
        return None if made is None else _Timed(made, self)


class _Timed(Stack):
    def __init__(self, inner: Stack, told: _Watched) -> None:
        self._inner, self._told = inner, told

    def step(
        self, x: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, cache: KeyValueCache, logits: bool
    ) -> torch.Tensor:
        began = time.perf_counter()
        made = self._inner.step(x, rows, positions, cache, logits)
        self._told.seconds += time.perf_counter() - began
        return made

    def look(self, row: int, texts: CrossCache) -> None:
        self._inner.look(row, texts)
