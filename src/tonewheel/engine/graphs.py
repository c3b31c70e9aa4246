"""CUDA graphs: a step is captured once for each shape it has and replayed; elsewhere it simply runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

_WARM_UP = 2  # runs before a capture, on a stream of their own: libraries allocate their work space then
_MOST = 64  # captured graphs kept


class Graphs:
    """`run(key, step)` replays what was captured for `key`. `step` reads and writes only tensors that stay.

    Warming up runs the step before it counts: the tensors that `state` names are put back after each of these runs,
    so that none is ever taken from a later state than the caller knows of.
    """

    def __init__(self, device: torch.device, state: Callable[[], list[torch.Tensor]] = list) -> None:
        self._device = device
        self.state = state
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        if self._device.type != "cuda":
            step()
            return
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._captured(step)
            if len(self._graphs) >= _MOST:
                self._graphs.pop(next(iter(self._graphs)))
            self._graphs[key] = graph
        graph.replay()

    def _captured(self, step: Callable[[], None]) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                kept = [t.clone() for t in self.state()]
                step()
                for tensor, was in zip(self.state(), kept, strict=True):
                    tensor.copy_(was)
        torch.cuda.current_stream(self._device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads decode audio meanwhile and may allocate: only this one's calls are recorded and checked.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            step()  # recorded, not run
        self._pool = self._pool or graph.pool()
        return graph

    def clear(self) -> None:
        """Tensors were replaced: what was captured points at the old ones."""
        self._graphs.clear()
