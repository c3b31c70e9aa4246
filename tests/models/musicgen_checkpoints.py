"""Tiny random MusicGen checkpoints on disk, in every layout the official ones come in.

    folder = make(tmp_path / "mono", RECIPES["mono"])      some 0.4 MB, half a second

Written by transformers' own `save_pretrained`, then rewritten where the official files are older than
transformers is now: `preprocessor_config.json`, `weight_g`/`weight_v` names, kept position tables, pickles.
Weights are drawn with a spread that makes greedy tokens vary from frame to frame. Same recipe, same bytes.
"""

from __future__ import annotations

import io
import json
import math
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

Kind = Literal["mono", "stereo", "melody"]

CODEBOOK = 64  # entries of a codebook, 2048 in the official ones; also the padding id
TEXT_WIDTH = 16
CHROMA_LENGTH = 235  # chroma frames of 30 s, as official


@dataclass(frozen=True)
class Recipe:
    """Which layout to write."""

    kind: Kind = "mono"
    weights: Literal["single", "sharded", "bin", "sharded-bin"] = "single"
    names: Literal["new", "old"] = "new"  # of EnCodec's weight norm; old also keeps the table of positions
    processor: Literal["new", "old"] = "new"  # processor_config.json, or preprocessor_config.json
    tokenizer: Literal["json", "spiece"] = "json"
    width: int = 32  # of the decoder; equal to TEXT_WIDTH = there is no enc_to_dec_proj
    dtype: torch.dtype = torch.float32
    seed: int = 7


RECIPES: dict[str, Recipe] = {
    "mono": Recipe(),
    "mono-old": Recipe(weights="bin", names="old", processor="old"),
    "mono-sharded": Recipe(weights="sharded", names="old", processor="old"),
    "mono-sharded-bin": Recipe(weights="sharded-bin", names="old", processor="old"),
    "mono-equal-width": Recipe(width=TEXT_WIDTH, seed=8),
    "mono-spiece": Recipe(names="old", processor="old", tokenizer="spiece"),
    "mono-half": Recipe(dtype=torch.float16, processor="old"),
    "stereo": Recipe("stereo", seed=9),
    "stereo-old": Recipe("stereo", names="old", processor="old", seed=9),
    "melody": Recipe("melody", seed=10),
    "melody-old": Recipe("melody", weights="sharded", names="old", processor="old", seed=10),
    "melody-equal-width": Recipe("melody", width=TEXT_WIDTH, seed=11),
}


def make(folder: Path, recipe: Recipe) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _model(recipe, vocabulary)
        _spread(model)
    model.to(recipe.dtype).save_pretrained(folder)
    _rewrite_weights(folder, recipe)
    _write_processor(folder, recipe)
    if recipe.processor == "old":
        _age_config(folder)
    return folder


# ── the model ───────────────────────────────────────────────────────────────────────────────────


def config_of(recipe: Recipe, vocabulary: int) -> Any:
    """The configuration: the official shape, made tiny. EnCodec is the official 32 kHz one in everything but width."""
    from transformers import EncodecConfig, MusicgenConfig, MusicgenMelodyConfig, T5Config
    from transformers.models.musicgen.configuration_musicgen import MusicgenDecoderConfig
    from transformers.models.musicgen_melody.configuration_musicgen_melody import MusicgenMelodyDecoderConfig

    text = T5Config(
        vocab_size=vocabulary, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        relative_attention_num_buckets=8, relative_attention_max_distance=20,
    )  # fmt: skip
    # hidden_size × 1.2 kbit/s ÷ (50 frames × 6 bits) = 4 codebooks, as 2.2 ÷ (50 × 11) in the official one
    audio = EncodecConfig(
        target_bandwidths=[1.2], sampling_rate=32_000, audio_channels=1, hidden_size=16, num_filters=4,
        upsampling_ratios=[8, 5, 4, 4], codebook_size=CODEBOOK, codebook_dim=16, use_causal_conv=False,
        use_conv_shortcut=False,
    )  # fmt: skip
    shape = {
        "vocab_size": CODEBOOK, "hidden_size": recipe.width, "ffn_dim": 2 * recipe.width, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_codebooks": 8 if recipe.kind == "stereo" else 4, "pad_token_id": CODEBOOK,
        "bos_token_id": CODEBOOK, "audio_channels": 2 if recipe.kind == "stereo" else 1,
    }  # fmt: skip
    if recipe.kind == "melody":
        return MusicgenMelodyConfig(
            text_encoder=text, audio_encoder=audio, decoder=MusicgenMelodyDecoderConfig(**shape),
            num_chroma=12, chroma_length=CHROMA_LENGTH,
        )  # fmt: skip
    return MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=MusicgenDecoderConfig(**shape))


def _model(recipe: Recipe, vocabulary: int) -> Any:
    from transformers import GenerationConfig, MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

    kind = MusicgenMelodyForConditionalGeneration if recipe.kind == "melody" else MusicgenForConditionalGeneration
    model = kind(config_of(recipe, vocabulary)).eval()
    model.generation_config = GenerationConfig(
        bos_token_id=CODEBOOK, decoder_start_token_id=CODEBOOK, pad_token_id=CODEBOOK, do_sample=True,
        guidance_scale=3.0, max_length=1500,
    )  # fmt: skip
    return model


