"""Tiny random HeartMuLa checkpoints on disk, in the published layout (facts: HeartMuLa/heartlib at 3981c52).

    folder = make(tmp_path / "tiny")              some 30 MB (the real vocabulary of codes), a second
    folder/gen_config.json  tokenizer.json  HeartMuLa-oss-3B/  HeartCodec-oss/

Every tensor of the real files is there under its real name and with its real number of axes; only sizes are small.
Every one is filled, with gains under which tokens vary from frame to frame, latents spread over several of the
codec's 1/9 steps (or rounding would make the waveform a constant and hide any mistake) and samples stay within ±1.
Same recipe, same bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from tonewheel.models.heartmula.flavors import TransformerShape

CODES, END, VOCABULARY = 8192, 8193, 8197  # entries of a codebook, the id that ends a song, all ids
CODEBOOKS = 8
BOS, EOS, TEXT_VOCABULARY = 256, 257, 258  # a token a byte, then begin and end of text
MUQ = 512
BACKBONE = TransformerShape(layers=3, heads=6, key_heads=2, head_size=8, width=48, feed_width=80, positions=8192)
DECODER = TransformerShape(layers=2, heads=4, key_heads=2, head_size=8, width=32, feed_width=56, positions=2048)


@dataclass(frozen=True)
class Recipe:
    """Which layout to write, and how large."""

    version: str = "3B"
    weights: Literal["single", "sharded"] = "sharded"
    codec_prefix: Literal["", "decoder."] = ""  # later uploads of the codec put `decoder.` before every name
    initted: Literal["scalar", "one"] = "scalar"  # shape of the RVQ's flag, [] or [1]
    ends: bool = False  # True = a song ends within some frames; False = never within the 50 likeliest codes
    backbone: TransformerShape = BACKBONE
    decoder: TransformerShape = DECODER
    dtype: torch.dtype = torch.float32
    seed: int = 7


def make(folder: Path, recipe: Recipe | None = None) -> Path:
    """Write a whole checkpoint into `folder` (made if need be) and return it."""
    recipe = recipe or Recipe()
    language = folder / f"HeartMuLa-oss-{recipe.version}"
    codec = folder / "HeartCodec-oss"
    for each in (language, codec):
        each.mkdir(parents=True, exist_ok=True)
    ids = {"text_bos_id": BOS, "text_eos_id": EOS, "audio_eos_id": END, "empty_id": 0}
    _write_json(folder / "gen_config.json", ids)
    _write_tokenizer(folder / "tokenizer.json")
    _write_json(language / "config.json", language_config(recipe))
    _save(language, language_tensors(recipe), recipe, shards=4)
    _write_json(codec / "config.json", codec_config())
    tensors = {recipe.codec_prefix + name: tensor for name, tensor in codec_tensors(recipe).items()}
    _save(codec, tensors, recipe, shards=2)
    return folder


# ── the language model ──────────────────────────────────────────────────────────────────────────


def language_config(recipe: Recipe) -> dict[str, Any]:
    """config.json of HeartMuLa-oss-<version>; the sizes of its flavors are in it, since no code knows them."""
    return {
        "architectures": ["HeartMuLa"], "model_type": "heartmula", "backbone_flavor": "tiny-backbone",
        "decoder_flavor": "tiny-decoder", "text_vocab_size": TEXT_VOCABULARY, "audio_vocab_size": VOCABULARY,
        "audio_num_codebooks": CODEBOOKS, "muq_dim": MUQ, "torch_dtype": str(recipe.dtype).removeprefix("torch."),
        "transformers_version": "4.45.1",
        "flavors": {"tiny-backbone": asdict(recipe.backbone), "tiny-decoder": asdict(recipe.decoder)},
    }  # fmt: skip


def language_tensors(recipe: Recipe) -> dict[str, Tensor]:
    """Every tensor of the language model, float32, by its published name."""
    backbone, decoder = recipe.backbone, recipe.decoder
    draw = _Draw(recipe.seed)
    made = {
        "text_embeddings.weight": draw(TEXT_VOCABULARY, backbone.width, scale=1.0),
        "audio_embeddings.weight": draw(CODEBOOKS * VOCABULARY, backbone.width, scale=0.5),  # eight are summed
        "unconditional_text_embedding.weight": draw(1, backbone.width, scale=1.0),
        "projection.weight": draw(decoder.width, backbone.width),
        "codebook0_head.weight": draw(VOCABULARY, backbone.width, gain=3.0),
        # used as h @ W: its rows are the inputs
        "audio_head": draw(CODEBOOKS - 1, decoder.width, VOCABULARY, scale=3.0 / math.sqrt(decoder.width)),
        "muq_linear.weight": draw(backbone.width, MUQ),
        "muq_linear.bias": draw(backbone.width, scale=1.0),
    }
    made["codebook0_head.weight"][END] *= 8 if recipe.ends else 0  # a logit far out now and then, or always 0
    made["audio_head"][:, :, END] = 0
    for part, size in (("backbone", backbone), ("decoder", decoder)):
        made |= _llama(part, size, draw)
    return made


def _llama(part: str, size: TransformerShape, draw: _Draw) -> dict[str, Tensor]:
    made = {f"{part}.norm.scale": draw.near_one(size.width)}
    wide, small = size.heads * size.head_size, size.key_heads * size.head_size
    for n in range(size.layers):
        layer = f"{part}.layers.{n}"
        made |= {
            f"{layer}.attn.q_proj.weight": draw(wide, size.width, gain=2.0),
            f"{layer}.attn.k_proj.weight": draw(small, size.width, gain=2.0),
            f"{layer}.attn.v_proj.weight": draw(small, size.width),
            f"{layer}.attn.output_proj.weight": draw(size.width, wide),
            f"{layer}.mlp.w1.weight": draw(size.feed_width, size.width),  # gate
            f"{layer}.mlp.w2.weight": draw(size.width, size.feed_width),  # down
            f"{layer}.mlp.w3.weight": draw(size.feed_width, size.width),  # up
            f"{layer}.sa_norm.scale": draw.near_one(size.width),
            f"{layer}.mlp_norm.scale": draw.near_one(size.width),
        }
    return made


# ── the codec ───────────────────────────────────────────────────────────────────────────────────

LATENT = 256  # 2 x 128 and 48 kHz are wired into upstream's code; so are strides and kernels below
WIDTH, QUANTIZED = 32, 8  # of the quantiser's output and of its tables (512 and 32)
HEADS, HEAD_DIM, LAYERS, LAYERS_2 = 2, 16, 2, 1  # of the flow-matching transformer (24, 64, 24, 6)
CHANNELS = 2  # of the last block of the scalar decoder (64)
STRIDES = (5, 4, 4, 4, 3)


def codec_config() -> dict[str, Any]:
    return {
        "architectures": ["HeartCodec"], "model_type": "heartcodec", "dim": WIDTH, "codebook_size": CODES,
        "codebook_dim": QUANTIZED, "num_quantizers": CODEBOOKS, "decay": 0.9, "commitment_weight": 1.0,
        "threshold_ema_dead_code": 2, "use_cosine_sim": False, "attention_head_dim": HEAD_DIM,
        "num_attention_heads": HEADS, "num_layers": LAYERS, "num_layers_2": LAYERS_2,
        "in_channels": 2 * LATENT + WIDTH, "out_channels": LATENT, "norm_type": "ada_norm_single", "num_bands": 1,
        "sample_rate": 48_000, "causal": True, "num_samples": 2, "downsample_factors": list(reversed(STRIDES)),
        "downsample_kernel_sizes": [2 * s for s in reversed(STRIDES)], "upsample_factors": list(STRIDES),
        "upsample_kernel_sizes": [2 * s for s in STRIDES], "latent_hidden_dim": LATENT // 2, "default_kernel_size": 7,
        "delay_kernel_size": 5, "init_channel": CHANNELS, "res_kernel_size": 7, "torch_dtype": "float32",
        "transformers_version": "4.57.0",
    }  # fmt: skip


def codec_tensors(recipe: Recipe) -> dict[str, Tensor]:
    """Every tensor of the decoder, and of what lies unused beside it (EMA statistics, an encoder)."""
    draw = _Draw(recipe.seed + 1)
    return _quantizer(recipe, draw) | _estimator(draw) | _scalar(draw)


def _quantizer(recipe: Recipe, draw: _Draw) -> dict[str, Tensor]:
    at = "flow_matching.vq_embed"
    made = {
        **draw.linear(f"{at}.project_in", QUANTIZED, WIDTH),
        **draw.linear(f"{at}.project_out", WIDTH, QUANTIZED),
        **draw.linear("flow_matching.cond_feature_emb", WIDTH, WIDTH),
        "flow_matching.zero_cond_embedding1": draw(WIDTH, scale=1.0),
    }
    for n in range(CODEBOOKS):
        table = draw(1, CODES, QUANTIZED, scale=0.7**n)
        book = f"{at}.layers.{n}._codebook"
        flag = torch.ones([] if recipe.initted == "scalar" else [1])
        made |= {
            f"{book}.embed": table, f"{book}.embed_avg": 3 * table, f"{book}.cluster_size": torch.full((1, CODES), 3.0),
            f"{book}.initted": flag,
        }  # fmt: skip
    return made


def _estimator(draw: _Draw) -> dict[str, Tensor]:
    at, dim = "flow_matching.estimator", HEADS * HEAD_DIM
    inputs = 2 * LATENT + WIDTH
    made = {
        **_project(f"{at}.proj_in", inputs, dim, draw),
        **_project(f"{at}.connection_proj", inputs + dim, 2 * dim, draw),
        **_project(f"{at}.proj_out", 2 * dim, LATENT, draw, gain=0.8),
        f"{at}.scale_shift_table": draw(2, dim, scale=0.3),
        f"{at}.scale_shift_table_2": draw(2, 2 * dim, scale=0.3),
    }
    for stage, width, layers in (("", dim, LAYERS), ("_2", 2 * dim, LAYERS_2)):
        single = f"{at}.adaln_single{stage}"
        made |= draw.linear(f"{single}.emb.timestep_embedder.linear_1", width, 512)
        made |= draw.linear(f"{single}.emb.timestep_embedder.linear_2", width, width)
        made |= draw.linear(f"{single}.linear", 6 * width, width, gain=0.5)
        for n in range(layers):
            made |= _flow_block(f"{at}.transformer_blocks{stage}.{n}", width, draw)
    return made


def _flow_block(block: str, width: int, draw: _Draw) -> dict[str, Tensor]:
    hidden = 256 * -(-int(2 * 4 * width / 3) // 256)
    made = {
        f"{block}.scale_shift_table": draw(6, width, scale=0.5),
        f"{block}.attn_norm.weight": draw.near_one(width),
        f"{block}.mlp_norm.weight": draw.near_one(width),
        f"{block}.mlp.gate.weight": draw(hidden, width),
        f"{block}.mlp.up.weight": draw(hidden, width),
        f"{block}.mlp.down.weight": draw(width, hidden),
    }
    gains = {"q": 2.0, "k": 2.0, "v": 1.0, "o": 1.0}
    return made | {f"{block}.attn.{n}_proj.weight": draw(width, width, gain=gain) for n, gain in gains.items()}


def _project(name: str, inputs: int, outputs: int, draw: _Draw, gain: float = 1.0) -> dict[str, Tensor]:
    return {
        f"{name}.ffn_1.weight": draw(outputs, inputs, 3, gain=math.sqrt(3)),  # the model divides by it
        f"{name}.ffn_1.bias": draw(outputs, scale=0.1),
        **draw.linear(f"{name}.ffn_2", outputs, outputs, gain=gain),
    }


def _scalar(draw: _Draw) -> dict[str, Tensor]:
    at = "scalar_model.decoder"
    width = CHANNELS * 2 ** len(STRIDES)
    made = draw.normed(f"{at}.0", width, LATENT // 2, 5, length=1.5)
    for n, stride in enumerate(STRIDES, 1):
        block, after = f"{at}.{n}", CHANNELS * 2 ** (len(STRIDES) - n)
        made |= draw.normed(f"{block}.up_conv.layer", 2 * after, after, 2 * stride, bias=after, length=stride**0.5)
        for m in range(5):
            made |= draw.normed(f"{block}.convs.{m}.conv1", after, after, 7)
            made |= draw.normed(f"{block}.convs.{m}.conv2", after, after, 1, length=0.5)
            made |= {f"{block}.convs.{m}.activation{k}.weight": draw(1, scale=0.1) + 0.25 for k in (1, 2)}
    made |= {
        f"{at}.6.conv.weight": draw(CHANNELS, CHANNELS, 7), f"{at}.6.conv.bias": draw(CHANNELS, scale=0.1),
        f"{at}.6.activation.weight": draw(1, scale=0.1) + 0.25,
        **draw.normed(f"{at}.7", 1, CHANNELS, 7, length=0.012),
        # of the encoder, which nobody needs: the first of its tensors stand for all
        **draw.normed("scalar_model.encoder.0", CHANNELS, 1, 7),
        **draw.normed("scalar_model.encoder.7", LATENT // 2, width, 7),
    }  # fmt: skip
    return made


class _Draw:
    """Tensors in a row from one seed: `scale`, or of about unit gain from the axes behind the first."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, scale: float | None = None, gain: float = 1.0) -> Tensor:
        scale = gain / math.sqrt(math.prod(shape[1:])) if scale is None else scale
        return torch.randn(shape, generator=self._generator) * scale

    def near_one(self, *shape: int) -> Tensor:
        return 1 + self(*shape, scale=0.1)

    def linear(self, name: str, outputs: int, inputs: int, gain: float = 1.0) -> dict[str, Tensor]:
        return {f"{name}.weight": self(outputs, inputs, gain=gain), f"{name}.bias": self(outputs, scale=0.1)}

    def normed(
        self, name: str, first: int, second: int, kernel: int, *, bias: int | None = None, length: float = 1.0
    ) -> dict[str, Tensor]:
        """A convolution under weight norm: directions [first, second, kernel], a length for each of the first axis."""
        at = f"{name}.parametrizations.weight"
        return {
            f"{name}.bias": self(bias or first, scale=0.02),
            f"{at}.original0": self.near_one(first, 1, 1) * length,
            f"{at}.original1": self(first, second, kernel),
        }


# ── the files ───────────────────────────────────────────────────────────────────────────────────


def _save(folder: Path, tensors: Mapping[str, Tensor], recipe: Recipe, shards: int) -> None:
    stored = {n: t.to(recipe.dtype).contiguous() for n, t in tensors.items()}
    if recipe.weights == "single":
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(stored)
    where: dict[str, str] = {}
    for i in range(shards):  # scattered: no part of the model lies in one file
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: stored[n] for n in names[i::shards]}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names[i::shards], file)
    size = sum(t.numel() * t.element_size() for t in stored.values())
    _write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))},
    )


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Change the tensors of a part (one file, `weights="single"`) in place, to see what a loader says."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _write_tokenizer(path: Path) -> None:
    """Bytes as tokens, and what Llama 3's file does by itself: begin of text before every text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|begin_of_text|>", "<|end_of_text|>")])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    begin = ("<|begin_of_text|>", BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    tokenizer.save(str(path))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=4) + "\n", "utf-8")
