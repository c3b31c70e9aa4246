"""Small real models of the other shapes the engine is to carry, with random weights.

`Layered` is made like HeartMuLa: a backbone step, then one local step a codebook, each fed with what was just
drawn; a text prefix that differs between the branches; an end token. `Interleaved` is made like YuE: one token
a step, two tracks in turn, branches of different length, grouped heads, a penalty on what was drawn before.
Each has a plain, slow way to compute the same (`by_hand`), without a cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from tonewheel.engine import Batch, CacheShape, FrameModel, GenerationRequest, Sample
from tonewheel.engine.cache import KeyValueCache


@dataclass(frozen=True, eq=False)
class Text:
    """Tokens before the music, for the conditional and the unconditional branch."""

    words: torch.Tensor
    none: torch.Tensor


class _Attention:
    """One layer of causal attention with grouped heads; enough of a transformer to notice a wrong position."""

    def __init__(self, width: int, heads: int, groups: int, dice: torch.Generator) -> None:
        self.width, self.heads, self.groups, self.size = width, heads, groups, width // (heads * groups)
        inner = heads * self.size
        self.query = torch.randn(width, width, generator=dice) / width**0.5
        self.key = torch.randn(inner, width, generator=dice) / width**0.5
        self.value = torch.randn(inner, width, generator=dice) / width**0.5

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x [..., width] → q [..., heads · groups, size], k, v [..., heads, size]."""
        q = (x @ self.query.T).view(*x.shape[:-1], self.heads * self.groups, self.size)
        k, v = ((x @ w.T).view(*x.shape[:-1], self.heads, self.size) for w in (self.key, self.value))
        return q, k, v

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """x [n, width] at once, causally."""
        q, k, v = (t.transpose(0, 1) for t in self.split(x))
        k, v = (t.repeat_interleave(self.groups, 0) for t in (k, v))
        return (
            scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0].transpose(0, 1).reshape(x.shape)
        )


