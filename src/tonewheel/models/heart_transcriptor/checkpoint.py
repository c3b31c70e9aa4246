"""A Whisper folder as transformers writes it, loaded with every tensor accounted for.

config.json, generation_config.json, preprocessor_config.json (or processor_config.json), the tokenizer's files, and
model.safetensors or several with an index. Nothing is fetched, no code in the folder is run, pickles are not read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tonewheel.errors import ModelBroken

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer
from transformers.utils import logging as transformers_logging

from tonewheel.models.tensor_files import finite, safetensors_in
from tonewheel.models.transformers_folder import account, kind_of, read_config

_NEEDED = ("no_timestamps_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
_TIED = "proj_out.weight"  # the token table again; some files hold it twice


class Whisper(WhisperForConditionalGeneration):  # type: ignore[misc]
    """transformers' own. It keeps the scores of every token of every window until the recording ends, 100 MB a window,
    for callers that want them: nobody here does."""

    def generate_with_fallback(self, *args: Any, **options: Any) -> Any:
        whole: Any = super().generate_with_fallback
        sequences, outputs, *rest = whole(*args, **options)
        return sequences, [{} for _ in outputs], *rest


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in memory, ready to infer."""

    network: Any  # Whisper
    tokenizer: Any
    extractor: Any
    languages: dict[str, str]  # code → token (`en` → `<|en|>`); empty for one that knows English alone


def load(folder: Path, model: str, *, device: str, dtype: torch.dtype) -> Loaded:
    """Raises NotPulled for an empty place, ModelBroken naming what is missing or wrong; `model` is the card's id."""
    _check_files(folder, model)
    quiet: Any = transformers_logging  # what it would warn of is an error here
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    network, found = _read(
        folder,
        lambda: Whisper.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=dtype,
            ignore_mismatched_sizes=True, attn_implementation="sdpa",
        ),
    )  # fmt: skip
    tokenizer = _read(folder, lambda: WhisperTokenizer.from_pretrained(folder, local_files_only=True))
    extractor = _read(folder, lambda: WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True))
    account(folder, found, "Whisper", lambda name: name != _TIED)
    for name, tensor in network.state_dict().items():
        finite(folder, name, tensor)
    languages = _languages(folder, network.generation_config)
    return Loaded(network.to(device).eval().requires_grad_(False), tokenizer, extractor, languages)


def _read(folder: Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # transformers raises whatever its parts raise; the folder is what it stumbled over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelBroken(f"{folder} cannot be loaded as a Whisper: {reason}") from error


def _check_files(folder: Path, model: str) -> None:
    config = read_config(folder, model)
    if kind_of(config) != "whisper":
        raise ModelBroken(f"{folder} is not a Whisper: its config.json is that of {kind_of(config)}")
    if not safetensors_in(folder):
        raise ModelBroken(f"{folder} has no weights: there is no model.safetensors (or its index) in it")
    for names in (("preprocessor_config.json", "processor_config.json"), ("tokenizer.json", "vocab.json")):
        if not any((folder / name).is_file() for name in names):
            raise ModelBroken(f"{folder} has neither {names[0]} nor {names[1]}; pull it again")


def _languages(folder: Path, config: Any) -> dict[str, str]:
    if lacking := [name for name in _NEEDED if getattr(config, name, None) is None]:
        raise ModelBroken(f"generation_config.json in {folder} does not say {', '.join(lacking)}: it cannot tell time")
    if not getattr(config, "is_multilingual", True):
        return {}
    known = getattr(config, "lang_to_id", None)
    if not isinstance(known, dict) or not known:
        raise ModelBroken(f"generation_config.json in {folder} has no lang_to_id: its languages are not known")
    return {str(token).strip("<|>"): str(token) for token in known}
