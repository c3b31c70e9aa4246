"""Layers kept in memory: least recently used ones make room. Safe to use from several threads."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from tonewheel.composer.synth.voice import Layers

Key = tuple[str, int, float]  # instrument, pitch, seconds


class LayerCache:
    """At most `capacity` bytes of layers."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.held = 0
        self._lock = Lock()
        self._entries: OrderedDict[Key, Layers] = OrderedDict()

    def get(self, key: Key) -> Layers | None:
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: Key, layers: Layers) -> None:
        """Keep `layers`, unless they alone would take more than a quarter of the room."""
        if layers.bytes * 4 > self.capacity:
            return
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = layers
            self.held += layers.bytes
            while self.held > self.capacity:
                _, dropped = self._entries.popitem(last=False)
                self.held -= dropped.bytes

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self.held = 0
