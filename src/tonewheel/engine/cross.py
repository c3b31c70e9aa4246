"""Keys and values that are computed once a request: those of the text a decoder looks at (cross-attention)."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from tonewheel.engine.model import Batch, CacheShape

_STEP = 64  # text positions by which the room of a block grows


class CrossCache:
    """For each of `rows` at most one text, of its own length. A row without text looks at nothing and gets zeros.

    Row by row (CPU), each text is held alone, exactly as long as it is, until it is cleared. As a block (CUDA graphs
    need it), all rows have the room of the longest text so far, until `rest`.
    """

    def __init__(
        self, shape: CacheShape, rows: int, dtype: torch.dtype, device: torch.device, *, block: bool | None = None
    ) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self.lengths = [0] * rows  # on the host
        self.length_of = torch.zeros(rows, dtype=torch.int64, device=device)
        self.positions = 0  # room of the block
        self._block = device.type == "cuda" if block is None else block
        self._alone: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # row → [layers, heads, n, head_size]
        # [layers, rows, heads, positions, head_size]
        self._keys = self._values = torch.zeros(0, dtype=dtype, device=device)

    @property
    def bytes(self) -> int:
        held = [
            *(t for pair in self._alone.values() for t in pair),
            *((self._keys, self._values) * bool(self.positions)),
        ]
        return sum(t.numel() * t.element_size() for t in held)

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keys and values [layers, heads, n, head_size] of a row's text."""
        count = keys.shape[2]
        self.lengths[row] = count
        self.length_of[row] = count
        if not self._block:
            self._alone[row] = self._own(keys), self._own(values)
            return
        if count > self.positions:
            self._grow(-(-count // _STEP) * _STEP)
        self._keys[:, row, :, :count] = keys.to(self.dtype)
        self._values[:, row, :, :count] = values.to(self.dtype)

    def alone(self, row: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Keys and values [layers, heads, n, head_size] of a row's text where each is held alone; None = no text."""
        return self._alone.get(row)

    def clear(self, row: int) -> None:
        """The row looks at nothing."""
        self.lengths[row] = 0
        self.length_of[row] = 0
        self._alone.pop(row, None)

    def rest(self) -> None:
        """Give the block back, once no row has a text."""
        if not any(self.lengths):
            self.positions = 0
            self._keys = self._values = torch.zeros(0, dtype=self.dtype, device=self.device)

    def looking(self, batch: Batch, *, both: bool) -> torch.Tensor:
        """Which of a step's rows take part [C]: row by row, those with a text; as a block, the conditional rows, or all
        where some request's other branch has a text, too (`both`)."""
        if batch.visible is None:
            found = [n for n, row in enumerate(batch.rows.tolist()) if self.lengths[row]]
            return torch.tensor(found, dtype=torch.int64, device=self.device)
        return torch.arange(len(batch.rows), device=self.device) if both else batch.conditional

    def attend(self, layer: int, queries: torch.Tensor, rows: torch.Tensor, block: bool) -> torch.Tensor:
        """From queries [C, H, D] of cache rows [C] → [C, H, D]."""
        if block:
            self._as_block()
            keys, values = self._keys[layer], self._values[layer]
            lengths = self.length_of[rows][:, None, None, None]
            seen = torch.arange(self.positions, device=self.device) < lengths.clamp(min=1)
            out = scaled_dot_product_attention(queries[:, :, None], keys[rows], values[rows], attn_mask=seen)
            return torch.where(lengths > 0, out, 0).squeeze(2)
        out = torch.empty_like(queries)
        for n, row in enumerate(rows.tolist()):
            keys, values = self._of(layer, row)
            out[n] = scaled_dot_product_attention(queries[n : n + 1, :, None], keys[None], values[None])[0, :, 0]
        return out

    def attend_many(self, layer: int, queries: torch.Tensor, row: int) -> torch.Tensor:
        """From many queries [H, n, D] of one row to its text → [H, n, D]."""
        keys, values = self._of(layer, row)
        return scaled_dot_product_attention(queries[None], keys[None], values[None])[0]

    def _of(self, layer: int, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [heads, n, head_size] of a row's text."""
        if not self._block:
            keys, values = self._alone[row]
            return keys[layer], values[layer]
        length = self.lengths[row]
        return self._keys[layer, row, :, :length], self._values[layer, row, :, :length]

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.dtype, copy=True, memory_format=torch.contiguous_format)

    def _as_block(self) -> None:
        """A CPU that reads as a block (tests do) holds a block from the first time on."""
        if not self._block:
            self._block, alone, self._alone = True, self._alone, {}
            for row, (keys, values) in alone.items():
                self.put(row, keys, values)

    def _grow(self, positions: int) -> None:
        layers, heads, size = self.shape.layers, self.shape.heads, self.shape.head_size
        shape = (layers, len(self.lengths), heads, positions, size)
        keys = torch.zeros(shape, dtype=self.dtype, device=self.device)
        values = torch.zeros_like(keys)
        if self.positions:
            keys[:, :, :, : self.positions] = self._keys
            values[:, :, :, : self.positions] = self._values
        self._keys, self._values, self.positions = keys, values, positions
