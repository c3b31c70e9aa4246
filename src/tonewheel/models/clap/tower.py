"""CLAP's audio tower made faster, for inference: the same numbers (to 1e-6) with a third of the memory traffic.

transformers moves every token six to eight times a block: into windows, shifted and back, and into heads. Nothing but
attention minds the order of the tokens, so here they stay in the order of a block's windows until the next block wants
another: one move a block. Windows whose masks are equal follow each other, so torch's fused kernel gets one small mask
for all of them, with the table of relative positions in it; query, key and value are one product. Where the machine
has faster float32 products than torch's, they are taken.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tonewheel.engine.kernels import quick_feed, quick_linear


def quicken(network: Any, *, products: bool) -> None:
    """Give a ClapModel's audio tower quicker stages, with `products` on the fastest float32 products of the machine.
    A stage whose tokens do not fit its windows (no published checkpoint has one) stays as it is."""
    stages = network.audio_model.audio_encoder.layers
    for index, stage in enumerate(stages):
        if _fits(stage):
            stages[index] = Stage(stage, products=products)


def _fits(stage: Any) -> bool:
    height, width = stage.blocks[0].input_resolution
    window = min(stage.blocks[0].window_size, height, width)
    even = stage.downsample is None or height % 2 == width % 2 == 0
    return bool(even and height % window == width % window == 0)


class Stage(nn.Module):
    """Stands in for a `ClapAudioStage`, with its weights."""

    def __init__(self, original: Any, *, products: bool) -> None:
        super().__init__()
        self.grid: tuple[int, int] = tuple(original.blocks[0].input_resolution)
        blocks = [_Block(block, self.grid, products) for block in original.blocks]
        self.blocks: Any = nn.ModuleList(blocks)
        self.downsample = original.downsample
        if products and self.downsample is not None:
            self.downsample.reduction = quick_linear(self.downsample.reduction)
        self._moves_of: dict[tuple[int, torch.device], list[Tensor]] = {}  # by the size of the batch

    def forward(
        self, hidden_states: Tensor, input_dimensions: tuple[int, int], *_options: bool | None
    ) -> tuple[Tensor, None, tuple[int, int, int, int]]:
        """`hidden_states [b, n, c]`, n tokens in rows of the stage's grid. Returns `[b, n, c]`, or `[b, n / 4, 2c]`
        merged, and the sizes of both grids; what it was before merging is not told."""
        height, width = self.grid
        batch, _, channels = hidden_states.shape
        moves = self._moves(batch, hidden_states.device)
        rows = hidden_states.reshape(-1, channels)
        for block, move in zip(self.blocks, moves, strict=False):
            rows = block(rows.index_select(0, move), batch)
        rows = rows.index_select(0, moves[-1])
        if self.downsample is None:
            return rows.view(batch, -1, channels), None, (height, width, height, width)
        merged = self.downsample.reduction(self.downsample.norm(rows.view(batch, -1, 4 * channels)))
        return merged, None, (height, width, height // 2, width // 2)

    def _moves(self, batch: int, device: torch.device) -> list[Tensor]:
        """Which rows of the step before each step takes: every block, and the end."""
        found = self._moves_of.get((batch, device))
        if found is None:
            orders = [block.order(batch) for block in self.blocks] + [self._end(batch)]
            found, held = [], torch.arange(len(orders[-1]))
            for order in orders:
                place = torch.empty_like(held)
                place[held] = torch.arange(len(held))  # where each token is
                found.append(place[order].to(device))
                held = order
            self._moves_of[(batch, device)] = found
        return found

    def _end(self, batch: int) -> Tensor:
        """The tokens in rows of the grid, or in fours that become one: down first, as `ClapAudioPatchMerging`."""
        height, width = self.grid
        tokens = torch.arange(batch * height * width)
        if self.downsample is None:
            return tokens
        return tokens.view(batch, height // 2, 2, width // 2, 2).permute(0, 1, 3, 4, 2).flatten()


class _Block(nn.Module):
    """Stands in for a `ClapAudioLayer`; takes its tokens in the order that `order` tells."""

    masks: Tensor

    def __init__(self, original: Any, grid: tuple[int, int], products: bool) -> None:
        super().__init__()
        original.set_shift_and_window_size(grid)
        attention = original.attention.self
        self.heads, self.width = attention.num_attention_heads, attention.attention_head_size
        self.before, self.after = original.layernorm_before, original.layernorm_after
        qkv, out = _joined(attention), original.attention.output.dense
        self.qkv: nn.Module = quick_linear(qkv) if products else qkv
        self.out: nn.Module = quick_linear(out) if products else out
        self.feed: nn.Module = nn.Sequential(original.intermediate, original.output)
        if products:
            plain = getattr(original.intermediate.intermediate_act_fn, "act", None) is functional.gelu
            quick = quick_feed(original.intermediate.dense, "gelu", original.output.dense) if plain else None
            self.feed = quick or self.feed
        self._place(original, grid)

    def _place(self, original: Any, grid: tuple[int, int]) -> None:
        """Which tokens are in which window, and what is added to the scores of each kind of window."""
        (height, width), side, shift = grid, int(original.window_size), int(original.shift_size)
        tokens = torch.arange(height * width).view(height, width).roll((-shift, -shift), (0, 1))
        windows = tokens.view(height // side, side, width // side, side).transpose(1, 2).reshape(-1, side * side)
        attention = original.attention.self
        table = attention.relative_position_bias_table[attention.relative_position_index.view(-1)]
        positions = table.detach().view(side * side, side * side, -1).permute(2, 0, 1)  # [h, n, n]
        mask = original.get_attn_mask(height, width, dtype=positions.dtype, device=positions.device)
        if mask is None:
            mask = positions.new_zeros(len(windows), side * side, side * side)
        kinds, kind_of = torch.unique(mask, dim=0, return_inverse=True)
        self._windows = [windows[(kind_of == kind).cpu()] for kind in range(len(kinds))]  # of each kind [w, n]
        self.register_buffer("masks", (positions + kinds.unsqueeze(1)).contiguous(), persistent=False)  # [k, h, n, n]
        self.tokens = side * side

    def order(self, batch: int) -> Tensor:
        """The numbers of all tokens of a batch in the order they are taken: by kind of window, then by recording."""
        every = self.tokens * sum(len(windows) for windows in self._windows)
        starts = (torch.arange(batch) * every).view(-1, 1)
        return torch.cat([(starts + windows.flatten()).flatten() for windows in self._windows])

    def forward(self, rows: Tensor, batch: int) -> Tensor:
        """`rows [b · n, c]`, which it changes and returns."""
        rows += self.out(self._mixed(self.qkv(self.before(rows)), batch))
        rows += self.feed(self.after(rows))
        return rows

    def _mixed(self, qkv: Tensor, batch: int) -> Tensor:
        parts = qkv.view(-1, self.tokens, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)  # [3, w, h, n, c]
        masks, mixed, at = self.masks.to(qkv.dtype), [], 0
        for kind, windows in enumerate(self._windows):
            here = parts[:, at : at + batch * len(windows)]
            at += batch * len(windows)
            query, key, value = here.unbind(0)
            mixed.append(functional.scaled_dot_product_attention(query, key, value, attn_mask=masks[kind : kind + 1]))
        every = mixed[0] if len(mixed) == 1 else torch.cat(mixed)
        return every.transpose(1, 2).reshape(-1, self.heads * self.width)


def _joined(attention: Any) -> nn.Linear:
    """Query, key and value of a `ClapAudioSelfAttention` as one product."""
    parts = (attention.query, attention.key, attention.value)
    made = nn.Linear(parts[0].in_features, sum(part.out_features for part in parts), bias=parts[0].bias is not None)
    made.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
    if parts[0].bias is not None:
        made.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
    return made
