"""How many tokens a text takes, asked while the pipeline is at work."""

from __future__ import annotations

import copy
import threading
from typing import Any


class OwnTokenizer:
    """A copy of a tokenizer, for any thread.

    Padding and truncation are a tokenizer's state: one that is asked from two threads counts what was cut and hands the
    pipeline what should have been cut.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        commands = {t.content for t in self._tokenizer.added_tokens_decoder.values() if t.special}
        self.commands: tuple[str, ...] = tuple(sorted(commands, key=len, reverse=True))
        self._lock = threading.Lock()

    def ids(self, text: str) -> list[int]:
        """All of them, whatever the model reads."""
        with self._lock:
            ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def text(self, ids: list[int]) -> str:
        with self._lock:
            return str(self._tokenizer.decode(ids))

    def count(self, text: str) -> int:
        return len(self.ids(text))
