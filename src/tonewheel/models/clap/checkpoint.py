"""A CLAP folder as transformers writes and wrote it, loaded with every tensor accounted for.

Layouts: `preprocessor_config.json` (official) or `processor_config.json` (transformers 5); `model.safetensors`, or
`pytorch_model.bin` by explicit permission only. Nothing is fetched, no code in the folder is run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonewheel.errors import ModelBroken

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from transformers import ClapModel, ClapProcessor
from transformers.utils import logging as transformers_logging

from tonewheel.models.transformers_folder import account, kind_of, read_config

_PICKLE, _SAFE = "pytorch_model.bin", "model.safetensors"
# Tables that are computed, not learned; files of other versions of transformers lack them or have them besides.
_COMPUTED = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked", "attn_mask")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory, on the CPU, ready to infer."""

    model: Any  # ClapModel
    tokenizer: Any
    extractor: Any
    fused: bool


def load(folder: Path, model: str, *, allow_pickle: bool = False) -> Loaded:
    """Raises NotPulled for an empty place, ModelBroken naming what is missing or wrong; `model` is the card's id."""
    config = _config(folder, model)
    safe = _weights(folder, model, allow_pickle)
    _processor_files(folder)
    quiet: Any = transformers_logging  # what it would warn of is an error here
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    try:
        clap: Any = ClapModel
        network, found = clap.from_pretrained(
            folder, local_files_only=True, use_safetensors=safe, output_loading_info=True, dtype=torch.float32,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
        processor = ClapProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises whatever its parts raise; the folder is what it stumbled over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelBroken(f"{folder} cannot be loaded as a CLAP model: {reason}") from error
    account(folder, found, "CLAP", _learned)
    _finite(folder, network)
    fused = bool(config["audio_config"].get("enable_fusion", False))
    return Loaded(network.eval().requires_grad_(False), processor.tokenizer, processor.feature_extractor, fused)


def _config(folder: Path, model: str) -> dict[str, Any]:
    config = read_config(folder, model)
    if kind_of(config) != "clap" or not isinstance(config.get("audio_config"), dict):
        raise ModelBroken(f"{folder} is not a CLAP folder: its config.json is that of {kind_of(config)}")
    return dict(config)


def _weights(folder: Path, model: str, allow_pickle: bool) -> bool:
    """Whether they are safetensors. Raises ModelBroken."""
    if (folder / _SAFE).is_file():
        return True
    if not (folder / _PICKLE).is_file():
        raise ModelBroken(f"{folder} has no weights: there is no {_SAFE} in it; pull the model again")
    if not allow_pickle:
        raise ModelBroken(
            f"{folder} has its weights as a pickle only, which can hold programs: get {_SAFE}, or name {model} in "
            "TONEWHEEL_PICKLED_MODELS (only tensors are then read from it)"
        )
    return False


def _processor_files(folder: Path) -> None:
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        raise ModelBroken(f"{folder} has neither preprocessor_config.json nor processor_config.json; pull it again")
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
        raise ModelBroken(f"{folder} has no tokenizer: neither tokenizer.json nor vocab.json; pull it again")


def _learned(name: str) -> bool:
    return not name.endswith(_COMPUTED)


def _finite(folder: Path, network: Any) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelBroken(f"{name} in {folder} holds values that are no numbers; pull the model again")
