"""MusicGen's transformer on the engine: mono, stereo and melody checkpoints.

Architecture: Copet et al. 2023, "Simple and Controllable Music Generation", arXiv:2306.05284; names of tensors
as in the checkpoints of transformers' `MusicgenForConditionalGeneration` and `MusicgenMelodyForConditionalGeneration`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, gelu, layer_norm, relu

from tonewheel.engine import pattern
from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.cross import CrossCache
from tonewheel.engine.kernels import Block, Kernels, Linear, PlainKernels, StackShape, make_linear
from tonewheel.engine.kernels import Norm as NormWeights
from tonewheel.engine.model import Batch, CacheShape, FrameModel, Sample
from tonewheel.engine.request import GenerationRequest
from tonewheel.errors import ModelBroken

Weights = Callable[[str], torch.Tensor]
"""Name → tensor, in the wanted type and on the wanted device. Raises ModelBroken with the name of what is missing."""

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"gelu": gelu, "relu": relu}


@dataclass(frozen=True, slots=True, eq=False)
class MusicgenPrompt:
    """What a request is conditioned on; all None = unconditional.

    `text`, `negative` [n, text width]: the text encoder's states of the prompt and of what is not wanted.
    `melody` [frames, chroma]: one-hot chroma (melody checkpoints only).
    """

    text: torch.Tensor | None = None
    negative: torch.Tensor | None = None
    melody: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The part of a checkpoint's config.json that decides how the decoder is built."""

    layers: int
    width: int
    heads: int
    vocabulary: int  # entries of a codebook; the id after the last one is the padding
    codebooks: int
    channels: int
    activation: str
    text_width: int
    max_positions: int
    chroma: int = 0  # kinds of chroma; 0 = no melody checkpoint
    chroma_frames: int = 0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> DecoderShape:
        """From a config.json as a mapping. Raises ModelBroken."""
        try:
            decoder, text = config["decoder"], config["text_encoder"]
            melody = config.get("model_type") == "musicgen_melody"
            return cls(
                layers=decoder["num_hidden_layers"], width=decoder["hidden_size"],
                heads=decoder["num_attention_heads"], vocabulary=decoder["vocab_size"],
                codebooks=decoder["num_codebooks"], channels=decoder.get("audio_channels", 1),
                activation=decoder.get("activation_function", "gelu"), text_width=text["d_model"],
                max_positions=decoder.get("max_position_embeddings", 2048),
                chroma=config.get("num_chroma", 12) if melody else 0,
                chroma_frames=config.get("chroma_length", 235) if melody else 0,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ModelBroken(f"config.json is not one of a MusicGen checkpoint: {error} is missing") from error

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    @property
    def delays(self) -> tuple[int, ...]:
        """Mono: one step more each codebook; stereo: left and right, interleaved, run together."""
        return tuple(k // 2 if self.channels == 2 else k for k in range(self.codebooks))

    @property
    def cache(self) -> CacheShape:
        return CacheShape(self.layers, self.heads, self.head_size)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, (x.shape[-1],), self.weight, self.bias)

    @property
    def weights(self) -> NormWeights:
        return NormWeights(self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Cross:
    norm: _Norm
    query: Linear
    keys_values: Linear  # [n, width] → [n, 2 · width], used once a request
    out: Linear


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: _Norm
    query_key_value: Linear
    out: Linear
    cross: _Cross | None
    feed_norm: _Norm
    feed_in: Linear
    feed_out: Linear


class MusicgenDecoder(FrameModel[MusicgenPrompt]):
    """`weights` is asked at most once for every tensor that is needed; joined ones (q, k, v) are made layer by layer.

    `dtype` is that of what flows between the layers; `kernels` have the weights in a precision of their own.
    """

    def __init__(
        self,
        shape: DecoderShape,
        weights: Weights,
        *,
        device: torch.device,
        dtype: torch.dtype,
        kernels: Kernels | None = None,
    ) -> None:
        if shape.activation not in _ACTIVATIONS:
            raise ModelBroken(f"config.json: activation_function {shape.activation!r} is not known to this decoder")
        kernels = kernels or PlainKernels()
        self.shape, self.device = shape, device
        self._between, self.kernels = dtype, kernels
        self.codebooks, self.delays, self.pad = shape.codebooks, shape.delays, shape.vocabulary
        self.cache_shape, self.dtype = kernels.cache(shape.cache, dtype)
        self.max_positions = shape.max_positions
        self._activation = _ACTIVATIONS[shape.activation]
        self._table = positions_table(shape.max_positions, shape.width).to(device, dtype)
        inner = "decoder.model.decoder"
        codebooks = range(shape.codebooks)
        self._tokens = torch.cat([weights(f"{inner}.embed_tokens.{k}.weight") for k in codebooks])
        self._offsets = torch.arange(shape.codebooks, device=device) * (shape.vocabulary + 1)
        self._layers = [self._layer(f"{inner}.layers.{n}", weights, kernels) for n in range(shape.layers)]
        self._norm = _norm(weights, f"{inner}.layer_norm")
        self._heads = kernels.linear(
            "lm_heads", lambda: torch.cat([weights(f"decoder.lm_heads.{k}.weight") for k in codebooks])
        )
        self._stack = kernels.stack(
            StackShape(shape.width, shape.heads, shape.heads, shape.head_size, shape.activation),
            [_block(layer) for layer in self._layers], self._norm.weights, self._heads,
        )  # fmt: skip
        self._from_text = self._projection(weights, "enc_to_dec_proj", shape.text_width)
        self._from_chroma = self._projection(weights, "audio_enc_to_dec_proj", shape.chroma) if shape.chroma else None
        self._texts = CrossCache(shape.cache, 0, self._between, device)
        self._prefixes: dict[int, torch.Tensor] = {}  # slot → [branches, n, width], until it is filled
        self._looking: tuple[torch.Tensor, torch.Tensor] | None = None

    # ── joining ──

    def open(self, slots: int) -> None:
        self._texts = CrossCache(self.shape.cache, 2 * slots, self._between, self.device)

    def branches(self, request: GenerationRequest) -> int:
        """Without anything to be guided by, both branches are the same and one does."""
        prompt: MusicgenPrompt = request.prompt
        nothing = prompt.text is None and prompt.negative is None and prompt.melody is None
        return 1 if nothing else super().branches(request)

    def prefix(self, request: GenerationRequest) -> tuple[int, ...]:
        length = request.started
        if self.shape.chroma:
            length += self.shape.chroma_frames + _text_length(request.prompt)
        return (length,) * self.branches(request)

    def admit(self, slot: int, request: GenerationRequest) -> None:
        prompt: MusicgenPrompt = request.prompt
        branches = self.branches(request)
        texts = (prompt.text, prompt.negative)[:branches]
        before: list[torch.Tensor] = []  # of what goes before the codes, [branches, n, width]
        if self.shape.chroma:
            before.append(self._conditions(prompt, branches))
        else:
            for branch, text in enumerate(texts):
                self._put_text(2 * slot + branch, text)
        if request.started:
            plan = pattern.laid_out(request.start, request.frames, self.delays, self.pad).to(self.device)
            columns = torch.cat([torch.full_like(plan[:, :1], self.pad), plan[:, : request.started - 1]], dim=1)
            before.append(self._embedded(columns.t())[None].expand(branches, -1, -1))
        if before:
            self._prefixes[slot] = torch.cat(before, dim=1)
        self._looking = None

    def release(self, slot: int) -> None:
        self._prefixes.pop(slot, None)
        for row in (2 * slot, 2 * slot + 1):
            self._put_text(row, None)
        self._looking = None

    def rest(self) -> None:
        self._texts.rest()

    def variant(self, slots: list[int]) -> tuple[bool, bool, int]:
        texts = self._texts.lengths
        return any(texts[2 * s] for s in slots), any(texts[2 * s + 1] for s in slots), self._texts.positions

    def _put_text(self, row: int, text: torch.Tensor | None) -> None:
        """Keys and values of a text, once; without text the row is left out of cross-attention altogether: its keys
        and values would be zero, and what it saw, too."""
        self._texts.clear(row)
        if text is not None:
            states = self._projected(text)
            heads, size = self.shape.heads, self.shape.head_size
            both = [layer.cross.keys_values(states) for layer in self._layers if layer.cross is not None]
            split = torch.stack(both).view(self.shape.layers, -1, 2, heads, size).permute(2, 0, 3, 1, 4)
            self._texts.put(row, split[0], split[1])
        if self._stack is not None:
            self._stack.look(row, self._texts)

    def _projected(self, text: torch.Tensor) -> torch.Tensor:
        return self._from_text(text.to(self.device, self._between))

    def _conditions(self, prompt: MusicgenPrompt, branches: int) -> torch.Tensor:
        """Melody checkpoints: chroma and text stand before the codes [branches, n, width]. No melody is chroma 0
        throughout; no text is zeros (transformers, `_prepare_encoder_hidden_states_kwargs_for_generation`)."""
        shape = self.shape
        assert self._from_chroma is not None
        none = torch.zeros(shape.chroma_frames, shape.chroma, device=self.device, dtype=self._between)
        none[:, 0] = 1
        heard = none
        if prompt.melody is not None:
            times = -(-shape.chroma_frames // len(prompt.melody))
            heard = prompt.melody.to(self.device, self._between).repeat(times, 1)[: shape.chroma_frames]
        length = _text_length(prompt)
        rows = []
        for chroma, text in ((heard, prompt.text), (none, prompt.negative))[:branches]:
            words = torch.zeros(length, shape.width, device=self.device, dtype=self._between)
            if text is not None:
                words[: len(text)] = self._projected(text)
            rows.append(torch.cat([self._from_chroma(chroma), words]))
        return torch.stack(rows)

    # ── filling a prefix ──

    def prefill(self, slot: int, cache: KeyValueCache, start: int, stop: int) -> None:
        prefix = self._prefixes[slot]
        x = prefix[:, start:stop] + self._table[start:stop]
        if self._stack is None:
            self._fill(slot, x, cache, start)
        else:
            branches, count, width = x.shape
            rows = torch.arange(2 * slot, 2 * slot + branches).repeat_interleave(count)
            positions = torch.arange(start, stop).repeat(branches)
            self._stack.step(x.reshape(-1, width), rows, positions, cache, False)
        if stop >= prefix.shape[1]:
            del self._prefixes[slot]

    def _fill(self, slot: int, x: torch.Tensor, cache: KeyValueCache, start: int) -> None:
        """x [branches, n, width] at positions from `start` on."""
        rows, count, width = x.shape
        heads, size = self.shape.heads, self.shape.head_size
        for n, layer in enumerate(self._layers):
            flat = layer.query_key_value(layer.norm(x).view(rows * count, width))
            query, key, value = flat.view(rows, count, 3, heads, size).permute(2, 0, 3, 1, 4)
            seen = cache.extend(n, 2 * slot, start, query, key, value)
            x = x + layer.out(seen.transpose(1, 2).reshape(rows * count, width)).view_as(x)
            if layer.cross is not None:
                for branch in range(rows):
                    if self._texts.lengths[2 * slot + branch]:
                        asked = layer.cross.query(layer.cross.norm(x[branch])).view(count, heads, size)
                        found = self._texts.attend_many(n, asked.transpose(0, 1), 2 * slot + branch)
                        x[branch] += layer.cross.out(found.transpose(0, 1).reshape(count, width))
            x = x + self._fed(layer, x.view(rows * count, width)).view_as(x)

    # ── a step ──

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        x = self._embedded(tokens)[batch.owner] + self._table[batch.positions.clamp(max=len(self._table) - 1)]
        if self._stack is not None and batch.visible is None:
            logits = self._stack.step(x, batch.rows, batch.positions, cache, True)
        else:
            logits = self._heads(self._norm(self._through(x, batch, cache)))
        sample(logits.view(len(x), self.codebooks, self.shape.vocabulary))

    def _through(self, x: torch.Tensor, batch: Batch, cache: KeyValueCache) -> torch.Tensor:
        """The layers, one after another."""
        looking, looked_rows = self._lookers(batch)
        count, width = x.shape
        heads, size = self.shape.heads, self.shape.head_size
        for n, layer in enumerate(self._layers):
            query, key, value = layer.query_key_value(layer.norm(x)).view(count, 3, heads, size).unbind(1)
            x = x + layer.out(cache.attend(n, query, key, value, batch).view(count, width))
            if layer.cross is not None and len(looking):
                some = x[looking]
                asked = layer.cross.query(layer.cross.norm(some)).view(-1, heads, size)
                found = self._texts.attend(n, asked, looked_rows, batch.visible is not None)
                x[looking] = some + layer.cross.out(found.reshape(-1, width))
            x = x + self._fed(layer, x)
        return x

    def _lookers(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows that look at a text, and their rows of the text cache. Found anew when somebody joins or leaves."""
        if batch.visible is not None:
            both = any(self._texts.lengths[1::2])
            none = not any(self._texts.lengths)
            looking = batch.conditional[:0] if none else self._texts.looking(batch, both=both)
            return looking, batch.rows[looking]
        if self._looking is None or self._looking[0] is not batch.rows:
            self._looking = batch.rows, self._texts.looking(batch, both=True)
        looking = self._looking[1]
        return looking, batch.rows[looking]

    def _embedded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Codes [B, K] → [B, width], summed over the codebooks."""
        return embedding(tokens + self._offsets, self._tokens).sum(1)

    def _fed(self, layer: _Layer, x: torch.Tensor) -> torch.Tensor:
        return layer.feed_out(self._activation(layer.feed_in(layer.feed_norm(x))))

    # ── building ──

    def _layer(self, name: str, weights: Weights, kernels: Kernels) -> _Layer:
        def linear(*parts: str) -> Linear:
            return kernels.linear(
                f"{name}.{parts[0]}", lambda: torch.cat([weights(f"{name}.{part}.weight") for part in parts])
            )

        cross = None
        if not self.shape.chroma:
            cross = _Cross(
                _norm(weights, f"{name}.encoder_attn_layer_norm"),
                linear("encoder_attn.q_proj"),
                linear("encoder_attn.k_proj", "encoder_attn.v_proj"),
                linear("encoder_attn.out_proj"),
            )
        return _Layer(
            _norm(weights, f"{name}.self_attn_layer_norm"),
            linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            linear("self_attn.out_proj"),
            cross,
            _norm(weights, f"{name}.final_layer_norm"),
            linear("fc1"),
            linear("fc2"),
        )

    def _projection(self, weights: Weights, name: str, width: int) -> Linear:
        """Checkpoints whose encoder is as wide as the decoder have none."""
        if width == self.shape.width:
            return lambda x: x
        return make_linear(weights(f"{name}.weight"), weights(f"{name}.bias"))


def positions_table(count: int, width: int) -> torch.Tensor:
    """Sinusoidal positions [count, width]: cosines, then sines (the order of transformers' MusicGen)."""
    half = width // 2
    rates = torch.exp(torch.arange(half).float() * -(math.log(10000) / (half - 1)))
    angles = torch.arange(count).float()[:, None] * rates[None, :]
    table = torch.cat([angles.cos(), angles.sin()], dim=1)
    return torch.nn.functional.pad(table, (0, width - 2 * half))


def _block(layer: _Layer) -> Block:
    cross = layer.cross
    return Block(
        layer.norm.weights, layer.query_key_value, layer.out, layer.feed_norm.weights, layer.feed_in, layer.feed_out,
        *((cross.norm.weights, cross.query, cross.out) if cross is not None else ()),
    )  # fmt: skip


def _norm(weights: Weights, name: str) -> _Norm:
    return _Norm(weights(f"{name}.weight"), weights(f"{name}.bias"))


def _text_length(prompt: MusicgenPrompt) -> int:
    return max((len(t) for t in (prompt.text, prompt.negative) if t is not None), default=0)
