"""Tiny random Stable Audio checkpoints on disk, in every layout the official ones come in.

    folder = make(tmp_path / "open", RECIPES["open"])      some 1 MB, half a second

Written by diffusers' own `save_pretrained`: the folders of stable-audio-open-1.0, and those that diffusers'
converter writes for Stable Audio 3 (distilled and base); those with pickles also in the words of older libraries.
The raw layout of Stability's own code is a few tensors under its names: it is recognised, never loaded. Same recipe,
same bytes.
"""

from __future__ import annotations

import json
import math
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

RATE = 44_100
OPEN_FRAMES = 65  # latent frames of the tiny Open 1.0: 3.02 s; 1024 and 47.55 s in the official one
OPEN_HOP, SA3_HOP = 2048, 4096  # samples a latent frame, as official
MAX_TOKENS = 128  # of T5 in Open 1.0; 256 in Stable Audio 3


@dataclass(frozen=True)
class Recipe:
    """Which layout to write."""

    kind: Literal["open", "sa3", "sa3-base"] = "open"
    weights: Literal["safetensors", "bin"] = "safetensors"
    frames: int = OPEN_FRAMES
    seed: int = 5


RECIPES: dict[str, Recipe] = {
    "open": Recipe(),
    "open-bin": Recipe(weights="bin"),
    "open-47": Recipe(frames=1024, seed=6),
    "sa3": Recipe("sa3", seed=7),
    "sa3-bin": Recipe("sa3", weights="bin", seed=7),
    "sa3-base": Recipe("sa3-base", seed=8),
}


def make(folder: Path, recipe: Recipe) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        pipeline = _open(recipe) if recipe.kind == "open" else _sa3(recipe)
        for part in ("transformer", "vae", "text_encoder", "projection_model", "duration_embedder"):
            if getattr(pipeline, part, None) is not None:
                _spread(getattr(pipeline, part))
        _tame(pipeline)
    pipeline.save_pretrained(folder, safe_serialization=recipe.weights == "safetensors")
    if recipe.weights == "bin":
        _pickled(folder)
        _aged(folder)
    return folder


