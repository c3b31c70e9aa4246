"""The native products of weights in 4, 8 and 32 bits: within what the format allows, and always the same."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kernel_weights import BITS, KINDS, floats, multiplied, product_error, weight_error

from tonewheel.engine.kernels import best_kernels

native = pytest.importorskip("tonewheel_kernels", reason="the native kernels are not installed (pip install ./kernels)")

GROUPS = (32, 64, 96, 128, 256, 1024)


@pytest.fixture(scope="module", params=native.available())
def instructions(request: pytest.FixtureRequest) -> Any:
    """Each instruction set that this processor and this build have, as the one in use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONEWHEEL_KERNELS_CPU", request.param)
        assert native.chosen() == request.param
        yield request.param


@pytest.fixture(scope="module")
def crew() -> Any:
    return native.Crew(2)


def made(crew: Any, weight: torch.Tensor, bits: int, group: int = 128, bias: torch.Tensor | None = None) -> Any:
    return native.Weight(crew, weight, bits, group, bias)


def bits_of(x: torch.Tensor) -> torch.Tensor:
    return x.view(torch.int32)


# ── against exact arithmetic ──


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("seed", range(4))
def test_products_are_within_what_the_format_allows(instructions: str, crew: Any, bits: int, seed: int) -> None:
    dice = random.Random(seed)
    noise = torch.Generator().manual_seed(seed)
    for n, (kind_w, kind_x) in enumerate((w, x) for w in KINDS for x in KINDS):
        if {kind_w, kind_x} <= {"huge", "all sizes", "spiked"} and "huge" in (kind_w, kind_x):
            continue  # what comes out is larger than a float
        group, rows = dice.choice(GROUPS), dice.choice((1, 2, 3, 4, 5, 7, 8, 9)) if n % 9 else dice.randint(10, 64)
        outputs, inputs = dice.randint(1, 70), dice.randint(1, 300)
        weight, x = KINDS[kind_w]((outputs, inputs), noise), KINDS[kind_x]((rows, inputs), noise)
        bias = torch.randn(outputs, generator=noise) if dice.random() < 0.5 else None
        layer = made(crew, weight, bits, group, bias)
        represented = floats(layer)
        case = f"{kind_w} weight, {kind_x} rows, [{outputs}, {inputs}] in groups of {group}, {rows} rows"
        assert ((represented.double() - weight).abs() <= weight_error(weight, bits, group)).all(), case
        exact = x.double() @ represented.double().T
        allowed = product_error(x, represented, bits, group)
        if bias is not None:
            exact += bias
            allowed += bias.abs() * 2.0**-23 + exact.abs() * 2.0**-23
        assert ((multiplied(layer, x).double() - exact).abs() <= allowed).all(), case


@pytest.mark.parametrize(("bits", "most"), [(8, 0.012), (4, 0.15), (32, 1e-6)])
def test_an_ordinary_product_is_close(instructions: str, crew: Any, bits: int, most: float) -> None:
    noise = torch.Generator().manual_seed(3)
    weight, x = torch.randn(256, 1000, generator=noise), torch.randn(17, 1000, generator=noise)
    exact = x.double() @ weight.double().T
    assert ((multiplied(made(crew, weight, bits), x) - exact).norm() / exact.norm()) < most


@pytest.mark.parametrize("rows", [*range(1, 18), 23, 31, 32, 33, 47, 63, 64])
def test_any_number_of_rows_gives_every_row_the_same(crew: Any, rows: int) -> None:
    noise = torch.Generator().manual_seed(rows)
    weight, x = torch.randn(83, 150, generator=noise), torch.randn(rows, 150, generator=noise)
    for bits in BITS:
        layer = made(crew, weight, bits, 64)
        alone = torch.cat([multiplied(layer, row[None]) for row in x])
        assert torch.equal(bits_of(multiplied(layer, x)), bits_of(alone))


