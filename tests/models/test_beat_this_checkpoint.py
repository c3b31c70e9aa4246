"""Reading weights: both forms, every key accounted for, nothing hostile run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import beat_this_checkpoints as checkpoints
import pytest
import torch

from tonewheel.errors import ModelBroken, NotPulled
from tonewheel.models.beat_this import checkpoint
from tonewheel.models.beat_this.card import CARDS
from tonewheel.models.beat_this.checkpoint import find_weights, load_network, save_safetensors

FINAL0, FINAL1 = CARDS[0], CARDS[2]

SIZES = asdict(checkpoints.TINY)


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    return checkpoints.upstream_names(checkpoints.network())


def test_safetensors_hold_the_same_network(tmp_path: Path) -> None:
    first = load_network(checkpoints.save(tmp_path / "tiny.ckpt"))
    save_safetensors(first, tmp_path / "model.safetensors")
    second = load_network(tmp_path / "model.safetensors")
    assert second.shape == first.shape
    frames = torch.rand(1, 60, 128, generator=torch.Generator().manual_seed(0))
    assert torch.equal(first(frames), second(frames))


def test_a_compiled_network_s_keys_are_read(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    compiled = {name.replace("model.", "model._orig_mod.", 1): tensor for name, tensor in tensors.items()}
    assert load_network(checkpoints.save(tmp_path / "a.ckpt", state_dict=compiled)).shape == checkpoints.TINY


def _without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {k: v for k, v in tensors.items() if k != name}


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: tensors | {name: value}


FREQS = "model.transformer_blocks.layers.0.0.rotary_embed.freqs"
LINEAR = "model.frontend.linear.weight"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without(LINEAR), "missing: frontend.linear.weight"),
        (_with("model.extra.weight", torch.zeros(3)), "unknown: extra.weight"),
        (_with(LINEAR, torch.zeros(2, 2)), "of another shape: frontend.linear.weight"),
        (_with(LINEAR, torch.full((32, 512), float("nan"))), "frontend.linear.weight holds values that are no numbers"),
        (_with(LINEAR, "weights"), "frontend.linear.weight holds values that are no numbers"),
        (_with(FREQS, torch.ones(8)), "rotary frequencies"),
        (_with("frontend.linear.weight", torch.zeros(32, 512)), "there twice"),
    ],
)  # fmt: skip
def test_every_key_is_accounted_for(
    tmp_path: Path, tensors: dict[str, torch.Tensor], change: Callable[..., dict[str, Any]], told: str
) -> None:
    path = checkpoints.save(tmp_path / "a.ckpt", state_dict=change(tensors))
    with pytest.raises(ModelBroken, match=told):
        load_network(path)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (SIZES | {"transformer_dim": 10**9}, "transformer_dim is 1000000000"),
        (SIZES | {"n_layers": 1.5}, "n_layers is 1.5"),
        (SIZES | {"n_layers": True}, "n_layers is True"),
        (SIZES | {"head_dim": 24}, "contradict each other"),
        (SIZES | {"sum_head": "yes"}, "sum_head is 'yes'"),
        (SIZES | {"n_layers": 2}, "missing: transformer_blocks.layers.1.0.norm.gamma"),
        ([1], "no dictionary"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, sizes: Any, told: str) -> None:
    with pytest.raises(ModelBroken, match=told):
        load_network(checkpoints.save(tmp_path / "a.ckpt", hyper_parameters=sizes))


class _Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "hostile.ckpt"
    torch.save({"state_dict": {}, "hyper_parameters": _Hostile(tmp_path / "was run")}, path)
    with pytest.raises(ModelBroken, match="cannot be read"):
        load_network(path)
    path.write_bytes(pickle.dumps(_Hostile(tmp_path / "was run")))
    with pytest.raises(ModelBroken, match="cannot be read"):
        load_network(path)
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
def test_broken_files_are_refused(tmp_path: Path, name: str) -> None:
    whole = checkpoints.save(tmp_path / "whole.ckpt").read_bytes()
    for data in (b"", b"not weights at all", whole[: len(whole) // 2]):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelBroken, match=f"{name} cannot be read as weights of beat_this"):
            load_network(tmp_path / name)


def test_weights_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    with pytest.raises(NotPulled, match=r"folder of final0\.ckpt"):
        find_weights(tmp_path, FINAL0)
    for name in ("beat_this-final0.ckpt", "final0.ckpt", "model.safetensors"):
        (tmp_path / name).touch()
        assert find_weights(tmp_path, FINAL0).name == name


def test_a_pickle_of_unknown_hash_needs_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "final1.ckpt").touch()
    with pytest.raises(ModelBroken, match="name beat-this-final1 in TONEWHEEL_PICKLED_MODELS"):
        find_weights(tmp_path, FINAL1)
    monkeypatch.setattr(checkpoint, "may_unpickle", lambda model: model == "beat-this-final1")
    assert find_weights(tmp_path, FINAL1).name == "final1.ckpt"


def test_every_published_name_has_a_card() -> None:
    assert [card.id.removeprefix("beat-this-") for card in CARDS] == [
        "final0", "small0", "final1", "final2", "small1", "small2",
    ]  # fmt: skip
    assert all(card.weight_license == "MIT" and bool(card.files) != bool(card.patterns) for card in CARDS)
