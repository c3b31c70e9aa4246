"""What `src/module.cpp` offers. Arrays are whatever speaks DLPack (torch tensors, NumPy arrays), on the CPU and whole.

Wrong shapes and types raise ValueError or TypeError, rows and positions outside a cache IndexError."""

from collections.abc import Sequence
from typing import Any, TypeAlias

Floats: TypeAlias = Any  # float32
Bytes: TypeAlias = Any  # uint8
Whole: TypeAlias = Any  # int64
Cache: TypeAlias = Any  # float32 [rows, key heads, positions, head size], int8 [..., head size + 4]

def available() -> list[str]:
    """Names of the instruction sets this processor and build have, best first."""

def chosen() -> str:
    """The one in use: the best, or what TONEWHEEL_KERNELS_CPU names. Raises ValueError where that is not there."""

class Crew:
    """Threads that work on one thing together; `watch`: microseconds a thread looks for more before it sleeps."""

    def __init__(self, threads: int, watch: int = 1500) -> None: ...
    @property
    def threads(self) -> int: ...

class Weight:
    """A weight [outputs, inputs] in 4, 8 or 32 bits; `group`: inputs that share a scale, a multiple of 32."""

    def __init__(
        self, crew: Crew, weight: Floats, bits: int = 8, group: int = 128, bias: Floats | None = None
    ) -> None: ...
    @staticmethod
    def held(
        crew: Crew,
        values: Bytes,
        scales: Bytes,
        outputs: int,
        inputs: int,
        bits: int,
        group: int,
        bias: Floats | None = None,
    ) -> Weight:
        """From the bytes that `values` and `scales` of another one gave."""
    @property
    def outputs(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def bits(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes."""
    @property
    def values(self) -> bytes: ...
    @property
    def scales(self) -> bytes:
        """bfloat16."""
    def floats(self, to: Floats) -> None:
        """Write the weight as it is represented into [outputs, inputs]."""
    def multiply(self, x: Floats, y: Floats) -> None:
        """y = x · weight, with the bias: [rows, inputs] → [rows, outputs]."""

class Split:
    """A weight [outputs, inputs] for float32 products of many rows by bfloat16 tiles: as the sum of two bfloat16.

    Raises ValueError where `offered` is False. A `crew` shares the rows; without one the caller's thread does it all,
    and several threads may use a weight at once. Activations: gelu, gelu_tanh, relu.
    """

    def __init__(self, weight: Floats, bias: Floats | None = None) -> None: ...
    @staticmethod
    def offered() -> bool: ...
    @property
    def outputs(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes."""

    def multiply(self, x: Floats, y: Floats, crew: Crew | None = None, activation: str | None = None) -> None:
        """y = activation(x · weight + bias): [rows, inputs] → [rows, outputs]."""

    def feed(self, down: Split, activation: str, x: Floats, y: Floats, crew: Crew | None = None) -> None:
        """y = activation(x · weight + bias) · down + its bias: what lies between stays in the cache."""

class Norm:
    """A layer norm, or an RMS norm where there is no bias."""

    def __init__(self, weight: Floats, bias: Floats | None = None) -> None: ...

class Layer:
    """One layer; of the three of cross-attention give all or none."""

    def __init__(
        self,
        norm: Norm,
        query_key_value: Weight,
        out: Weight,
        feed_norm: Norm,
        feed_in: Weight,
        feed_out: Weight,
        cross_norm: Norm | None = None,
        cross_query: Weight | None = None,
        cross_out: Weight | None = None,
    ) -> None: ...

class Stack:
    """The layers of a decoder; a step is one call."""

    def __init__(
        self,
        crew: Crew,
        layers: Sequence[Layer],
        last: Norm,
        heads: Weight | None,
        *,
        width: int,
        head_count: int,
        key_heads: int,
        head_size: int,
        eps: float,
        activation: str = "gelu",
        gated: bool = False,
        cosines: Floats | None = None,
        sines: Floats | None = None,
    ) -> None: ...
    def keep_in(self, keys: Sequence[Cache], values: Sequence[Cache]) -> None:
        """Where keys and values of each layer are kept. Only their addresses are: the caller keeps the tensors."""
    def look_at(self, row: int, keys: Floats | None, values: Floats | None) -> None:
        """What a row's cross-attention sees [layers, heads, count, head size], or nothing. The caller keeps both."""
    def step(self, x: Floats, rows: Whole, positions: Whole, hidden: Floats, logits: Floats | None = None) -> None:
        """x [count, width] at positions [count] of rows [count] → hidden [count, width], logits [count, outputs]."""

class Draw:
    """From logits to tokens, by the settings of all slots [slots]; `last` [slots, codebooks] gets what is drawn, and
    `spoilt` [slots, 1] a 1 where logits were not finite. Only addresses are kept: the caller keeps the tensors."""

    def __init__(
        self,
        crew: Crew,
        temperature: Floats,
        top_k: Whole,
        top_p: Any,  # float64
        scale: Floats,
        greedy: Any,  # bool
        seed: Whole,
        last: Whole,
        spoilt: Whole,
    ) -> None: ...
    def follow(self, plan: Whole) -> None:
        """Tokens known beforehand [slots, codebooks, steps], -1 elsewhere. The caller keeps the tensor."""
    def draw(
        self,
        logits: Floats,
        slots: Whole,
        conditional: Whole,
        unconditional: Whole,
        steps: Whole,
        first: int,
        banned: Any | None,  # bool
        tokens: Whole,
    ) -> None:
        """Logits [rows, codebooks, vocabulary], of which slot i has the rows conditional[i] and unconditional[i] →
        tokens [count, codebooks] of the codebooks from `first` on; of the ids `banned` [vocabulary] none comes."""
