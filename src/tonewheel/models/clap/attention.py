"""CLAP's audio tower made faster: its window attention by torch's fused kernel, its products by ours.

transformers adds the table of relative positions and the mask of shifted windows to every score in steps of their
own. Here both are one mask, made once, and query, key and value one product: a third less time on a CPU for the
same numbers (to 1e-7).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tonewheel.engine.kernels import quick_feed, quick_linear


class WindowAttention(nn.Module):
    """Stands in for a `ClapAudioSelfAttention`, with its weights. For inference only."""

    positions: Tensor

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.heads, self.width = original.num_attention_heads, original.attention_head_size
        parts = (original.query, original.key, original.value)
        biased = original.query.bias is not None
        self.qkv = nn.Linear(original.query.in_features, 3 * self.heads * self.width, bias=biased)
        self.qkv.weight = nn.Parameter(torch.cat([part.weight for part in parts]), requires_grad=False)
        if biased:
            self.qkv.bias = nn.Parameter(torch.cat([part.bias for part in parts]), requires_grad=False)
        tokens = original.window_size[0] * original.window_size[1]
        table = original.relative_position_bias_table[original.relative_position_index.view(-1)]
        self.register_buffer("positions", table.view(tokens, tokens, -1).permute(2, 0, 1).contiguous())  # [h, n, n]
        self._masks: dict[int, Tensor] = {}  # by the number of windows: a block always gets the same mask

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, output_attentions: bool = False
    ) -> tuple[Tensor]:
        """`hidden_states [b · w, n, c]` of w windows of n tokens; `attention_mask [w, n, n]`, None = w may be taken
        for 1. Returns `[b · w, n, c]`."""
        rows, tokens, channels = hidden_states.shape
        windows = 1 if attention_mask is None else len(attention_mask)
        batch = rows // windows
        qkv = self.qkv(hidden_states).view(batch, windows, tokens, 3, self.heads, self.width)
        # Windows beside heads: the kernel takes one mask for a whole batch.
        query, key, value = (
            part.reshape(batch, windows * self.heads, tokens, self.width)
            for part in qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        )
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=self._mask(windows, attention_mask).to(query.dtype)
        )
        mixed = mixed.view(batch, windows, self.heads, tokens, self.width).transpose(2, 3)
        return (mixed.reshape(rows, tokens, channels),)

    def _mask(self, windows: int, attention_mask: Tensor | None) -> Tensor:
        if windows not in self._masks:
            mask = self.positions.unsqueeze(0)
            if attention_mask is not None:
                mask = (mask + attention_mask.unsqueeze(1)).flatten(0, 1).unsqueeze(0)  # [1, w · h, n, n]
            self._masks[windows] = mask
        return self._masks[windows]


def quicken(network: Any, *, products: bool) -> None:
    """Give every block of a ClapModel's audio tower the fused attention and, with `products`, the fastest float32
    products of the machine."""
    for stage in network.audio_model.audio_encoder.layers:
        for block in stage.blocks:
            block.attention.self = WindowAttention(block.attention.self)
            if products:
                _quicken_products(block)
        if products and stage.downsample is not None:
            stage.downsample.reduction = quick_linear(stage.downsample.reduction)


def _quicken_products(block: Any) -> None:
    attention = block.attention
    attention.self.qkv = quick_linear(attention.self.qkv)
    attention.output.dense = quick_linear(attention.output.dense)
    plain_gelu = getattr(block.intermediate.intermediate_act_fn, "act", None) is functional.gelu
    feed = quick_feed(block.intermediate.dense, "gelu", block.output.dense) if plain_gelu else None
    if feed is not None:
        block.intermediate, block.output = nn.Identity(), feed
