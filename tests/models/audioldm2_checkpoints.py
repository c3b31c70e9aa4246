"""Tiny random AudioLDM2 checkpoints on disk, in every layout the official ones come in.

    folder = make(tmp_path / "plain", RECIPES["plain"])      some 2 MB, a second

Written by diffusers' own `save_pretrained`. The official folders are older: their model_index.json names GPT2Model as
the language model, whose tensors have no `transformer.` before them. Same recipe, same bytes.
"""

from __future__ import annotations

import json
import math
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

RATE, HOP = 16_000, 160  # as official; samples a frame of the spectrogram
MELS = 8  # 64 in the official ones


@dataclass(frozen=True)
class Recipe:
    """Which layout to write."""

    weights: Literal["safetensors", "bin"] = "safetensors"
    language: Literal["GPT2LMHeadModel", "GPT2Model"] = "GPT2LMHeadModel"  # as the index has it
    seed: int = 3


RECIPES: dict[str, Recipe] = {
    "plain": Recipe(),
    "old": Recipe(language="GPT2Model"),
    "bin": Recipe(weights="bin"),
    "old-bin": Recipe(weights="bin", language="GPT2Model"),
}


def make(folder: Path, recipe: Recipe) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        pipeline = _pipeline()
        for name in ("unet", "vae", "text_encoder", "text_encoder_2", "projection_model", "language_model", "vocoder"):
            _spread(getattr(pipeline, name))
    pipeline.save_pretrained(folder, safe_serialization=recipe.weights == "safetensors")
    if recipe.language == "GPT2Model":
        _age(folder)
    if recipe.weights == "bin":
        _pickled(folder)
    return folder


def _pipeline() -> Any:
    from diffusers import (
        AudioLDM2Pipeline,
        AudioLDM2ProjectionModel,
        AudioLDM2UNet2DConditionModel,
        AutoencoderKL,
        DDIMScheduler,
    )
    from transformers import (
        ClapConfig,
        ClapFeatureExtractor,
        ClapModel,
        GPT2Config,
        GPT2LMHeadModel,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
        T5Config,
        T5EncoderModel,
    )

    words, pieces = _roberta(), _t5()
    clap = ClapConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 80, "projection_dim": 16,
        },
        audio_config={
            "spec_size": 64, "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1],
            "num_attention_heads": [1, 2], "num_mel_bins": 16, "num_hidden_layers": 2, "window_size": 4,
            "patch_size": 4, "patch_stride": [4, 4], "projection_dim": 16, "num_classes": 2,
        },
        projection_dim=16,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=len(pieces), d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, relative_attention_max_distance=20,
    )  # fmt: skip
    gpt2 = GPT2Config(
        n_embd=16, n_head=2, n_layer=2, n_positions=160, n_ctx=160, vocab_size=50, bos_token_id=0, eos_token_id=0
    )
    gpt2.max_new_tokens = 8
    return AudioLDM2Pipeline(
        vae=AutoencoderKL(
            block_out_channels=[8, 16, 16], in_channels=1, out_channels=1, norm_num_groups=8, latent_channels=4,
            down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3, layers_per_block=1,
        ),
        text_encoder=ClapModel(clap),
        text_encoder_2=T5EncoderModel(t5),
        projection_model=AudioLDM2ProjectionModel(16, 32, 16),
        language_model=GPT2LMHeadModel(gpt2),
        tokenizer=words,
        tokenizer_2=pieces,
        feature_extractor=ClapFeatureExtractor(feature_size=16, hop_length=441, max_length_s=10),
        unet=AudioLDM2UNet2DConditionModel(
            block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, sample_size=32, in_channels=4,
            out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=2,
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=[[None, 16, 32], [None, 16, 32]],
        ),
        scheduler=DDIMScheduler(
            beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
            set_alpha_to_one=False,
        ),
        vocoder=SpeechT5HifiGan(
            SpeechT5HifiGanConfig(
                model_in_dim=MELS, sampling_rate=RATE, upsample_initial_channel=32, upsample_rates=[5, 4, 2, 2, 2],
                upsample_kernel_sizes=[15, 8, 4, 4, 4], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
                normalize_before=False,
            )
        ),
    )  # fmt: skip


def _roberta() -> Any:
    """Byte-level, without merges; 77 tokens at most, as official."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    letters = sorted(ByteLevel.alphabet())
    vocabulary = {text: i for i, text in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"])}
    return RobertaTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def _t5() -> Any:
    from transformers import T5Tokenizer

    known = string.ascii_letters + string.digits + ".,'-"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in known)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=128)


@torch.no_grad()
def _spread(model: Any) -> None:
    """Weights of about unit gain, and none that is zero from the start: an idle layer would hide a mistake."""
    for name, tensor in model.named_parameters():
        if tensor.ndim < 2:
            if "norm" in name or "ln_" in name:
                tensor.add_(torch.randn_like(tensor), alpha=0.05)
            else:
                tensor.normal_(0, 0.1)
        else:
            tensor.normal_(0, 1 / math.sqrt(max(1, tensor[0].numel())))


def _age(folder: Path) -> None:
    """As the official folders are: GPT2Model in the index, its tensors by their older names and masks beside them; no
    tables in CLAP; tokenizers by the names of their quick versions."""
    from safetensors.torch import load_file, save_file

    index = folder / "model_index.json"
    said = json.loads(index.read_text())
    said["language_model"] = ["transformers", "GPT2Model"]
    said["tokenizer"], said["tokenizer_2"] = (
        ["transformers", "RobertaTokenizerFast"],
        ["transformers", "T5TokenizerFast"],
    )
    index.write_text(json.dumps(said, indent=2))
    file = folder / "language_model" / "model.safetensors"
    tensors = {k.removeprefix("transformer."): v for k, v in load_file(file).items() if not k.startswith("lm_head")}
    masks = {f"h.{n}.attn.{name}": torch.zeros(1) for n in range(2) for name in ("bias", "masked_bias")}
    save_file(tensors | masks, file, metadata={"format": "pt"})
    clap = folder / "text_encoder" / "model.safetensors"
    computed = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")
    save_file({k: v for k, v in load_file(clap).items() if not k.endswith(computed)}, clap, metadata={"format": "pt"})
    config = folder / "language_model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["GPT2Model"]}, indent=2))


def _pickled(folder: Path) -> None:
    """transformers 5 writes no pickles any more: they are made of what it wrote."""
    from safetensors.torch import load_file

    for part in ("text_encoder", "text_encoder_2", "language_model", "vocoder"):
        file = folder / part / "model.safetensors"
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    if left := [str(path) for path in folder.rglob("*.safetensors")]:
        raise AssertionError(f"not pickled: {left}")
