"""Tiny random Beat This checkpoints on disk, as upstream's Lightning files are laid out.

Weights are drawn so that the logits swing around 0 and peaks appear: with fresh ones nothing would ever be a beat.
Same arguments, same numbers.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tonewheel.models.beat_this.network import BeatThis, Shape

TINY = Shape(transformer_dim=32, ff_mult=1, n_layers=1, head_dim=16, stem_dim=16)
# Without attention in the front end a chunk costs a hundredth: for long recordings.
LIGHT = replace(TINY, partial_transformers=False)
_TRAINING: dict[str, Any] = {"lr": 8e-4, "weight_decay": 0.01, "pos_weights": {"beat": 1, "downbeat": 1},
                             "dropout": {"frontend": 0.1, "transformer": 0.2}, "use_dbn": False}  # fmt: skip


def network(shape: Shape = TINY, seed: int = 3) -> BeatThis:
    """A network with drawn weights, ready to infer."""
    generator = torch.Generator().manual_seed(seed)
    made = BeatThis(shape)
    for name, tensor in made.state_dict().items():
        if name == "rotary.freqs" or name.endswith("num_batches_tracked"):
            continue
        drawn = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            drawn = drawn.abs() + 0.5
        elif name.endswith("gamma") or ((".bn" in name or ".norm." in name) and name.endswith("weight")):
            drawn = 1 + 0.2 * drawn
        elif tensor.ndim > 1:
            drawn = drawn * (tensor[0].numel() ** -0.5)
        else:
            drawn = 0.1 * drawn
        tensor.copy_(drawn)
    head = made.task_heads["beat_downbeat_lin"]
    with torch.no_grad():
        head.weight.mul_(3.0)
        head.bias.copy_(torch.tensor([-0.5, -1.0]))
    return made.eval().requires_grad_(False)


def upstream_names(made: BeatThis) -> dict[str, Tensor]:
    """Its tensors as upstream names them: under `model.`, the rotary frequencies at every attention."""
    named = {}
    for name, tensor in made.state_dict().items():
        if name == "rotary.freqs":
            continue
        named[f"model.{name}"] = tensor.clone()
        if name.endswith(".to_qkv.weight"):
            named[f"model.{name.removesuffix('to_qkv.weight')}rotary_embed.freqs"] = made.rotary.freqs.clone()
    return named


def save(path: Path, made: BeatThis | None = None, **changed: Any) -> Path:
    """Write a `.ckpt`; `changed` replaces entries of the file's dictionary."""
    made = made or network()
    checkpoint = {
        "state_dict": upstream_names(made), "hyper_parameters": asdict(made.shape) | _TRAINING,
        "datamodule_hyper_parameters": {"batch_size": 8}, "pytorch-lightning_version": "2.2.4", "epoch": 99,
    }  # fmt: skip
    torch.save(checkpoint | changed, path)
    return path
