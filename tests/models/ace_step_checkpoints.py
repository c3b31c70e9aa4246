"""Tiny random ACE-Step checkpoints on disk, in the layout of the official diffusers folders.

    folder = make(tmp_path / "turbo", RECIPES["turbo"])      some 1.5 MB, two seconds

Written by diffusers' and transformers' own `save_pretrained`, then rewritten as pickles where the recipe says so.
Sizes are tiny, proportions are official: 48 kHz stereo, 1920 samples a latent, a condition encoder narrower than the
transformer (as in XL), grouped-query attention, sliding windows in every other layer. Same recipe, same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file

SAMPLE_RATE = 48_000
HOP = 1920
LATENT = 2  # channels of a latent, 64 in the official ones
TEXT, CONDITION, WIDTH = 16, 24, 32


@dataclass(frozen=True)
class Recipe:
    """Which checkpoint to write, and how."""

    version: Literal["turbo", "base", "sft"] = "turbo"
    weights: Literal["safetensors", "sharded", "bin"] = "safetensors"
    tokenizers: bool = True  # of audio: what covers are made with; the first converter left them out
    seed: int = 5


RECIPES: dict[str, Recipe] = {
    "turbo": Recipe(),
    "turbo-sharded": Recipe(weights="sharded"),
    "turbo-bin": Recipe(weights="bin"),
    "turbo-without-tokenizers": Recipe(tokenizers=False),
    "base": Recipe("base", seed=6),
    "sft": Recipe("sft", seed=7),
}


def make(folder: Path, recipe: Recipe) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    from diffusers import AceStepPipeline

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        pipe = AceStepPipeline(**_parts(recipe))
        _spread(pipe)
    sharded = {"max_shard_size": "40KB"} if recipe.weights == "sharded" else {}
    pipe.save_pretrained(folder, safe_serialization=True, **sharded)
    if recipe.weights == "bin":
        _pickle(folder)
    return folder


def _parts(recipe: Recipe) -> dict[str, Any]:
    from diffusers import AceStepTransformer1DModel, AutoencoderOobleck, FlowMatchEulerDiscreteScheduler
    from diffusers.pipelines.ace_step import (
        AceStepAudioTokenDetokenizer,
        AceStepAudioTokenizer,
        AceStepConditionEncoder,
    )
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = _tokenizer()
    heads: dict[str, Any] = {
        "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 16, "rope_theta": 10_000.0,
    }  # fmt: skip
    beside: dict[str, Any] = {"hidden_size": CONDITION, "intermediate_size": 32, "head_dim": 12, **heads}
    text = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=TEXT, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, max_position_embeddings=4096,
    )  # fmt: skip
    transformer = AceStepTransformer1DModel(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, head_dim=16, in_channels=3 * LATENT,
        audio_acoustic_hidden_dim=LATENT, encoder_hidden_size=CONDITION, is_turbo=recipe.version == "turbo",
        model_version=recipe.version, **heads,
    )  # fmt: skip
    condition = AceStepConditionEncoder(
        text_hidden_dim=TEXT, timbre_hidden_dim=LATENT, num_lyric_encoder_hidden_layers=2,
        num_timbre_encoder_hidden_layers=1, **beside,
    )  # fmt: skip
    condition.silence_latent.copy_(torch.randn(1, 15_000, LATENT) * 0.3)
    vae = AutoencoderOobleck(
        encoder_hidden_size=2 * LATENT, downsampling_ratios=[2, 4, 4, 6, 10], channel_multiples=[1, 1, 1, 1, 1],
        decoder_channels=2, decoder_input_channels=LATENT, sampling_rate=SAMPLE_RATE,
    )  # fmt: skip
    parts: dict[str, Any] = {
        "vae": vae, "text_encoder": Qwen3Model(text), "tokenizer": tokenizer, "transformer": transformer,
        "condition_encoder": condition, "scheduler": FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
    }  # fmt: skip
    if recipe.tokenizers:
        parts["audio_tokenizer"] = AceStepAudioTokenizer(
            audio_acoustic_hidden_dim=LATENT, fsq_dim=CONDITION, num_attention_pooler_hidden_layers=1, **beside
        )
        parts["audio_token_detokenizer"] = AceStepAudioTokenDetokenizer(
            audio_acoustic_hidden_dim=LATENT, num_attention_pooler_hidden_layers=1, **beside
        )
    return parts


def _tokenizer() -> Any:
    """One token a byte, and the two that Qwen's tokenizer knows as commands; padded to the left, as Qwen3-Embedding."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {letter: n for n, letter in enumerate(sorted(ByteLevel.alphabet()))}
    vocabulary |= {"<|endoftext|>": len(vocabulary), "<|im_end|>": len(vocabulary) + 1}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], unk_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    tokenizer.padding_side = "left"
    return tokenizer


def _spread(pipe: Any) -> None:
    """So wide that words, tempo and reference are heard in what comes out, as they are not from a fresh network."""
    for part in (pipe.text_encoder, pipe.condition_encoder, pipe.transformer):
        for name, parameter in part.named_parameters():
            if parameter.ndim > 1 and "scale_shift" not in name:
                parameter.data.normal_(0.0, 2.0 / parameter[0].numel() ** 0.5)
    for name, parameter in pipe.vae.decoder.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()  # else most of the audio is a constant


def _pickle(folder: Path) -> None:
    for file in folder.rglob("*.safetensors"):
        name = "pytorch_model.bin" if file.parent.name == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(load_file(file), file.with_name(name))
        file.unlink()


def strip_tensor(folder: Path, part: str, name: str) -> None:
    """Take one tensor out of a part's weights."""
    from safetensors.torch import save_file

    file = next((folder / part).glob("*.safetensors"))
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})


def rewrite_config(folder: Path, part: str, **changes: Any) -> None:
    """Change entries of a part's `config.json`."""
    file = folder / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
