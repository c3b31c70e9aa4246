"""Keys and values of all slots: static tensors with a row axis, as large as what was asked for.

Two ways to read it, of the same meaning. *Row by row* reads each row exactly as far as it is filled:
no position is read for nothing, which on a CPU, where memory is the limit, is what counts. *As a block*
reads the same number of positions of every row under a mask: one call with static shapes, as CUDA
graphs need it.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from tonewheel.engine.model import Batch, CacheShape

POSITIONS_STEP = 256  # capacity grows by so many: few reallocations, little waste


class KeyValueCache:
    """`keys[layer]`, `values[layer]`: [rows, heads, positions, head_size]. The last position is never read: rows that
    sit out of a captured step write there."""

    def __init__(self, shape: CacheShape, dtype: torch.dtype, device: torch.device, step: int = POSITIONS_STEP) -> None:
        self.shape, self.dtype, self.device = shape, dtype, device
        self._step = step
        self.rows = self.positions = 0
        self.version = 0  # counts how often the tensors were replaced
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    @property
    def bytes(self) -> int:
        return self.shape.bytes(self.rows, self.positions, self.dtype.itemsize)

    def rounded(self, positions: int) -> int:
        """Capacity that holds `positions` and the spare one."""
        return -(-(positions + 1) // self._step) * self._step

    def bytes_for(self, rows: int, positions: int) -> int:
        """What it would hold after `reserve(rows, positions)`."""
        return self.shape.bytes(max(self.rows, rows), max(self.positions, self.rounded(positions)), self.dtype.itemsize)

    def reserve(self, rows: int, positions: int) -> bool:
        """Make room for rows 0 … rows - 1 of so many positions; what is there is kept. True if tensors were replaced.

        Layer by layer, so that no second whole copy is ever held.
        """
        rows, positions = max(self.rows, rows), max(self.positions, self.rounded(positions))
        if (rows, positions) == (self.rows, self.positions):
            return False
        self.version += 1
        for kind in (self.keys, self.values):
            for layer in range(self.shape.layers):
                size = (rows, self.shape.heads, positions, self.shape.head_size)
                # Zeros, not whatever was there: a masked position counts nothing only if it is a finite number.
                fresh = torch.zeros(size, dtype=self.dtype, device=self.device)
                if layer < len(kind):
                    # What is there may be larger already: memory may have ended in the middle of growing before.
                    fresh[: self.rows, :, : self.positions] = kind[layer][: self.rows, :, : self.positions]
                    kind[layer] = fresh
                else:
                    kind.append(fresh)
        self.rows, self.positions = rows, positions
        return True

    def release(self) -> None:
        """Give all of it back."""
        self.keys, self.values, self.rows, self.positions = [], [], 0, 0
        self.version += 1

    def wipe(self, first: int, last: int) -> None:
        """Zeros in rows first … last - 1: where all positions are read under a mask, what is not a finite number spoils
        the sum even though it is masked."""
        for tensor in (*self.keys, *self.values):
            tensor[first:last] = 0

    def put(self, layer: int, row: int, start: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keys and values [heads, n, head_size] that were computed before, at a row's positions from `start` on."""
        self.keys[layer][row, :, start : start + keys.shape[1]] = keys
        self.values[layer][row, :, start : start + values.shape[1]] = values

    def taken(self, layer: int, row: int, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of a row's keys and values [heads, n, head_size] at positions start … stop - 1."""
        return self.keys[layer][row, :, start:stop].clone(), self.values[layer][row, :, start:stop].clone()

    # ── a step: one position a row ──

    def attend(
        self, layer: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, batch: Batch
    ) -> torch.Tensor:
        """Keep this step's keys and values [R, H, D] and attend from queries [R, Hq, D] to all so far → [R, Hq, D]."""
        held_k, held_v = self.keys[layer], self.values[layer]
        held_k[batch.rows, :, batch.positions] = keys.to(self.dtype)
        held_v[batch.rows, :, batch.positions] = values.to(self.dtype)
        count, heads, size = queries.shape
        # Query heads that share keys stand as further queries of one head: no key is read or copied twice.
        grouped = queries.view(count, self.shape.heads, heads // self.shape.heads, size).to(self.dtype)
        if batch.visible is not None:
            block = slice(0, count), slice(None), slice(0, batch.length)
            seen = scaled_dot_product_attention(grouped, held_k[block], held_v[block], attn_mask=batch.visible)
            return seen.reshape(count, heads, size).to(queries.dtype)
        out = torch.empty_like(grouped)
        for span in batch.spans:
            block = slice(span.row, span.row + span.stop - span.start), slice(None), slice(0, span.length)
            out[span.start : span.stop] = scaled_dot_product_attention(
                grouped[span.start : span.stop], held_k[block], held_v[block]
            )
        return out.view(count, heads, size).to(queries.dtype)

    # ── many positions of neighbouring rows ──

    def extend(
        self, layer: int, row: int, start: int, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Keep keys and values [r, H, n, D] at positions start … start + n - 1 of rows row … row + r - 1, and attend
        causally from queries [r, Hq, n, D] → [r, Hq, n, D]."""
        count, heads, new, size = queries.shape
        groups = heads // self.shape.heads
        stop = start + new
        rows = slice(row, row + count)
        self.keys[layer][rows, :, start:stop] = keys.to(self.dtype)
        self.values[layer][rows, :, start:stop] = values.to(self.dtype)
        past = torch.ones(new, stop, dtype=torch.bool, device=self.device).tril(diagonal=start)
        seen = scaled_dot_product_attention(
            queries.reshape(count, self.shape.heads, groups * new, size).to(self.dtype),
            self.keys[layer][rows, :, :stop],
            self.values[layer][rows, :, :stop],
            attn_mask=past.repeat(groups, 1),
        )
        return seen.reshape(count, heads, new, size).to(queries.dtype)