def make_raw(folder: Path, kind: Literal["open", "sa3"]) -> Path:
    """The layout of Stability's own code: model_config.json and one file of weights under other names."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_config.json").write_text(json.dumps({"model_type": "diffusion_cond", "sample_rate": RATE}))
    conditioner = "conditioner.conditioners.seconds_total.embedder.embedding.1.weight"
    own = {"open": "model.model.transformer.layers.0.pre_norm.gamma", "sa3": "model.model.transformer.memory_tokens"}
    save_file({own[kind]: torch.zeros(4, 4), conditioner: torch.zeros(4, 4)}, folder / "model.safetensors")
    return folder


# ── the pipelines ───────────────────────────────────────────────────────────────────────────────


def _open(recipe: Recipe) -> Any:
    """stable-audio-open-1.0 in everything but width: its scheduler, its hop, its prompt of 128 tokens."""
    from diffusers import (
        AutoencoderOobleck,
        CosineDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    known = string.ascii_lowercase + string.ascii_uppercase + string.digits + ".,'-"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in known)]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=MAX_TOKENS)
    text = T5Config(
        vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, relative_attention_max_distance=20,
    )  # fmt: skip
    return StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=4, downsampling_ratios=[2, 4, 4, 8, 8], channel_multiples=[1, 1, 2, 2, 2],
            decoder_channels=4, decoder_input_channels=8, audio_channels=2, sampling_rate=RATE,
        ),
        text_encoder=T5EncoderModel(text),
        projection_model=StableAudioProjectionModel(16, 16, min_value=0, max_value=512),
        tokenizer=tokenizer,
        transformer=StableAudioDiTModel(
            sample_size=recipe.frames, in_channels=8, num_layers=2, attention_head_dim=8, num_attention_heads=4,
            num_key_value_attention_heads=2, out_channels=8, cross_attention_dim=16, time_proj_dim=8,
            global_states_input_dim=32, cross_attention_input_dim=16,
        ),
        scheduler=CosineDPMSolverMultistepScheduler(
            sigma_min=0.3, sigma_max=500.0, sigma_data=1.0, solver_order=2, prediction_type="v_prediction",
            sigma_schedule="exponential",
        ),
    )  # fmt: skip


def _sa3(recipe: Recipe) -> Any:
    """Stable Audio 3 as diffusers' converter writes it; the base model samples by Euler, the other by ping-pong."""
    from diffusers import (
        AutoencoderSAME,
        FlowMatchEulerDiscreteScheduler,
        StableAudio3DiTModel,
        StableAudio3DurationEmbedder,
        StableAudio3Pipeline,
    )
    from transformers import GemmaTokenizer, T5GemmaConfig, T5GemmaEncoderModel, T5GemmaModuleConfig

    known = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256))]
    letters = ["▁", *string.ascii_letters, *string.digits, *".,'-"]
    tokenizer = GemmaTokenizer(vocab={piece: i for i, piece in enumerate([*known, *letters])}, merges=[])
    module = T5GemmaModuleConfig(
        vocab_size=len(known) + len(letters), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, sliding_window=64,
        layer_types=["sliding_attention", "full_attention"], max_position_embeddings=512,
    )  # fmt: skip
    text = T5GemmaConfig(encoder=module, decoder=module, is_encoder_decoder=False, vocab_size=module.vocab_size)
    return StableAudio3Pipeline(
        vae=AutoencoderSAME(
            patch_size=256, encoder_channels=4, encoder_c_mults=[4], encoder_strides=[16],
            encoder_transformer_depths=[2], latent_dim=8, dim_heads=8, decoder_sinusoidal_blocks=[1],
            sampling_rate=RATE,
        ),
        text_encoder=T5GemmaEncoderModel(text),
        tokenizer=tokenizer,
        duration_embedder=StableAudio3DurationEmbedder(output_dim=16, fourier_dim=16),
        transformer=StableAudio3DiTModel(
            io_channels=8, embed_dim=32, depth=2, num_heads=4, cond_token_dim=16, global_cond_dim=16,
            local_add_cond_dim=9, timestep_features_dim=16, num_memory_tokens=4,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(stochastic_sampling=recipe.kind == "sa3"),
    )  # fmt: skip


@torch.no_grad()
def _spread(model: Any) -> None:
    """Weights of about unit gain, and none that is zero from the start: an idle layer would hide a mistake."""
    for name, tensor in model.named_parameters():
        last = name.rpartition(".")[2]
        if last in ("weight_g", "original0"):  # weight norm: the length of each filter
            tensor.fill_(1.0).add_(torch.randn_like(tensor), alpha=0.1)
        elif last in ("alpha", "beta", "gamma", "scale") or (tensor.ndim == 1 and "norm" in name):
            tensor.add_(torch.randn_like(tensor), alpha=0.05)
        elif last == "weights":  # the frequencies by which seconds are told, of 512
            tensor.normal_(0, 30)
        elif tensor.ndim == 1:
            tensor.normal_(0, 0.1)
        else:
            tensor.normal_(0, 1 / math.sqrt(max(1, tensor[0].numel())))


@torch.no_grad()
def _tame(pipeline: Any) -> None:
    """As loud as music, and no chaos: guidance of 7 over steps from a noise of 500 would make much of rounding."""
    for name, tensor in pipeline.transformer.named_parameters():
        if name.endswith(("to_out.weight", "to_out.0.weight", "proj_out.weight", "ff.net.2.weight")):
            tensor.mul_(0.5)
    if hasattr(pipeline.vae.decoder, "conv2"):  # Oobleck: its periodic activations magnify what is loud
        for name, tensor in pipeline.vae.decoder.named_parameters():
            if name.endswith("weight_g"):
                tensor.mul_(0.85)
        pipeline.vae.decoder.conv2.weight_g.mul_(0.04)


def _pickled(folder: Path) -> None:
    """transformers 5 writes no pickles any more: the text encoder's is made of what it wrote."""
    from safetensors.torch import load_file

    file = folder / "text_encoder" / "model.safetensors"
    torch.save(load_file(file), file.with_name("pytorch_model.bin"))
    file.unlink()
    left = [str(path) for path in folder.rglob("*.safetensors")]
    if left:
        raise AssertionError(f"not pickled: {left}")


def _aged(folder: Path) -> None:
    """The words of transformers 4, in which the official files are written; and in the folder of Open 1.0 Stability's
    own files stand beside."""
    index = folder / "model_index.json"
    index.write_text(
        index.read_text().replace('5Tokenizer"', '5TokenizerFast"').replace('aTokenizer"', 'aTokenizerFast"')
    )
    config = folder / "text_encoder" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"torch_dtype": told.pop("dtype", None) or "float32"}, indent=2))
    words = folder / "tokenizer" / "tokenizer_config.json"
    told = json.loads(words.read_text())
    words.write_text(json.dumps(told | {"tokenizer_class": f"{told['tokenizer_class']}Fast"}, indent=2))
    marks = {name: told[name] for name in ("eos_token", "pad_token", "unk_token")}
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps(marks))
    make_raw(folder, "open" if "StableAudioPipeline" in index.read_text() else "sa3")
