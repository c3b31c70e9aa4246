"""Keys and values that are computed once a request: those of the text a decoder looks at (cross-attention)."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from tonewheel.engine.model import Batch, CacheShape

_STEP = 64  # text positions by which the room grows


class CrossCache:
    """For each of `rows` at most one text, of its own length. A row without text looks at nothing and gets zeros."""

    def __init__(self, shape: CacheShape, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self.lengths = [0] * rows  # on the host
        self.length_of = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions = 0
        # [layers, rows, heads, positions, head_size]
        self.keys = self.values = torch.zeros(0, dtype=dtype, device=device)

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keys and values [layers, heads, n, head_size] of a row's text."""
        count = keys.shape[2]
        if count > self.positions:
            self._grow(-(-count // _STEP) * _STEP)
        self.keys[:, row, :, :count] = keys.to(self.dtype)
        self.values[:, row, :, :count] = values.to(self.dtype)
        self.lengths[row] = count
        self.length_of[row] = count

    def clear(self, row: int) -> None:
        """The row looks at nothing."""
        self.lengths[row] = 0
        self.length_of[row] = 0

    def looking(self, batch: Batch, *, both: bool) -> torch.Tensor:
        """Which of a step's rows take part [C]: row by row, those with a text; as a block, the conditional rows, or all
        where some request's other branch has a text, too (`both`)."""
        if batch.visible is None:
            found = [n for n, row in enumerate(batch.rows.tolist()) if self.lengths[row]]
            return torch.tensor(found, dtype=torch.int64, device=self.device)
        return torch.arange(len(batch.rows), device=self.device) if both else batch.conditional

    def attend(self, layer: int, queries: torch.Tensor, rows: torch.Tensor, block: bool) -> torch.Tensor:
        """From queries [C, H, D] of cache rows [C] → [C, H, D]."""
        keys, values = self.keys[layer], self.values[layer]
        if block:
            lengths = self.length_of[rows][:, None, None, None]
            seen = torch.arange(self.positions, device=self.device) < lengths.clamp(min=1)
            out = scaled_dot_product_attention(queries[:, :, None], keys[rows], values[rows], attn_mask=seen)
            return torch.where(lengths > 0, out, 0).squeeze(2)
        out = torch.empty_like(queries)
        for n, row in enumerate(rows.tolist()):
            length = self.lengths[row]
            piece = keys[row : row + 1, :, :length], values[row : row + 1, :, :length]
            out[n] = scaled_dot_product_attention(queries[n : n + 1, :, None], *piece)[0, :, 0]
        return out

    def attend_many(self, layer: int, queries: torch.Tensor, row: int) -> torch.Tensor:
        """From many queries [H, n, D] of one row to its text → [H, n, D]."""
        length = self.lengths[row]
        keys, values = self.keys[layer, row, :, :length], self.values[layer, row, :, :length]
        return scaled_dot_product_attention(queries[None], keys[None], values[None])[0]

    def _grow(self, positions: int) -> None:
        layers, heads, size = self.shape.layers, self.shape.heads, self.shape.head_size
        shape = (layers, len(self.lengths), heads, positions, size)
        keys = torch.zeros(shape, dtype=self.dtype, device=self.device)
        values = torch.zeros_like(keys)
        if self.positions:
            keys[:, :, :, : self.positions] = self.keys
            values[:, :, :, : self.positions] = self.values
        self.keys, self.values, self.positions = keys, values, positions
