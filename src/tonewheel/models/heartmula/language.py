"""HeartMuLa's language model on the engine: one backbone step and seven local steps a frame of 80 ms.

Architecture and names of tensors: HeartMuLa/heartlib; "HeartMuLa: A Family of Open Sourced Music Foundation Models",
arXiv:2601.10547. A position is the sum of nine columns: eight codes and a text token, of which a prompt has the text
alone and a frame the codes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import embedding, scaled_dot_product_attention

from tonewheel.engine.cache import KeyValueCache
from tonewheel.engine.kernels import Kernels, PlainKernels, Stack
from tonewheel.engine.model import Batch, CacheShape, FrameModel, Sample
from tonewheel.engine.request import GenerationRequest
from tonewheel.errors import InvalidRequest, ModelBroken
from tonewheel.models.heartmula.flavors import TransformerShape, known_flavors
from tonewheel.models.heartmula.transformer import Transformer, Weights

CODES = 8192  # entries of a codebook of the codec; ids from there on are special
END = 8193


@dataclass(frozen=True, slots=True, eq=False)
class HeartmulaPrompt:
    """Token ids [n], [m] of the tags and of the lyrics, each with its begin and end token."""

    tags: torch.Tensor
    lyrics: torch.Tensor

    def __len__(self) -> int:
        """Positions: between the two lies one slot for a reference recording, which is empty."""
        return len(self.tags) + 1 + len(self.lyrics)


@dataclass(frozen=True, slots=True)
class LanguageShape:
    """The part of a checkpoint's config.json that decides how the language model is built."""

    backbone: TransformerShape
    local: TransformerShape
    text_vocabulary: int = 128_256
    audio_vocabulary: int = 8197
    codebooks: int = 8
    reference_width: int = 512

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LanguageShape:
        """From a config.json as a mapping. Raises ModelBroken."""
        try:
            names = config["backbone_flavor"], config["decoder_flavor"]
            sizes = config["text_vocab_size"], config["audio_vocab_size"], config["audio_num_codebooks"]
        except KeyError as error:
            raise ModelBroken(f"config.json is not one of HeartMuLa: {error} is missing") from error
        flavors = known_flavors(config)
        unknown = [name for name in names if name not in flavors]
        if unknown:
            raise ModelBroken(f"config.json: flavor {unknown[0]!r} is not known; known: {', '.join(flavors)}")
        return cls(flavors[names[0]], flavors[names[1]], *sizes, config.get("muq_dim", 512))