@pytest.mark.parametrize("bits", BITS)
def test_runs_threads_and_company_change_no_bit(instructions: str, bits: int) -> None:
    noise = torch.Generator().manual_seed(9)
    weight, x = torch.randn(200, 330, generator=noise), torch.randn(64, 330, generator=noise)
    first, *others = [made(native.Crew(threads), weight, bits, 96) for threads in (1, 2, 3, 3)]
    expected = multiplied(first, x)
    for layer in others:
        assert layer.values == first.values and layer.scales == first.scales
        assert torch.equal(bits_of(multiplied(layer, x)), bits_of(expected))
    for row in range(0, 64, 7):
        assert torch.equal(bits_of(multiplied(others[0], x[row : row + 1])), bits_of(expected[row : row + 1]))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ["normal", "spiked", "all sizes", "denormal"])
def test_all_instruction_sets_give_the_same(monkeypatch: pytest.MonkeyPatch, crew: Any, kind: str, bits: int) -> None:
    noise = torch.Generator().manual_seed(5)
    weight, x = KINDS[kind]((77, 300), noise), torch.randn(11, 300, generator=noise)
    found = []
    for name in native.available():
        monkeypatch.setenv("TONEWHEEL_KERNELS_CPU", name)
        layer = made(crew, weight, bits, 64)
        found.append((layer.values, layer.scales, multiplied(layer, x)))
    size = x.abs() @ floats(layer).abs().T
    for values, scales, y in found:
        assert values == found[0][0] and scales == found[0][1]
        assert ((y - found[0][2]).abs() <= 1e-6 * size).all()


# ── what is not finite ──


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_an_activation_that_is_not_finite_never_vanishes(instructions: str, crew: Any, bits: int, bad: float) -> None:
    noise = torch.Generator().manual_seed(1)
    weight, x = torch.randn(40, 139, generator=noise), torch.randn(6, 139, generator=noise)
    for layer in (made(crew, weight, bits, 32), made(crew, torch.zeros_like(weight), bits, 32)):
        clean = multiplied(layer, x)
        for at in (0, 15, 31, 32, 127, 128, 137, 138):  # within vectors, and in what is left over
            spoilt = x.clone()
            spoilt[3, at] = bad
            y = multiplied(layer, spoilt)
            assert not y[3].isfinite().any()
            if bits != 32:
                assert y[3].isnan().all()
            others = [0, 1, 2, 4, 5]
            assert torch.equal(bits_of(y[others]), bits_of(clean[others]))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_spoils_its_output_and_no_other(crew: Any, bits: int, bad: float) -> None:
    noise = torch.Generator().manual_seed(2)
    weight, x = torch.randn(40, 139, generator=noise), torch.randn(6, 139, generator=noise)
    clean = multiplied(made(crew, weight, bits, 32), x)
    weight[17, 130] = bad
    y = multiplied(made(crew, weight, bits, 32), x)
    assert not y[:, 17].isfinite().any()
    others = [n for n in range(40) if n != 17]
    assert torch.equal(bits_of(y[:, others]), bits_of(clean[:, others]))


# ── kept and taken up again ──


@pytest.mark.parametrize("bits", BITS)
def test_packed_bytes_make_the_same_weight_again(instructions: str, crew: Any, bits: int) -> None:
    noise = torch.Generator().manual_seed(4)
    weight, x = torch.randn(45, 203, generator=noise), torch.randn(5, 203, generator=noise)
    bias = torch.randn(45, generator=noise)
    first = made(crew, weight, bits, 96, bias)
    packed = [np.frombuffer(part, np.uint8) for part in (first.values, first.scales)]
    again = native.Weight.held(crew, *packed, 45, 203, bits, 96, bias)
    assert (again.values, again.scales) == (first.values, first.scales)
    assert torch.equal(floats(again), floats(first))
    assert torch.equal(bits_of(multiplied(again, x)), bits_of(multiplied(first, x)))
    assert again.memory == len(first.values) + len(first.scales) + 4 * 45


