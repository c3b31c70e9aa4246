"""The native stack gives what the layers give one after another, by hand; alone, in company, in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from kernel_stacks import KINDS, Decoder, Kind, unpacked
from torch.nn.functional import scaled_dot_product_attention

native = pytest.importorskip("tonewheel_kernels", reason="the native kernels are not installed (pip install ./kernels)")

EACH = native.available()
KEPT = [torch.float32, torch.int8]


def use(monkeypatch: pytest.MonkeyPatch, instructions: str) -> None:
    monkeypatch.setenv("TONEWHEEL_KERNELS_CPU", instructions)
    assert native.chosen() == instructions


def bits_of(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int32)


def steps(decoder: Decoder, stack: Any, x: torch.Tensor, row: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x [n, width] of one row, a position a step → hidden states and logits of all."""
    made = [decoder.step(stack, x[n : n + 1], [row], [n]) for n in range(len(x))]
    return torch.cat([h for h, _ in made]), torch.cat([g for _, g in made])


# ── attention ──


@pytest.mark.parametrize("kept", KEPT, ids=str)
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("size", [8, 20, 64, 128])
@pytest.mark.parametrize("instructions", EACH)
def test_attention_is_that_of_torch(
    monkeypatch: pytest.MonkeyPatch, instructions: str, size: int, key_heads: int, kept: torch.dtype
) -> None:
    """One layer that does nothing but attend: what comes out is the norm of x and what was seen."""
    use(monkeypatch, instructions)
    inner = 4 * size
    decoder = Decoder(Kind(width=inner, key_heads=key_heads, head_size=size, fed=8, layers=1, outputs=5))
    decoder.linears[0]["out"] = torch.eye(inner), None
    decoder.linears[0]["feed_out"] = torch.zeros(inner, 8), None
    decoder.last = torch.ones(inner), None
    stack = decoder.native()
    keys, values = decoder.caches(2, kept)
    stack.keep_in(keys, values)
    x = torch.randn(70, inner, generator=decoder.dice)
    hidden, _ = decoder.step(stack, x, [1] * 70, [*range(70)])
    held_k, held_v = unpacked(keys[0][1, :, :70]), unpacked(values[0][1, :, :70])  # as the cache holds them
    shared = 4 // key_heads
    weight = decoder.linears[0]["query_key_value"][0].double()
    normed = torch.nn.functional.layer_norm(x.double(), (inner,), *(t.double() for t in decoder.norms[0]["norm"]), 1e-5)
    query, key, value = (normed @ weight.T).view(70, -1, size).transpose(0, 1).split([4, key_heads, key_heads])
    for held, made in ((held_k, key), (held_v, value)):
        step = made.abs().amax(-1, keepdim=True) / 127
        allowed = 0.51 * step if kept == torch.int8 else 1e-3 * made.abs() + 1e-5
        assert ((held - made).abs() <= allowed).all()
    seen = scaled_dot_product_attention(
        query[None],
        held_k.repeat_interleave(shared, 0)[None],
        held_v.repeat_interleave(shared, 0)[None],
        is_causal=True,
    )[0]
    whole = x.double() + seen.transpose(0, 1).reshape(70, inner)
    expected = whole * (whole.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
    assert (hidden - expected).abs().max() < 2e-5
    assert unpacked(keys[0][0]).isnan().all() and unpacked(keys[0][1, :, 70:]).isnan().all()  # nothing else was written


@pytest.mark.parametrize("size", [8, 20, 64])
@pytest.mark.parametrize("instructions", EACH)
def test_a_key_or_value_that_is_not_finite_never_vanishes(
    monkeypatch: pytest.MonkeyPatch, instructions: str, size: int
) -> None:
    use(monkeypatch, instructions)
    decoder = Decoder(Kind(width=2 * size, heads=2, key_heads=2, head_size=size, layers=1))
    x = torch.randn(40, 2 * size, generator=decoder.dice)
    for which in (0, 1):
        for at in (0, 7, 31, 38):
            stack, caches = decoder.native(), decoder.caches(1)
            stack.keep_in(*caches)
            assert decoder.step(stack, x[:39], [0] * 39, [*range(39)])[0].isfinite().all()
            caches[which][0][0, 1, at, size - 1] = float("nan")
            assert decoder.step(stack, x[39:], [0], [39])[0].isnan().all()


# ── the whole stack ──


@pytest.mark.parametrize("kept", KEPT, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instructions", EACH)
def test_a_stack_is_its_layers_one_after_another(
    monkeypatch: pytest.MonkeyPatch, instructions: str, kind: str, kept: torch.dtype
) -> None:
    use(monkeypatch, instructions)
    decoder = Decoder(KINDS[kind])
    stack = decoder.native()
    stack.keep_in(*decoder.caches(3, kept))
    texts = [decoder.text(9), None, decoder.text(21)] if decoder.kind.cross else [None] * 3
    for row, text in enumerate(texts):
        if text is not None:
            stack.look_at(row, *text)
    x = torch.randn(3, 24, decoder.kind.width, generator=decoder.dice)
    hidden, logits = [], []
    for n in range(24):
        both = decoder.step(stack, x[:, n], [0, 1, 2], [n] * 3)
        hidden.append(both[0])
        logits.append(both[1])
    # The cache's rounding, and what the layers make of it.
    most = {torch.float32: 1e-4, torch.int8: 0.15}[kept]
    for row, text in enumerate(texts):
        expected = decoder.by_hand(x[row], text)
        for ours, theirs in zip((hidden, logits), expected, strict=True):
            assert (torch.stack(ours)[:, row] - theirs).abs().max() < most
            assert theirs.std() > 0.3


def test_rotary_positions_are_those_of_heartmula(monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.models.heartmula.transformer import rotary_table

    decoder = Decoder(KINDS["llama"])
    decoder.turns = rotary_table(decoder.positions, decoder.kind.head_size)
    stack = decoder.native()
    stack.keep_in(*decoder.caches(1))
    x = torch.randn(60, decoder.kind.width, generator=decoder.dice)
    assert (steps(decoder, stack, x)[1] - decoder.by_hand(x)[1]).abs().max() < 1e-4


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instructions", EACH)
def test_a_quantised_stack_rounds_as_the_format_says_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, instructions: str, kind: str, bits: int
) -> None:
    use(monkeypatch, instructions)
    decoder = Decoder(KINDS[kind])
    stack = decoder.native(bits)
    stack.keep_in(*decoder.caches(1))
    x = torch.randn(24, decoder.kind.width, generator=decoder.dice)
    ours = steps(decoder, stack, x)[1]
    expected, exact = decoder.by_hand(x, bits=bits)[1], decoder.by_hand(x)[1]
    # Not all alike: a number that lies between two steps may be rounded to either.
    assert (ours - expected).norm() / expected.norm() < 5e-3
    assert (ours - exact).norm() / exact.norm() < (0.05 if bits == 8 else 0.5)


@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instructions", EACH)
def test_company_pieces_and_threads_change_no_bit(
    monkeypatch: pytest.MonkeyPatch, instructions: str, kind: str, bits: int
) -> None:
    """A row alone; among others that look at texts; its beginning in one piece; with other numbers of threads."""
    use(monkeypatch, instructions)
    decoder = Decoder(KINDS[kind])
    x = torch.randn(5, 12, decoder.kind.width, generator=decoder.dice)
    text, other = (decoder.text(11), decoder.text(3)) if decoder.kind.cross else (None, None)

    def stack(threads: int) -> Any:
        made = decoder.native(bits, threads)
        made.keep_in(*decoder.caches(5, torch.int8))
        if text is not None and other is not None:
            made.look_at(2, *text)
            made.look_at(4, *other)
        return made

    alone = steps(decoder, stack(1), x[2], row=2)[1]
    for threads in (2, 3):
        company = stack(threads)
        together = [decoder.step(company, x[:, n], [0, 1, 2, 3, 4], [n] * 5)[1][2] for n in range(12)]
        assert torch.equal(bits_of(torch.stack(together)), bits_of(alone))
    pieces = stack(2)
    first = decoder.step(pieces, torch.cat([x[2, :7], x[0, :2]]), [2] * 7 + [0] * 2, [*range(7), 0, 1])[1][:7]
    rest = torch.cat([decoder.step(pieces, x[2, n : n + 1], [2], [n])[1] for n in range(7, 12)])
    assert torch.equal(bits_of(torch.cat([first, rest])), bits_of(alone))


def test_a_text_that_is_taken_away_is_seen_no_more() -> None:
    decoder = Decoder(KINDS["musicgen"])
    stack, text = decoder.native(), decoder.text(5)
    stack.keep_in(*decoder.caches(1))
    x = torch.randn(1, decoder.kind.width, generator=decoder.dice)
    plain = decoder.step(stack, x, [0], [0])[1]
    stack.look_at(0, *text)
    seeing = decoder.step(stack, x, [0], [0])[1]
    stack.look_at(0, None, None)
    assert not torch.equal(seeing, plain) and torch.equal(decoder.step(stack, x, [0], [0])[1], plain)


def test_caches_may_be_parts_of_larger_tensors() -> None:
    decoder = Decoder(KINDS["gpt2"])
    stack, k = decoder.native(), decoder.kind
    room = torch.full((2, k.layers, 4, k.key_heads + 1, 80, k.head_size), float("nan"))
    stack.keep_in([room[0, n, 1:3, 1:] for n in range(k.layers)], [room[1, n, 1:3, 1:] for n in range(k.layers)])
    x = torch.randn(10, k.width, generator=decoder.dice)
    assert (steps(decoder, stack, x, row=1)[1] - decoder.by_hand(x)[1]).abs().max() < 1e-4
    assert room[:, :, [0, 1, 3]].isnan().all() and room[:, :, :, 0].isnan().all()


# ── what is refused ──


def test_layers_that_do_not_fit_are_refused() -> None:
    crew = native.Crew(1)
    decoder = Decoder(Kind(layers=1))
    k = decoder.kind
    good: dict[str, Any] = {name: native.Weight(crew, w, 8, 32, b) for name, (w, b) in decoder.linears[0].items()}
    norm = native.Norm(*decoder.norms[0]["norm"])
    good |= {"norm": norm, "feed_norm": norm}
    shape = {"width": k.width, "head_count": k.heads, "key_heads": k.key_heads, "head_size": k.head_size, "eps": 1e-5}

    def build(layers: list[Any] | None = None, last: Any = norm, heads: Any = None, **changed: Any) -> Any:
        return native.Stack(crew, layers or [native.Layer(**good)], last, heads, **(shape | changed))

    assert build() is not None
    other = native.Weight(crew, torch.randn(k.width, k.width + 16), 8, 32)
    narrow = native.Norm(torch.ones(k.width - 1), torch.zeros(k.width - 1))
    lame = native.Norm(torch.ones(k.width), torch.zeros(k.width - 1))
    refused = [
        *(lambda name=name: build([native.Layer(**(good | {name: other}))]) for name in decoder.linears[0]),
        *(lambda n=n, name=name: build([native.Layer(**(good | {name: n}))])
          for n in (narrow, lame) for name in ("norm", "feed_norm")),
        lambda: build(last=narrow),
        lambda: build(last=lame),
        lambda: build(heads=other),
        lambda: build([native.Layer(**good, cross_query=other)]),
        lambda: build([native.Layer(**good, cross_norm=norm, cross_query=other, cross_out=other)]),
        lambda: build([native.Layer(**good, cross_norm=narrow, cross_query=good["out"], cross_out=good["out"])]),
        *(lambda name=name, v=v: build(**{name: v})
          for name, v in [("width", 0), ("head_count", 0), ("key_heads", 0), ("key_heads", 3), ("head_size", 0),
                          ("head_size", -1), ("activation", "swish"), ("gated", True)]),
        lambda: build(cosines=torch.ones(9, 5), sines=torch.ones(9, 5)),
        lambda: build(cosines=torch.ones(9, 6), sines=torch.ones(8, 6)),
        lambda: build(cosines=torch.ones(9, 6)),
        lambda: native.Stack(crew, [], norm, None, **shape),
        lambda: native.Stack(crew, [None], norm, None, **shape),
    ]  # fmt: skip
    for call in refused:
        with pytest.raises((ValueError, TypeError)):
            call()


def test_steps_that_do_not_fit_are_refused() -> None:
    decoder = Decoder(replace(KINDS["llama"], layers=2), positions=30)
    stack, k = decoder.native(), decoder.kind
    x = torch.randn(2, k.width)
    with pytest.raises(IndexError):
        decoder.step(stack, x, [0, 1], [0, 0])  # there is no cache yet
    keys, values = decoder.caches(2)
    stack.keep_in(keys, values)

    def step(**changed: torch.Tensor | None) -> None:
        whole = {
            "x": x, "rows": torch.tensor([0, 1]), "positions": torch.tensor([0, 0]), "hidden": torch.empty(2, k.width),
            "logits": torch.empty(2, k.outputs),
        }  # fmt: skip
        stack.step(**(whole | changed))

    step()
    step(logits=None)
    for changed in (
        {"x": torch.randn(2, k.width + 1)}, {"x": torch.randn(3, k.width)}, {"rows": torch.tensor([0])},
        {"positions": torch.tensor([0, 0, 0])}, {"hidden": torch.empty(2, k.width + 1)},
        {"hidden": torch.empty(2, k.width, dtype=torch.float64)}, {"hidden": torch.empty(k.width, 2).T},
        {"logits": torch.empty(2, k.outputs + 1)}, {"logits": torch.empty(1, k.outputs)},
        {"logits": torch.empty(2, k.outputs, dtype=torch.float16)}, {"hidden": None},
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            step(**changed)
    for changed in (
        {"rows": torch.tensor([0, 2])}, {"rows": torch.tensor([-1, 0])}, {"positions": torch.tensor([0, 30])},
        {"positions": torch.tensor([-1, 0])}, {"positions": torch.tensor([2**40, 0])},
    ):  # fmt: skip
        with pytest.raises(IndexError):
            step(**changed)
    short = [keys[0], keys[1][:, :, :20].contiguous()]
    for caches in (
        ([], []), (keys[:1], values[:1]), (keys, values[:1]), (keys, [v.half() for v in values]),
        (keys, [v.double() for v in values]), (short, values), (keys, short), (keys, [v[:1] for v in values]),
        ([keys[0], keys[1][:, :1]], values), ([v.transpose(2, 3) for v in keys], values),
        ([v[..., :5] for v in keys], values),
        ([v.to(torch.int8) for v in keys], [v.to(torch.int8) for v in values]),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            stack.keep_in(*caches)
    words = torch.randn(k.layers, k.heads, 4, k.head_size)
    for text in (
        (words[:1].contiguous(), words), (words, words[:, :, :3].contiguous()), (words[:, :2].contiguous(), words),
        (words.double(), words.double()), (words.transpose(2, 3), words), (words[..., :4], words[..., :4]),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            stack.look_at(0, *text)
    step()


def test_a_stack_without_heads_makes_no_logits() -> None:
    decoder = Decoder(KINDS["gpt2"])
    crew, k = native.Crew(1), decoder.kind
    norm = native.Norm(*decoder.last)
    parts: dict[str, Any] = {name: native.Weight(crew, w, 8, 32, b) for name, (w, b) in decoder.linears[0].items()}
    stack = native.Stack(
        crew, [native.Layer(norm=norm, feed_norm=norm, **parts)], norm, None, width=k.width, head_count=k.heads,
        key_heads=k.key_heads, head_size=k.head_size, eps=1e-5,
    )  # fmt: skip
    keys, values = decoder.caches(1)
    stack.keep_in(keys[:1], values[:1])
    one, hidden = torch.zeros(1, dtype=torch.int64), torch.empty(1, k.width)
    stack.step(torch.randn(1, k.width), one, one, hidden)
    assert hidden.isfinite().all()
    with pytest.raises(ValueError, match="heads"):
        stack.step(torch.randn(1, k.width), one, one, hidden, torch.empty(1, 5))