class HeartmulaLanguage(FrameModel[HeartmulaPrompt]):
    """`weights` is asked once for every tensor that is needed, in `dtype`; the heads are kept in float32, as the
    logits of guided codes suffer from half precision."""

    pad = 0

    def __init__(
        self,
        shape: LanguageShape,
        weights: Weights,
        *,
        device: torch.device,
        dtype: torch.dtype,
        kernels: Kernels | None = None,
    ) -> None:
        kernels = kernels or PlainKernels()
        self.shape, self.device = shape, device
        self._between, self.kernels = dtype, kernels
        self.codebooks, self.delays = shape.codebooks, (0,) * shape.codebooks
        back, local = shape.backbone, shape.local
        self.cache_shape, self.dtype = kernels.cache(CacheShape(back.layers, back.key_heads, back.head_size), dtype)
        self.max_positions = back.positions
        self._backbone = Transformer(back, "backbone", weights, device=device, kernels=kernels)
        self._local = Transformer(local, "decoder", weights, device=device, kernels=kernels, positions=shape.codebooks)
        small = CacheShape(local.layers, local.key_heads, local.head_size)
        # Of a frame's codes, where the stack is used.
        self._within = KeyValueCache(small, torch.float32, device, step=1)
        self._words = weights("text_embeddings.weight")
        self._codes = weights("audio_embeddings.weight")
        self._nothing = weights("unconditional_text_embedding.weight")[0]  # stands at every prompt position
        self._no_reference = weights("muq_linear.bias")  # what the slot holds without a reference recording
        weights("muq_linear.weight")  # would take one; no released pipeline does
        self._project = kernels.linear("projection", lambda: weights("projection.weight"))
        self._first_head = kernels.linear("codebook0_head", lambda: weights("codebook0_head.weight").float())
        made: list[torch.Tensor] = []  # [codebooks - 1, width, vocabulary], read once, if at all

        def head(n: int) -> torch.Tensor:
            if not made:
                made.append(weights("audio_head"))
            return made[0][n].float().t()

        self._heads = [kernels.linear(f"audio_head.{n}", partial(head, n)) for n in range(shape.codebooks - 1)]
        self._offsets = torch.arange(shape.codebooks, device=device) * shape.audio_vocabulary
        ids = torch.arange(shape.audio_vocabulary, device=device)
        self._banned = (ids >= CODES) & (ids != END)  # codes of the codebook and the end may come, nothing else
        self._prompts: dict[int, torch.Tensor] = {}  # slot → what its conditional branch begins with [n, width]
        self._guided: dict[int, bool] = {}
        self._begins = torch.empty(0, back.width, device=device, dtype=dtype)  # [rows, width] input of the first step
        # Keys and values [heads, n, size] of the unconditional prompt: it depends on positions alone.
        self._shared: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._shared_length = 0

    # ── joining ──

    def open(self, slots: int) -> None:
        self._begins = torch.zeros(2 * slots, self.shape.backbone.width, device=self.device, dtype=self._between)

    def prefix(self, request: GenerationRequest) -> tuple[int, ...]:
        """All positions of the prompt but the last, which is the input of the first step."""
        return (len(request.prompt) - 1,) * self.branches(request)

    def admit(self, slot: int, request: GenerationRequest) -> None:
        prompt: HeartmulaPrompt = request.prompt
        if request.start is not None:
            raise InvalidRequest("HeartMuLa does not go on from given codes")
        tags, lyrics = (embedding(ids.to(self.device), self._words) for ids in (prompt.tags, prompt.lyrics))
        whole = torch.cat([tags, self._no_reference[None], lyrics])
        self._prompts[slot] = whole[:-1]
        self._guided[slot] = self.branches(request) == 2
        self._begins[2 * slot] = whole[-1]
        self._begins[2 * slot + 1] = self._nothing

    def release(self, slot: int) -> None:
        self._prompts.pop(slot, None)

    def rest(self) -> None:
        self._within.release()

    def ends(self, tokens: torch.Tensor) -> bool:
        return bool((tokens >= END).any())

    # ── filling a prompt ──

    def prefill(self, slot: int, cache: KeyValueCache, start: int, stop: int) -> None:
        self._extend(self._prompts[slot][start:stop], cache, 2 * slot, start)
        if self._guided[slot]:
            self._fill_unconditional(cache, 2 * slot + 1, start, stop)

    def _fill_unconditional(self, cache: KeyValueCache, row: int, start: int, stop: int) -> None:
        """As far as some request had it before, copied; beyond, computed and kept for the next."""
        known = max(start, min(stop, self._shared_length))
        for layer, (keys, values) in enumerate(self._shared):
            cache.put(layer, row, start, keys[:, start:known], values[:, start:known])
        if known == stop:
            return
        self._extend(self._nothing.expand(stop - known, -1), cache, row, known)
        if known == self._shared_length:
            fresh = [cache.taken(layer, row, known, stop) for layer in range(len(self._backbone.layers))]
            before = self._shared or [(k[:, :0], v[:, :0]) for k, v in fresh]
            self._shared = [
                (torch.cat([k, more_k], dim=1), torch.cat([v, more_v], dim=1))
                for (k, v), (more_k, more_v) in zip(before, fresh, strict=True)
            ]
            self._shared_length = stop

    def _extend(self, x: torch.Tensor, cache: KeyValueCache, row: int, start: int) -> None:
        """Positions x [n, width] of one row, from `start` on."""
        positions = torch.arange(start, start + len(x), device=self.device)
        if self._backbone.stack is not None:
            self._backbone.stack.step(x, torch.full_like(positions, row), positions, cache, False)
            return
        for n, layer in enumerate(self._backbone.layers):
            query, key, value = self._backbone.split(layer, x)
            query, key = (self._backbone.turned(t, positions) for t in (query, key))
            query, key, value = (t.transpose(0, 1)[None] for t in (query, key, value))
            seen = cache.extend(n, row, start, query, key, value)[0].transpose(0, 1)
            x = x + layer.out(seen.reshape(len(x), -1))
            x = x + layer.fed(x)

    # ── a frame ──

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        summed = embedding(tokens + self._offsets, self._codes).sum(1)[batch.owner]
        begins = (batch.steps == 0)[batch.owner][:, None]
        x = torch.where(begins, self._begins[batch.rows], summed)
        positions = batch.positions.clamp(max=self.shape.backbone.positions - 1)
        by_rows = batch.visible is None
        if by_rows and self._backbone.stack is not None:
            heard = self._backbone.stack.step(x, batch.rows, positions, cache, False)
        else:
            heard = self._backbone.norm(self._through(x, positions, batch, cache))
        drawn = sample(self._first_head(heard.float())[:, None], 0, banned=self._banned)
        if by_rows and self._local.stack is not None:
            self._decode_on(self._local.stack, heard, drawn, batch, sample)
        else:
            self._decode_locally(heard, drawn, batch, sample)

    def _through(self, x: torch.Tensor, positions: torch.Tensor, batch: Batch, cache: KeyValueCache) -> torch.Tensor:
        """The backbone's layers, one after another."""
        for n, layer in enumerate(self._backbone.layers):
            query, key, value = self._backbone.split(layer, x)
            query, key = (self._backbone.turned(t, positions) for t in (query, key))
            x = x + layer.out(cache.attend(n, query, key, value, batch).flatten(1))
            x = x + layer.fed(x)
        return x

    def _decode_on(self, stack: Stack, heard: torch.Tensor, drawn: torch.Tensor, batch: Batch, sample: Sample) -> None:
        """Codes 1 … 7 of a frame on a stack, whose cache begins anew with every frame."""
        rows = torch.arange(len(heard), device=self.device)
        self._within.reserve(len(heard), self.codebooks)
        x = self._project(torch.stack([heard, self._embedded(0, drawn, batch)], dim=1).flatten(0, 1))
        at, which = torch.tensor([0, 1], device=self.device).repeat(len(rows)), rows.repeat_interleave(2)
        for k, head in enumerate(self._heads):
            last = stack.step(x, which, at, self._within, False)
            if k == 0:
                last = last[1::2]
            drawn = sample(head(last)[:, None], k + 1, banned=self._banned)
            if k + 1 < len(self._heads):
                x, which = self._project(self._embedded(k + 1, drawn, batch)), rows
                at = torch.full_like(rows, k + 2)

    def _decode_locally(self, heard: torch.Tensor, drawn: torch.Tensor, batch: Batch, sample: Sample) -> None:
        """Codes 1 … 7 of a frame, one after another: two inputs first, then each code as it is drawn."""
        local, rows = self._local, len(heard)
        past: list[tuple[torch.Tensor, torch.Tensor]] = []
        x = self._project(torch.stack([heard, self._embedded(0, drawn, batch)], dim=1).flatten(0, 1)).view(rows, 2, -1)
        for k, head in enumerate(self._heads):
            first = 0 if k == 0 else k + 1
            count = x.shape[1]
            flat = x.reshape(rows * count, -1)
            at = torch.arange(first, first + count, device=self.device).repeat(rows)
            for n, layer in enumerate(local.layers):
                query, key, value = local.split(layer, flat)
                query, key = local.turned(query, at), local.turned(key, at)
                query, key, value = (t.view(rows, count, *t.shape[1:]).transpose(1, 2) for t in (query, key, value))
                if k == 0:
                    past.append((key, value))
                else:
                    past[n] = torch.cat([past[n][0], key], dim=2), torch.cat([past[n][1], value], dim=2)
                flat = flat + layer.out(self._seen(query, *past[n]).reshape(rows * count, -1))
                flat = flat + layer.fed(flat)
            last = local.norm(flat).view(rows, count, -1)[:, -1]
            drawn = sample(head(last.float())[:, None], k + 1, banned=self._banned)
            if k + 1 < len(self._heads):
                x = self._project(self._embedded(k + 1, drawn, batch))[:, None]

    def _seen(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Attention from the last positions [R, heads, n, size] to at most eight → [R, n, heads · size]."""
        groups = query.shape[1] // keys.shape[1]
        keys, values = (t.repeat_interleave(groups, dim=1) for t in (keys, values))
        causal = query.shape[2] > 1  # the first pass is the only one with more than one position, and sees no past
        return scaled_dot_product_attention(query, keys, values, is_causal=causal).transpose(1, 2).flatten(2)

    def _embedded(self, codebook: int, codes: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Codes [B, 1] of one codebook → [R, width]."""
        return embedding(codes[batch.owner, 0] + codebook * self.shape.audio_vocabulary, self._codes)