def test_any_bytes_are_a_weight_of_some_numbers(instructions: str, crew: Any) -> None:
    """Values that quantising never makes (-128 in 8 bits) are products like any others."""
    noise = np.random.default_rng(6)
    x = torch.full((3, 64), -1.0)
    for bits in (4, 8):
        values = np.zeros(16 * 64 * bits // 8, np.uint8) if bits == 8 else noise.integers(0, 256, 512).astype(np.uint8)
        scales = np.full(16, 0x3F80, np.uint16).view(np.uint8)
        layer = native.Weight.held(crew, values, scales, 16, 64, bits, 64)
        assert torch.allclose(multiplied(layer, x), x @ floats(layer).T)


# ── what is refused ──


def test_wrong_shapes_and_types_are_refused(crew: Any) -> None:
    weight = torch.randn(20, 40)
    layer = made(crew, weight, 8, 32)
    values, scales = (np.frombuffer(part, np.uint8) for part in (layer.values, layer.scales))
    refused = [
        lambda: made(crew, weight, 5),
        lambda: made(crew, weight, 8, 0),
        lambda: made(crew, weight, 8, 40),
        lambda: made(crew, weight, 8, -32),
        lambda: made(crew, weight, 4, 2048),
        lambda: made(crew, torch.empty(0, 4), 8),
        lambda: made(crew, torch.empty(4, 0), 32),
        lambda: made(crew, torch.randn(20), 8),
        lambda: made(crew, weight, 8, 32, torch.randn(19)),
        lambda: made(crew, weight, 8, 32, torch.randn(20, 1)),
        lambda: made(None, weight, 8),
        lambda: made(crew, None, 8),
        lambda: layer.multiply(torch.randn(2, 41), torch.empty(2, 20)),
        lambda: layer.multiply(torch.randn(2, 40), torch.empty(2, 21)),
        lambda: layer.multiply(torch.randn(2, 40), torch.empty(3, 20)),
        lambda: layer.multiply(torch.randn(40), torch.empty(20)),
        lambda: layer.multiply(torch.randn(2, 40), torch.empty(2, 20, dtype=torch.float64)),
        lambda: layer.multiply(torch.randn(2, 40), torch.empty(20, 2).T),
        lambda: layer.floats(torch.empty(40, 20)),
        lambda: layer.floats(torch.empty(40, 20).T),
        lambda: native.Weight.held(crew, values[:-1].copy(), scales, 20, 40, 8, 32),
        lambda: native.Weight.held(crew, values, scales[:-1].copy(), 20, 40, 8, 32),
        lambda: native.Weight.held(crew, values, np.append(scales, np.uint8(0)), 20, 40, 8, 32),
        lambda: native.Weight.held(crew, values, scales, 40, 20, 8, 32),
        lambda: native.Weight.held(crew, values, scales, -20, 40, 8, 32),
        lambda: native.Weight.held(crew, values, scales, 20, 40, 4, 32),
    ]
    for call in refused:
        with pytest.raises((ValueError, TypeError)):
            call()


def test_no_rows_are_no_fault(instructions: str, crew: Any) -> None:
    for bits in BITS:
        assert multiplied(made(crew, torch.randn(20, 40), bits), torch.empty(0, 40)).shape == (0, 20)


def test_an_instruction_set_that_is_not_there_is_told_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWHEEL_KERNELS_CPU", "z80")
    with pytest.raises(ValueError, match=r"z80; here there are .*portable"):
        native.chosen()


def test_the_portable_kernels_are_always_there_and_the_best_come_first() -> None:
    names = native.available()
    assert names[-1] == "portable" and len(set(names)) == len(names)
    assert not {"avx512-vnni", "avx2"} <= set(names) or names.index("avx512-vnni") < names.index("avx2")


def test_the_stubs_name_what_is_there_and_nothing_else() -> None:
    stubs = Path(__file__).parents[2] / "kernels/tonewheel_kernels/_native.pyi"
    for node in ast.parse(stubs.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(native, node.name))
        elif isinstance(node, ast.ClassDef):
            told = {part.name for part in node.body if isinstance(part, ast.FunctionDef)} - {"__init__"}
            assert {name for name in vars(getattr(native, node.name)) if not name.startswith("_")} == told


def test_kernels_of_another_version_are_not_used_and_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native, "__version__", "0.0.9")
    assert best_kernels(torch.device("cpu"), "int8").name == "torch"
    assert (
        "0.0.9" in caplog.text and "pip install ./kernels" in caplog.text and "float32 instead of int8" in caplog.text
    )