class _Toy(FrameModel[Text]):
    width = 16
    vocabulary = 24
    pad = 0
    groups = 1

    def __init__(self, layers: int = 2, seed: int = 1) -> None:
        dice = torch.Generator().manual_seed(seed)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.delays = (0,) * self.codebooks
        self.layers = [_Attention(self.width, 2, self.groups, dice) for _ in range(layers)]
        self.cache_shape = CacheShape(layers, 2, self.layers[0].size)
        self.words = torch.randn(50, self.width, generator=dice)
        self.codes = torch.randn(self.codebooks, self.vocabulary, self.width, generator=dice)
        self.places = torch.randn(400, self.width, generator=dice) * 0.3
        self.heads = torch.randn(self.codebooks, self.vocabulary, self.width, generator=dice)
        self.prompts: dict[int, tuple[torch.Tensor, ...]] = {}

    def texts(self, request: GenerationRequest) -> tuple[torch.Tensor, ...]:
        return (request.prompt.words, request.prompt.none)[: self.branches(request)]

    def prefix(self, request: GenerationRequest) -> tuple[int, ...]:
        # The last word is the input of the first step.
        return tuple(len(t) - 1 for t in self.texts(request))

    def admit(self, slot: int, request: GenerationRequest) -> None:
        self.prompts[slot] = self.texts(request)

    def release(self, slot: int) -> None:
        self.prompts.pop(slot, None)

    def prefill(self, slot: int, cache: KeyValueCache, start: int, stop: int) -> None:
        for branch, text in enumerate(self.prompts[slot]):
            end = min(stop, len(text) - 1)
            if end <= start:
                continue
            x = (self.words[text[start:end]] + self.places[start:end])[None]
            for n, layer in enumerate(self.layers):
                q, k, v = (t.transpose(1, 2) for t in layer.split(x))
                x = x + cache.extend(n, 2 * slot + branch, start, q, k, v).transpose(1, 2).reshape(x.shape)

    def fed(self, tokens: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What each row is fed: the last word at the first step, the sum of the codes later."""
        codes = sum(self.codes[k][tokens[:, k]] for k in range(self.codebooks))
        x = codes[batch.owner].clone()
        for n, (slot, step) in enumerate(zip(batch.slots.tolist(), batch.steps.tolist(), strict=True)):
            if step == 0 and slot in self.prompts:
                for row in (batch.owner == n).nonzero()[:, 0].tolist():
                    branch = min(int(batch.rows[row]) % 2, len(self.prompts[slot]) - 1)
                    x[row] = self.words[self.prompts[slot][branch][-1]]
        return x + self.places[batch.positions.clamp(max=399)]

    def backbone(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache) -> torch.Tensor:
        x = self.fed(tokens, batch)
        for n, layer in enumerate(self.layers):
            x = x + cache.attend(n, *layer.split(x), batch).reshape(x.shape)
        return x

    def through(self, x: torch.Tensor) -> torch.Tensor:
        """A whole sequence [n, width] without a cache."""
        x = x + self.places[: len(x)]
        for layer in self.layers:
            x = x + layer.whole(x)
        return x


class Layered(_Toy):
    """Three codebooks; the second and third are decided by a local step from what was drawn just before."""

    codebooks = 3
    end: int | None = 23

    def __init__(self) -> None:
        super().__init__()
        self.local = torch.randn(self.width, self.width, generator=torch.Generator().manual_seed(9)) / 4

    def ends(self, tokens: torch.Tensor) -> bool:
        return self.end is not None and int(tokens[0]) == self.end

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        x = self.backbone(tokens, batch, cache)
        for k in range(self.codebooks):
            ids = sample((x @ self.heads[k].T)[:, None], first=k)
            x = torch.tanh(x @ self.local.T) + self.codes[k][ids[:, 0]][batch.owner]

    def by_hand(self, prompt: Text, frames: int, scale: float) -> torch.Tensor:
        """Greedy codes [K, frames], stopping before the end token."""
        made: list[torch.Tensor] = []
        for _ in range(frames):
            rows = []
            for text in (prompt.words, prompt.none):
                codes = [sum(self.codes[k][c[k]] for k in range(3)) for c in made]
                rows.append(self.through(torch.stack([*self.words[text], *codes]))[-1])
            x, ids = torch.stack(rows), []
            for k in range(self.codebooks):
                c, u = x @ self.heads[k].T
                ids.append((u + scale * (c - u)).argmax())
                x = torch.tanh(x @ self.local.T) + self.codes[k][ids[-1]]
            if self.end is not None and ids[0] == self.end:
                break
            made.append(torch.stack(ids))
        return torch.stack(made, dim=1)


class Interleaved(_Toy):
    """One codebook, two tracks in turn: even steps draw from the lower half of the ids, odd ones from the upper."""

    codebooks = 1
    groups = 2
    guidance = "log_probabilities"

    def allowed(self, steps: torch.Tensor) -> torch.Tensor:
        upper = torch.arange(self.vocabulary) >= self.vocabulary // 2
        return upper == (steps % 2 == 1)[..., None]

    def step(self, tokens: torch.Tensor, batch: Batch, cache: KeyValueCache, sample: Sample) -> None:
        logits = (self.backbone(tokens, batch, cache) @ self.heads[0].T)[:, None]
        sample(logits, adjust=lambda g: g.masked_fill(~self.allowed(batch.steps)[:, None], -torch.inf))

    def by_hand(self, prompt: Text, frames: int, scale: float) -> torch.Tensor:
        made: list[torch.Tensor] = []
        for step in range(frames):
            c, u = (
                (
                    self.through(torch.stack([*self.words[t], *(self.codes[0][c] for c in made)]))[-1] @ self.heads[0].T
                ).log_softmax(-1)
                for t in (prompt.words, prompt.none)
            )
            guided = (u + scale * (c - u)).masked_fill(~self.allowed(torch.tensor(step)), -torch.inf)
            made.append(guided.argmax())
        return torch.stack(made)[None]