@torch.no_grad()
def _spread(model: Any) -> None:
    """Weights of about unit gain, so that no layer is idle and the best token leads clearly."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        last = name.rpartition(".")[2]
        if not tensor.is_floating_point() or last in ("inited", "weights"):
            continue
        if last == "cluster_size":
            tensor.fill_(1.0)
        elif "codebook.embed" in name:
            stage = int(name.partition("quantizer.layers.")[2].partition(".")[0])
            tensor.normal_(0, 0.5**stage)
        elif last == "original0" and "parametrizations" in name:  # weight norm's g: the length of each filter
            tensor.normal_(1.0, 0.1)
        elif "lm_heads" in name:
            tensor.normal_(0, 4 / math.sqrt(tensor.shape[-1]))
        elif "embed_tokens" in name or name.endswith("shared.weight"):
            tensor.normal_(0, 1.0)
        elif tensor.ndim == 1:
            tensor.normal_(1.0 if "norm" in name and last == "weight" else 0.0, 0.1)
        else:
            fan_in = tensor[0].numel()
            tensor.normal_(0, _gain(name) / math.sqrt(fan_in))
    loudest = model.audio_encoder.decoder.layers[-1].conv.parametrizations.weight.original0
    loudest.mul_(0.3)  # samples within ±1


def _gain(name: str) -> float:
    """More for what looks back, less for the text: guidance multiplies what it says, which is the same each frame."""
    if ".self_attn.q_proj" in name or ".self_attn.k_proj" in name:
        return 2.0
    return 0.4 if ".encoder_attn.out_proj" in name else 1.0


# ── the files ───────────────────────────────────────────────────────────────────────────────────


def _rewrite_weights(folder: Path, recipe: Recipe) -> None:
    whole = folder / "model.safetensors"
    tensors = load_file(whole)
    if recipe.names == "old":
        tensors = {_old_name(name): tensor for name, tensor in tensors.items()}
        width = recipe.width
        tensors["decoder.model.decoder.embed_positions.weights"] = _positions(2048, width).to(recipe.dtype)
    whole.unlink()
    pickled = recipe.weights.endswith("bin")
    if not recipe.weights.startswith("sharded"):
        _save(folder / ("pytorch_model.bin" if pickled else "model.safetensors"), tensors)
        return
    stem, suffix = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    names = sorted(tensors)
    shards = [names[0::3], names[1::3], names[2::3]]  # scattered: no part of the model lies in one file
    where: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.{suffix}"
        _save(folder / file, {name: tensors[name] for name in shard})
        where |= dict.fromkeys(shard, file)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    _write_json(folder / f"{stem}.{suffix}.index.json", index)


def _save(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".bin":
        torch.save(tensors, path)
    else:
        save_file({n: t.contiguous() for n, t in tensors.items()}, path, metadata={"format": "pt"})


def _old_name(name: str) -> str:
    return name.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"
    )


def _positions(count: int, width: int) -> torch.Tensor:
    from transformers.models.musicgen.modeling_musicgen import MusicgenSinusoidalPositionalEmbedding

    return MusicgenSinusoidalPositionalEmbedding.get_embedding(count, width)


def _write_tokenizer(folder: Path, recipe: Recipe) -> int:
    """Returns the number of tokens: letters, digits and a few signs; other signs are unknown."""
    known = string.ascii_lowercase + string.ascii_uppercase + string.digits + ".,'-"
    if recipe.tokenizer == "spiece":
        return _write_spiece(folder, known)
    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in known)]
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512).save_pretrained(folder)
    return len(pieces)


def _write_spiece(folder: Path, known: str) -> int:
    """A `spiece.model` alone, as very old folders have it."""
    import sentencepiece

    words = [" ".join(known), *(f"{a}{b} {b}{a}" for a in known for b in known)]
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=trained, vocab_size=len(known) + 4, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(trained.getvalue())
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512, "eos_token": "</s>",
         "pad_token": "<pad>", "unk_token": "<unk>"},
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue()).get_piece_size()


def _write_processor(folder: Path, recipe: Recipe) -> None:
    extractor: dict[str, Any] = {
        "feature_size": 2 if recipe.kind == "stereo" else 1, "padding_side": "left", "padding_value": 0.0,
        "return_attention_mask": True, "sampling_rate": 32_000, "feature_extractor_type": "EncodecFeatureExtractor",
        "chunk_length_s": None, "overlap": None,
    }  # fmt: skip
    kind = "MusicgenProcessor"
    if recipe.kind == "melody":
        kind = "MusicgenMelodyProcessor"
        extractor = {
            "feature_size": 12, "num_chroma": 12, "n_fft": 16_384, "hop_length": 4096, "chunk_length": 30,
            "n_samples": 960_000, "padding_side": "right", "padding_value": 0.0, "return_attention_mask": False,
            "sampling_rate": 32_000, "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
            "stem_indices": [3, 2],
        }  # fmt: skip
    if recipe.processor == "old":
        _write_json(folder / "preprocessor_config.json", extractor | {"processor_class": kind})
    else:
        _write_json(folder / "processor_config.json", {"feature_extractor": extractor, "processor_class": kind})


def _age_config(folder: Path) -> None:
    """The words of transformers 4 where 5 has others."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for part in (config, *(config[name] for name in ("text_encoder", "audio_encoder", "decoder"))):
        part["torch_dtype"] = part.pop("dtype", None) or "float32"
        part.pop("transformers_version", None)
    config["audio_encoder"]["_name_or_path"] = "facebook/encodec_32khz"
    config["text_encoder"]["_name_or_path"] = "t5-base"
    config["transformers_version"] = "4.31.0.dev0"
    _write_json(path, config)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", "utf-8")
