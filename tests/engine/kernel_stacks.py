"""Small decoders of the usual shapes, on the native stack and by hand in double precision."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from kernel_weights import floats, tops
from torch.nn.functional import gelu, relu, scaled_dot_product_attention, silu

EPS = 1e-5
GROUP = 32  # inputs that share a scale


@dataclass(frozen=True)
class Kind:
    """What a decoder is made of; `cross`: it has cross-attention."""

    width: int = 48
    heads: int = 4
    key_heads: int = 4
    head_size: int = 12
    fed: int = 80
    layers: int = 2
    outputs: int = 37
    activation: str = "gelu"
    gated: bool = False
    rms: bool = False
    rotary: bool = False
    biases: bool = False
    cross: bool = False


KINDS = {
    "musicgen": Kind(cross=True),
    "gpt2": Kind(activation="gelu_tanh", biases=True),
    "llama": Kind(heads=6, key_heads=2, head_size=10, gated=True, rms=True, rotary=True),
    "opt": Kind(activation="relu", biases=True),
    "odd": Kind(width=33, heads=3, key_heads=1, head_size=20, fed=50, rms=True, gated=True, outputs=17),
}

Linears = dict[str, tuple[torch.Tensor, torch.Tensor | None]]


def rotary(positions: int, head_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    rates = 10_000.0 ** -(torch.arange(0, head_size, 2).float() / head_size)
    angles = torch.arange(positions).float()[:, None] * rates
    return angles.cos(), angles.sin()


@dataclass
class Decoder:
    """Weights of a kind, drawn; `linears[n]`: those of layer n by name, with their biases."""

    kind: Kind
    seed: int = 1
    positions: int = 80
    linears: list[Linears] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        k, self.dice = self.kind, torch.Generator().manual_seed(self.seed)
        inner = k.heads * k.head_size
        shapes = {
            "query_key_value": (inner + 2 * k.key_heads * k.head_size, k.width),
            "out": (k.width, inner),
            "feed_in": (2 * k.fed if k.gated else k.fed, k.width),
            "feed_out": (k.width, k.fed),
        }
        if k.cross:
            shapes |= {"cross_query": (inner, k.width), "cross_out": (k.width, inner)}
        self.linears = [{name: self._linear(*shape) for name, shape in shapes.items()} for _ in range(k.layers)]
        self.heads = self._linear(k.outputs, k.width)
        names = ["norm", "feed_norm", *(["cross_norm"] if k.cross else [])]
        self.norms = [{name: self._norm() for name in names} for _ in range(k.layers)]
        self.last = self._norm()
        self.turns = rotary(self.positions, k.head_size) if k.rotary else None

    def _drawn(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.dice)

    def _linear(self, outputs: int, inputs: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        weight = self._drawn(outputs, inputs) * 1.5 / math.sqrt(inputs)
        return weight, self._drawn(outputs) * 0.2 if self.kind.biases else None

    def _norm(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        return 1 + 0.1 * self._drawn(self.kind.width), None if self.kind.rms else 0.1 * self._drawn(self.kind.width)

    def text(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a text [layers, heads, count, head size]."""
        shape = self.kind.layers, self.kind.heads, count, self.kind.head_size
        return self._drawn(*shape), self._drawn(*shape)

    # ── native ──

    def native(self, bits: int = 32, threads: int = 2) -> Any:
        import tonewheel_kernels as native

        k, crew = self.kind, native.Crew(threads)

        def linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
            return native.Weight(crew, weight, bits, GROUP, bias)

        layers = []
        for linears, norms in zip(self.linears, self.norms, strict=True):
            parts: dict[str, Any] = {name: linear(*w) for name, w in linears.items()}
            parts |= {name: native.Norm(*n) for name, n in norms.items()}
            layers.append(native.Layer(**parts))
        cosines, sines = self.turns or (None, None)
        return native.Stack(
            crew, layers, native.Norm(*self.last), linear(*self.heads), width=k.width, head_count=k.heads,
            key_heads=k.key_heads, head_size=k.head_size, eps=EPS, activation=k.activation, gated=k.gated,
            cosines=cosines, sines=sines,
        )  # fmt: skip

    def caches(self, rows: int, dtype: torch.dtype = torch.float32) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Room for keys and values, NaN throughout: what was not written must not be read. In 8 bits, all bits set make
        a scale of NaN."""
        packed = dtype == torch.int8
        shape = rows, self.kind.key_heads, self.positions, self.kind.head_size + 4 * packed
        nothing = -1 if packed else float("nan")
        both = [[torch.full(shape, nothing, dtype=dtype) for _ in range(self.kind.layers)] for _ in range(2)]
        self.kept.append(both)  # the stack holds bare pointers
        return both[0], both[1]

    def step(
        self, stack: Any, x: torch.Tensor, rows: list[int], positions: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states and logits of x [n, width]."""
        hidden, logits = torch.empty(len(x), self.kind.width), torch.empty(len(x), self.kind.outputs)
        stack.step(x.contiguous(), torch.tensor(rows), torch.tensor(positions), hidden, logits)
        return hidden, logits

    # ── by hand ──

    def by_hand(
        self, x: torch.Tensor, text: tuple[torch.Tensor, torch.Tensor] | None = None, bits: int = 32
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states and logits of one whole row x [n, width], in double precision; of fewer bits: with weights as
        they are represented, and rows rounded as the format says."""
        k, x = self.kind, x.double()
        for n, (linears, norms) in enumerate(zip(self.linears, self.norms, strict=True)):
            linear = {name: _linear(*w, bits) for name, w in linears.items()}
            flat = linear["query_key_value"](_norm(x, *norms["norm"]))
            heads = flat.view(len(x), -1, k.head_size).transpose(0, 1)
            query, key, value = heads.split([k.heads, k.key_heads, k.key_heads])
            if self.turns is not None:
                query, key = self._turned(query), self._turned(key)
            shared = k.heads // k.key_heads
            key, value = key.repeat_interleave(shared, 0), value.repeat_interleave(shared, 0)
            seen = scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True)[0]
            x = x + linear["out"](seen.transpose(0, 1).reshape(len(x), -1))
            if text is not None:
                asked = linear["cross_query"](_norm(x, *norms["cross_norm"])).view(len(x), k.heads, -1).transpose(0, 1)
                words = [part[n].double()[None] for part in text]
                found = scaled_dot_product_attention(asked[None], *words)[0]
                x = x + linear["cross_out"](found.transpose(0, 1).reshape(len(x), -1))
            made = linear["feed_in"](_norm(x, *norms["feed_norm"]))
            if k.gated:
                gate, up = made.chunk(2, -1)
                made = silu(gate) * up
            else:
                made = {"gelu": gelu, "relu": relu, "gelu_tanh": lambda v: gelu(v, approximate="tanh")}[k.activation](
                    made
                )
            x = x + linear["feed_out"](made)
        hidden = _norm(x, *self.last)
        return hidden, _linear(*self.heads, bits)(hidden)

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        """x [heads, n, size]: each pair of neighbours is a complex number, turned by its position's angle."""
        assert self.turns is not None
        cosines, sines = (t[: x.shape[1]].double() for t in self.turns)
        turned = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous()) * torch.complex(cosines, sines)
        return torch.view_as_real(turned).flatten(-2)


def unpacked(kept: torch.Tensor) -> torch.Tensor:
    """Keys or values as a cache holds them → doubles [..., head size]."""
    if kept.dtype != torch.int8:
        return kept.double()
    scales = kept[..., -4:].contiguous().view(torch.float32)
    return kept[..., :-4].double() * scales.double()


def _linear(weight: torch.Tensor, bias: torch.Tensor | None, bits: int) -> Any:
    more = 0 if bias is None else bias.double()
    if bits == 32:
        return lambda x: x @ weight.double().T + more
    import tonewheel_kernels as native

    represented = floats(native.Weight(native.Crew(1), weight, bits, GROUP)).double()

    def rounded(x: torch.Tensor) -> torch.Tensor:
        step = tops(x, GROUP) / 127
        return (x / step).round() * step

    return lambda x: rounded(x) @ represented.T + more


def _norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if bias is None:
        return x * (x.pow(2).mean(-1, keepdim=True) + EPS).rsqrt() * weight.double()
    return torch.nn.functional.layer_norm(x, (x.shape[-1],), weight.double(), bias.double(), EPS)
