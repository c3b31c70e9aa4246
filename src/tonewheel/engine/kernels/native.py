"""The native kernels for CPUs, of the package `tonewheel-kernels` (in `kernels/` of the repository)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tonewheel.engine.kernels.offer import (
    Block,
    Drawing,
    Keeper,
    Kernels,
    Linear,
    Made,
    Norm,
    Precision,
    Stack,
    StackShape,
    Wide,
    by_rows,
)
from tonewheel.engine.kernels.split import sleepers

if TYPE_CHECKING:
    from tonewheel.engine.cache import KeyValueCache
    from tonewheel.engine.cross import CrossCache
    from tonewheel.engine.model import Batch, CacheShape
    from tonewheel.engine.sampler import Sampler

GROUP = 128  # inputs that share a scale
_SCALE = 4  # bytes
_BITS: dict[str, int] = {"float32": 32, "int8": 8, "int4": 4}


class NativeKernels(Kernels):
    """Weights in float32, 8 or 4 bits, activations of the quantised ones in 8; everything else is float32.

    `kept`: where quantised weights were kept by an earlier start, or are to be. Every row's numbers are the same
    whatever stands beside it, and with any number of threads.
    """

    def __init__(self, precision: Precision, *, kept: Keeper | None = None, crew: Any = None) -> None:
        import tonewheel_kernels  # noqa: PLC0415

        self._native: Any = tonewheel_kernels
        self.name = f"native {tonewheel_kernels.chosen()}"
        self.precision = precision
        self._crew = crew or tonewheel_kernels.Crew(torch.get_num_threads())  # as many as torch (tonewheel.threads)
        self.threads: int = self._crew.threads
        self._kept = kept if precision != "float32" else None
        self.from_kept = self._kept is not None and self._kept.open(precision)

    def linear(self, name: str, weight: Made, bias: torch.Tensor | None = None) -> NativeLinear:
        bits = _BITS[self.precision]
        held = self._kept.weight(name) if self._kept is not None else None
        if held is not None:
            made = self._native.Weight.held(self._crew, *held, bits, GROUP, _floats(bias))
        else:
            made = self._native.Weight(self._crew, _floats(weight()), bits, GROUP, _floats(bias))
            if self._kept is not None:
                self._kept.keep(name, made)
        return NativeLinear(made)

    def wide(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Wide | None:
        """By tiles. Its threads sleep between two products: what lies between is torch's, on the same processors."""
        if self.precision == "float32" or not self._native.Split.offered():
            return None
        return partial(self._native.Split(_floats(weight), _floats(bias)).multiply, crew=sleepers(self.threads))

    def cache(self, shape: CacheShape, dtype: torch.dtype) -> tuple[CacheShape, torch.dtype]:
        """Where weights are quantised, keys and values are, too: in 8 bits, each head's of a position with a scale of
        its own (float32, after it). A long song's step reads more of them than of weights."""
        if self.precision == "float32":
            return shape, torch.float32
        return replace(shape, head_size=shape.head_size + _SCALE), torch.int8

    def drawing(self, sampler: Sampler, last: torch.Tensor, spoilt: torch.Tensor) -> Drawing:
        return _NativeDrawing(self._native, self._crew, sampler, last, spoilt)

    def stack(self, shape: StackShape, blocks: list[Block], last: Norm, heads: Linear | None) -> Stack:
        return _NativeStack(self._native, self._crew, shape, blocks, last, heads)


class NativeLinear:
    """A linear layer of any type of input on a CPU."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return by_rows(self.weight.multiply, x.float(), self.weight.outputs).to(x.dtype)


class _NativeStack(Stack):
    def __init__(
        self, native: Any, crew: Any, shape: StackShape, blocks: list[Block], last: Norm, heads: Linear | None
    ) -> None:
        def norm(n: Norm | None) -> Any:
            return None if n is None else native.Norm(_floats(n.weight), _floats(n.bias))

        layers = [
            native.Layer(
                norm(b.norm), _weight(b.query_key_value), _weight(b.out), norm(b.feed_norm), _weight(b.feed_in),
                _weight(b.feed_out), norm(b.cross_norm), _weight(b.cross_query), _weight(b.cross_out),
            )
            for b in blocks
        ]  # fmt: skip
        self._stack = native.Stack(
            crew, layers, norm(last), _weight(heads), width=shape.width, head_count=shape.heads,
            key_heads=shape.key_heads, head_size=shape.head_size, eps=last.eps, activation=shape.activation,
            gated=shape.gated, cosines=_floats(shape.cosines), sines=_floats(shape.sines),
        )  # fmt: skip
        self._width = shape.width
        self._outputs = 0 if heads is None else _weight(heads).outputs
        self._cache: tuple[KeyValueCache, int] | None = None  # where keys and values lie, and as of which version
        self._texts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # the native side holds bare pointers to them

    def step(
        self, x: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor, cache: KeyValueCache, logits: bool
    ) -> torch.Tensor:
        if self._cache is None or self._cache[0] is not cache or self._cache[1] != cache.version:
            self._stack.keep_in(cache.keys, cache.values)
            self._cache = cache, cache.version
        hidden = torch.empty(len(x), self._width)
        made = torch.empty(len(x), self._outputs) if logits else None
        self._stack.step(x.float().contiguous(), rows.contiguous(), positions.contiguous(), hidden, made)
        return hidden if made is None else made

    def look(self, row: int, texts: CrossCache) -> None:
        seen = texts.alone(row)
        if seen is None:
            self._stack.look_at(row, None, None)
            self._texts.pop(row, None)
        else:
            self._texts[row] = seen
            self._stack.look_at(row, *seen)


class _NativeDrawing(Drawing):
    def __init__(self, native: Any, crew: Any, sampler: Sampler, last: torch.Tensor, spoilt: torch.Tensor) -> None:
        self._held = sampler, last, spoilt  # the native side holds bare pointers to their tensors
        self._draw = native.Draw(
            crew, sampler.temperature, sampler.top_k, sampler.top_p, sampler.scale, sampler.greedy, sampler.seed,
            last, spoilt,
        )  # fmt: skip
        self._plan: torch.Tensor | None = None

    def draw(
        self, logits: torch.Tensor, batch: Batch, plan: torch.Tensor, first: int, banned: torch.Tensor | None
    ) -> torch.Tensor:
        if plan is not self._plan:
            self._draw.follow(plan)
            self._plan = plan
        tokens = torch.empty(len(batch.slots), logits.shape[1], dtype=torch.int64)
        self._draw.draw(
            logits.contiguous(), batch.slots, batch.conditional, batch.unconditional, batch.steps, first, banned, tokens
        )
        return tokens


def _weight(layer: Linear | None) -> Any:
    if layer is None:
        return None
    assert isinstance(layer, NativeLinear), "the linears of a stack are made by the same kernels"
    return layer.weight


def _floats(tensor: torch.Tensor | None) -> torch.Tensor | None:
    return None if tensor is None else tensor.detach().float().contiguous()
