"""Float32 products of many rows by bfloat16 tiles, against exact arithmetic."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn import functional

from tonewheel.engine.kernels import quick_feed, quick_linear

native = pytest.importorskip("tonewheel_kernels")
tiles = pytest.mark.skipif(not native.Split.offered(), reason="this processor has no tiles of bfloat16")

SHAPES = [
    (1, 1, 1), (1, 7, 3), (15, 31, 17), (16, 32, 16), (17, 33, 33), (33, 64, 32), (100, 96, 288), (300, 257, 48),
    (70, 2100, 40),
]  # fmt: skip
_PIECE = 3 * 2.0**-16  # of each product: what is left out of it and of its two factors


def made(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor, **wishes: object) -> torch.Tensor:
    y = torch.full((len(x), len(weight)), torch.nan)
    native.Split(weight, bias).multiply(x, y, **wishes)
    return y


@tiles
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_every_value_is_within_the_bound_of_its_parts(rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(rows)
    x, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    exact = functional.linear(x.double(), weight.double(), bias.double())
    bound = _PIECE * functional.linear(x.double().abs(), weight.double().abs(), bias.double().abs())
    assert ((made(weight, bias, x) - exact).abs() <= bound).all()


@tiles
def test_extremes_stay_what_they_are() -> None:
    x = torch.tensor([[0.0] * 40, [1e30] * 40, [-1e-30] * 40, [1e-42] * 40])
    weight = torch.stack([torch.full((40,), 2.0), torch.zeros(40), torch.tensor([1.0, -1.0] * 20)])
    y = made(weight, None, x)
    exact = x.double() @ weight.double().T
    # A number too small for a float to hold in full counts as none.
    assert torch.allclose(y[:3].double(), exact[:3], rtol=2 * _PIECE, atol=0) and (y[3].abs() <= 1e-37).all()
    for spoilt in (torch.nan, torch.inf, -torch.inf):
        x = torch.ones(20, 40)
        x[7, 3] = spoilt
        finite = torch.isfinite(made(torch.ones(5, 40), None, x)).all(dim=1)
        assert finite.tolist() == [row != 7 for row in range(20)]


@tiles
def test_bits_depend_neither_on_company_nor_on_threads() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(515, 1100), torch.randn(70, 1100), torch.randn(70)
    whole = made(weight, bias, x)
    for row in (0, 31, 32, 255, 256, 514):
        assert torch.equal(made(weight, bias, x[row : row + 1].clone()), whole[row : row + 1])
    for threads in (1, 2, 3, 5):
        assert torch.equal(made(weight, bias, x, crew=native.Crew(threads, watch=0)), whole)
    split = native.Split(weight, bias)

    def again(_number: int) -> bool:  # one weight, several threads at once
        y = torch.empty_like(whole)
        split.multiply(x, y)
        return torch.equal(y, whole)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, range(40)))


@tiles
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_a_feed_forward_is_its_two_layers(activation: str) -> None:
    torch.manual_seed(1)
    up, down = nn.Linear(96, 384), nn.Linear(384, 96)
    x = torch.randn(2, 300, 96)
    act = {
        "gelu": functional.gelu, "gelu_tanh": lambda v: functional.gelu(v, approximate="tanh"), "relu": functional.relu,
    }[activation]  # fmt: skip
    feed = quick_feed(up, activation, down)
    assert feed is not None
    with torch.inference_mode():
        exact = down.double()(act(up.double()(x.double())))
        assert feed(x).shape == x.shape and (feed(x) - exact).abs().max() < 2e-5


@tiles
def test_a_layer_of_a_network_is_replaced_and_means_the_same() -> None:
    torch.manual_seed(2)
    for biased in (True, False):
        layer = nn.Linear(64, 48, bias=biased)
        quick = quick_linear(layer)
        assert quick is not layer
        x = torch.randn(3, 5, 64).transpose(0, 1)  # with gaps
        with torch.inference_mode():
            assert (quick(x) - layer(x)).abs().max() < 1e-4 and quick(x).shape == (5, 3, 48)


def test_layers_of_other_types_stay_what_they_are() -> None:
    layer = nn.Linear(64, 48).bfloat16()
    assert quick_linear(layer) is layer and quick_feed(layer, "gelu", nn.Linear(48, 64)) is None


def test_without_tiles_layers_stay_what_they_are() -> None:
    program = (
        "import torch, tonewheel_kernels as k\nfrom tonewheel.engine.kernels import quick_feed, quick_linear\n"
        "a, b = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)\n"
        "assert not k.Split.offered() and quick_linear(a) is a and quick_feed(a, 'gelu', b) is None\n"
        "try: k.Split(a.weight.detach())\nexcept ValueError as error: assert 'tiles' in str(error)\n"
        "else: raise SystemExit(1)"
    )
    environment = os.environ | {"TONEWHEEL_KERNELS_CPU": "portable"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@tiles
def test_wrong_shapes_are_refused() -> None:
    split = native.Split(torch.ones(4, 8))
    with pytest.raises(ValueError, match="rows, inputs"):
        split.multiply(torch.ones(2, 7), torch.ones(2, 4))
    with pytest.raises(ValueError, match="rows, inputs"):
        split.multiply(torch.ones(2, 8), torch.ones(3, 4))
    with pytest.raises(ValueError, match="what the first makes"):
        split.feed(split, "gelu", torch.ones(2, 8), torch.ones(2, 4))
    with pytest.raises(ValueError, match="activation"):
        split.multiply(torch.ones(2, 8), torch.ones(2, 4), activation="swish")
    with pytest.raises(ValueError, match="bias"):
        native.Split(torch.ones(4, 8), torch.ones(5))
    with pytest.raises(ValueError, match="at least one"):
        native.Split(torch.ones(0, 8))
