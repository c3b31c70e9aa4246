"""The models that `musicgen.py`, `precision.py` and `openvino_step.py` run: real shapes, random weights."""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch

from tonewheel.engine import Batch, GenerationRequest, Sampling
from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.kernels import Kernels
from tonewheel.engine.model import Span
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, MusicgenPrompt, Weights

SHAPES = {
    "small": DecoderShape(24, 1024, 16, 2048, 4, 1, "gelu", 768, 2048),
    "medium": DecoderShape(48, 1536, 24, 2048, 4, 1, "gelu", 768, 2048),
    "large": DecoderShape(48, 2048, 32, 2048, 4, 1, "gelu", 768, 2048),
    "tiny": DecoderShape(2, 64, 4, 256, 4, 1, "gelu", 32, 2048),  # to try the program out
}
TEXT_TOKENS = 16
SAMPLING = Sampling(guidance_scale=3.0, top_k=250)
_POOL = 1 << 22  # random numbers drawn once: of weights only their number counts for the speed


def size_of(shape: DecoderShape, name: str) -> tuple[int, ...]:
    """Of a decoder's tensor, by its name in a checkpoint."""
    w, f = shape.width, 4 * shape.width
    if name.endswith("bias") or "norm" in name:
        return (w,)
    sizes = {
        "embed_tokens": (shape.vocabulary + 1, w), "lm_heads": (shape.vocabulary, w), "fc1": (f, w), "fc2": (w, f),
        "enc_to_dec": (w, shape.text_width),
    }  # fmt: skip
    return next((size for part, size in sizes.items() if part in name), (w, w))


def random_weights(
    shape: DecoderShape, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Weights:
    """Tensors of their own with numbers from one pool, the same for the same name. Norms are 1, biases 0."""
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0)) * 0.02

    def weights(name: str) -> torch.Tensor:
        size = size_of(shape, name)
        if name.endswith("bias"):
            return torch.zeros(size, device=device, dtype=dtype)
        if "norm" in name:
            return torch.ones(size, device=device, dtype=dtype)
        count = math.prod(size)
        start = sum(name.encode()) * 9973 % _POOL
        made = torch.cat([pool[start:], pool.repeat(count // _POOL + 1)])[:count]
        return made.view(size).to(device, dtype, copy=True)

    return weights


def our_decoder(
    shape: DecoderShape, device: torch.device, dtype: torch.dtype, kernels: Kernels | None = None
) -> MusicgenDecoder:
    with torch.inference_mode():
        weights = random_weights(shape, device, dtype)
        return MusicgenDecoder(shape, weights, device=device, dtype=dtype, kernels=kernels)


class Forced:
    """Our decoder without the engine: told which tokens were drawn, it gives the logits of every step."""

    def __init__(self, decoder: MusicgenDecoder, texts: list[torch.Tensor], positions: int) -> None:
        """A request for each of `texts` [n, text width], of up to so many steps."""
        self._decoder, self._count, self._position = decoder, len(texts), 0
        self._cache = KeyValueCache(decoder.cache_shape, decoder.dtype, decoder.device)
        self._cache.reserve(2 * len(texts), positions)
        decoder.open(len(texts))
        for slot, text in enumerate(texts):
            decoder.admit(slot, GenerationRequest(MusicgenPrompt(text=text), positions, SAMPLING))
        self._slots, self._rows = torch.arange(len(texts)), torch.arange(2 * len(texts))

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens before it [B, K] → logits [2, B, K, V]: conditional, unconditional."""
        count, at = self._count, self._position
        batch = Batch(
            self._slots, self._rows, self._rows // 2, 2 * self._slots, 2 * self._slots + 1,
            torch.full((count,), at), torch.full((2 * count,), at), spans=(Span(0, 2 * count, 0, at + 1),),
        )  # fmt: skip
        told: list[torch.Tensor] = []

        def sample(logits: torch.Tensor, first: int = 0, adjust: object = None, banned: object = None) -> torch.Tensor:
            told.append(logits)
            return tokens

        self._decoder.step(tokens, batch, self._cache, sample)
        self._position += 1
        return told[0].float().view(count, 2, *told[0].shape[1:]).transpose(0, 1)


def their_model(shape: DecoderShape, device: torch.device, dtype: torch.dtype) -> Any:
    """transformers' model of the same shape, random weights; the audio codec's decoding is left out on both sides."""
    from transformers import (  # noqa: PLC0415
        EncodecConfig,
        MusicgenConfig,
        MusicgenDecoderConfig,
        MusicgenForConditionalGeneration,
        T5Config,
    )

    text = T5Config(d_model=shape.text_width, num_layers=1, num_heads=12, d_ff=64, vocab_size=64)
    decoder = MusicgenDecoderConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, ffn_dim=4 * shape.width, num_codebooks=shape.codebooks,
        pad_token_id=shape.vocabulary, bos_token_id=shape.vocabulary, activation_function="gelu",
    )  # fmt: skip
    codec = EncodecConfig(sampling_rate=32000, codebook_size=shape.vocabulary, num_filters=2, hidden_size=16)
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    with torch.device(device):
        made = MusicgenForConditionalGeneration(config)
    model: Any = made.to(dtype).eval()
    model.generation_config.decoder_start_token_id = shape.vocabulary
    model.generation_config.pad_token_id = shape.vocabulary
    model.generation_config.bos_token_id = shape.vocabulary
    silent = torch.zeros(1, 1, 1)
    model.audio_encoder.decode = lambda *_args, **_kwargs: argparse.Namespace(audio_values=silent)
    return model
