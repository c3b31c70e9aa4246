"""Tiny random CLAP checkpoints on disk, in every layout the official ones come in.

    folder = make(tmp_path / "unfused", RECIPES["unfused"])      some 2.5 MB, half a second

Written by transformers' own `save_pretrained`, then rewritten where the official files are older than transformers
is now: `preprocessor_config.json`, vocabulary and merges beside `tokenizer.json`, pickles, tables of positions that
are kept or left out. Same recipe, same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

EMBEDDING = 512  # as official


@dataclass(frozen=True)
class Recipe:
    """Which layout to write."""

    fused: bool = False
    weights: Literal["safetensors", "bin"] = "safetensors"
    processor: Literal["new", "old"] = "new"  # processor_config.json, or preprocessor_config.json
    tables: bool = True  # whether what is computed (positions) is in the file, too
    seed: int = 5


RECIPES: dict[str, Recipe] = {
    "unfused": Recipe(),
    "unfused-old": Recipe(processor="old", tables=False),
    "unfused-bin": Recipe(processor="old", weights="bin"),
    "fused": Recipe(fused=True, seed=6),
    "fused-old": Recipe(fused=True, processor="old", seed=6),
}


def make(folder: Path, recipe: Recipe) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    model = _model(recipe, len(tokenizer))
    model.save_pretrained(folder)
    _rewrite_weights(folder, recipe)
    extractor = _extractor(recipe)
    if recipe.processor == "new":
        from transformers import ClapProcessor

        ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    else:
        extractor.save_pretrained(folder)  # preprocessor_config.json
        tokenizer.save_pretrained(folder)
        _age(folder)
    return folder


def _tokenizer() -> Any:
    """Byte-level, without merges: 261 entries."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    letters = sorted(ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=512)


def _model(recipe: Recipe, vocabulary: int) -> Any:
    from transformers import ClapAudioConfig, ClapConfig, ClapModel, ClapTextConfig

    text = ClapTextConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=514, pad_token_id=1, projection_dim=EMBEDDING,
    )  # fmt: skip
    audio = ClapAudioConfig(
        hidden_size=32, patch_embeds_hidden_size=16, depths=[2, 1], num_attention_heads=[2, 2], num_hidden_layers=2,
        spec_size=256, window_size=8, enable_fusion=recipe.fused, fusion_type="aff_2d" if recipe.fused else None,
        projection_dim=EMBEDDING, patch_size=8, patch_stride=[8, 8], num_classes=10,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=EMBEDDING)).eval()
        _spread(model)
    return model


@torch.no_grad()
def _spread(model: Any) -> None:
    """Weights of about unit gain, and batch norm as after training: nothing is idle, so nothing hides a mistake."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point() or "logit_scale" in name:
            continue
        if name.endswith("running_var"):
            tensor.uniform_(400.0, 900.0)  # decibels
        elif name.endswith("running_mean"):
            tensor.uniform_(-40.0, -20.0)
        elif tensor.ndim == 1:
            tensor.normal_(1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0, 0.1)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5)


def _extractor(recipe: Recipe) -> Any:
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(truncation="fusion" if recipe.fused else "rand_trunc", padding="repeatpad")


def _rewrite_weights(folder: Path, recipe: Recipe) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    tensors = load_file(file)
    if not recipe.tables:
        tensors = {n: t for n, t in tensors.items() if not n.endswith(("position_ids", "token_type_ids"))}
        tensors = {n: t for n, t in tensors.items() if not n.endswith("relative_position_index")}
    if recipe.weights == "bin":
        file.unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, file, {"format": "pt"})


def _age(folder: Path) -> None:
    """Vocabulary and merges beside tokenizer.json, and config.json as transformers 4 wrote it."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(tokenizer["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = json.loads((folder / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype", "float32")
    config["transformers_version"] = "4.27.0.dev0"
    for part in ("text_config", "audio_config"):
        config[part].pop("dtype", None)
        config[part]["_name_or_path"] = ""
    (folder / "config.json").write_text(json.dumps(config, indent=2))
