"""Weights from a folder: upstream's Lightning checkpoint (`final0.ckpt`) or the same as safetensors.

A `.ckpt` is a pickle and is read with `weights_only=True`, which builds tensors and plain containers and runs
nothing. Every key is accounted for: one too many, one missing or one of another shape refuses the whole file.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tonewheel.errors import ModelBroken, NotPulled
from tonewheel.models.base import Card
from tonewheel.models.beat_this.card import checkpoint_name
from tonewheel.models.beat_this.network import BeatThis, Shape
from tonewheel.models.tensor_files import some
from tonewheel.settings import may_unpickle

SAFETENSORS = "model.safetensors"
_METADATA = "hyper_parameters"  # JSON in the header of the safetensors file
_PREFIXES = ("model.", "_orig_mod.")  # of the Lightning module, of a compiled one
_LARGEST = 8192  # of any size: a forged file must not ask for terabytes


def find_weights(folder: Path, card: Card) -> Path:
    """The weights of a model in its folder. Raises NotPulled, ModelBroken for a pickle nobody allowed.

    Those of the first checkpoints are published as pickles only, and their cards hold their hashes; others need
    a word of the user.
    """
    name = checkpoint_name(card)
    # Files fetched by torch.hub carry the longer name.
    candidates = (SAFETENSORS, f"{name}.safetensors", f"{name}.ckpt", f"beat_this-{name}.ckpt")
    found = next((folder / c for c in candidates if (folder / c).is_file()), None)
    if found is None:
        raise NotPulled(
            f"there are no weights of {card.id} in {folder}: run `tonewheel pull {card.id} --from FOLDER` with the "
            f"folder of {name}.ckpt",
            param="model",
        )
    if found.suffix == ".ckpt" and not card.files and not may_unpickle(card.id):
        raise ModelBroken(
            f"{found.name} is a pickle whose hash is not known here: name {card.id} in TONEWHEEL_PICKLED_MODELS (only "
            "tensors are then read from it), or convert it to safetensors"
        )
    return found


def load_network(path: Path) -> BeatThis:
    """The network of a `.ckpt` or `.safetensors` file, on the CPU, ready to infer. Raises ModelBroken."""
    try:
        tensors, hyperparameters = _read_safetensors(path) if path.suffix == ".safetensors" else _read_ckpt(path)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ModelBroken(f"{path.name} cannot be read as weights of beat_this: {reason}") from error
    network = BeatThis(_shape(path, hyperparameters))
    _fill(network, _own_names(path, tensors), path)
    return network.eval().requires_grad_(False)


def save_safetensors(network: BeatThis, path: Path) -> None:
    """Write `network` in the safetensors form that `load_network` reads."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, {_METADATA: json.dumps(asdict(network.shape))})


def _read_ckpt(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, Mapping):
        raise ValueError("it holds no dictionary")
    tensors, hyperparameters = checkpoint["state_dict"], checkpoint["hyper_parameters"]
    if not isinstance(tensors, Mapping) or not isinstance(hyperparameters, Mapping):
        raise ValueError("its state_dict or its hyper_parameters are no dictionary")
    return tensors, hyperparameters


def _read_safetensors(path: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    hyperparameters = json.loads(metadata[_METADATA])
    if not isinstance(hyperparameters, Mapping):
        raise ValueError("its hyper_parameters are no object")
    return tensors, hyperparameters


def _shape(path: Path, hyperparameters: Mapping[str, Any]) -> Shape:
    """The sizes among the hyperparameters; the others (learning rate, dropout …) belong to training."""
    given = {f.name: hyperparameters[f.name] for f in fields(Shape) if f.name in hyperparameters}
    for name, value in given.items():
        wanted = bool if name in ("sum_head", "partial_transformers") else int
        if type(value) is not wanted or (wanted is int and not 1 <= value <= _LARGEST):
            raise ModelBroken(f"{path.name}: {name} is {value!r}, which is no size of this network")
    shape = Shape(**given)
    attended = [shape.transformer_dim, *([shape.stem_dim] if shape.partial_transformers else [])]
    if shape.head_dim % 2 or any(dim % shape.head_dim for dim in attended) or shape.spect_dim % 32:
        raise ModelBroken(f"{path.name}: its sizes contradict each other: {asdict(shape)}")
    return shape


def _own_names(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by our names. Upstream keeps the one table of rotary frequencies under every attention."""
    named: dict[str, Tensor] = {}
    frequencies: list[Tensor] = []
    for key, tensor in tensors.items():
        name = str(key)
        for prefix in _PREFIXES:
            name = name.replace(prefix, "")
        if not isinstance(tensor, Tensor) or not torch.isfinite(tensor).all():
            raise ModelBroken(f"{path.name}: {name} holds values that are no numbers")
        if name.endswith(".rotary_embed.freqs") or name == "rotary.freqs":
            frequencies.append(tensor)
        elif name in named:
            raise ModelBroken(f"{path.name}: {name} is there twice")
        else:
            named[name] = tensor
    if not frequencies or any(not torch.equal(frequencies[0], other) for other in frequencies[1:]):
        raise ModelBroken(f"{path.name}: its rotary frequencies are missing or not the same everywhere")
    return named | {"rotary.freqs": frequencies[0]}


def _fill(network: BeatThis, tensors: Mapping[str, Tensor], path: Path) -> None:
    wanted = network.state_dict()
    faults = [
        *_listed("missing", wanted.keys() - tensors.keys()),
        *_listed("unknown", tensors.keys() - wanted.keys()),
        *_listed(
            "of another shape", (n for n in wanted.keys() & tensors.keys() if wanted[n].shape != tensors[n].shape)
        ),
    ]
    if faults:
        raise ModelBroken(f"{path.name} does not fit its own hyperparameters: {'; '.join(faults)}")
    network.load_state_dict(dict(tensors))


def _listed(what: str, names: Iterable[str]) -> list[str]:
    found = sorted(names)
    return [f"{what}: {some(found, 3)}"] if found else []
