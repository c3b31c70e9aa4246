"""What texts take of the tokens that the model reads."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any

from tonewheel.models.ace_step.prepared import Words

MAX_TEXT_TOKENS, MAX_LYRIC_TOKENS = 256, 2048  # what it was trained on


class Measure:
    """Thread-safe, with a tokenizer of its own: padding and truncation are a tokenizer's state, so that one at work for
    the pipeline must not be asked from elsewhere ("Already borrowed")."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._tokenizer = copy.deepcopy(pipeline.tokenizer)
        commands = {t.content for t in self._tokenizer.added_tokens_decoder.values() if t.special}
        self._commands = sorted(commands, key=len, reverse=True)
        self._lock = threading.Lock()

    def without_commands(self, text: str) -> str:
        """Without what the tokenizer takes for a command (`<|endoftext|>`): a text must not end the prompt."""
        for command in self._commands:
            text = text.replace(command, " ")
        return text.strip()

    def lyrics(self, words: Words) -> int:
        """How many tokens the lyrics take, heading included."""
        return len(self._ids(self._pipeline._format_prompt(words.prompt, words.lyrics, words.language)[1]))

    def fitting(self, words: Words, task: str) -> tuple[Words, int]:
        """The words with as much of the prompt as fits beside tempo and key, which stand behind it; and how many of its
        tokens were left out. The pipeline would cut off what stands behind."""
        ids = self._ids(words.prompt)
        kept = len(ids)
        while kept and (over := self._text(words, task) - MAX_TEXT_TOKENS) > 0:
            kept = max(0, kept - over)
            words = replace(words, prompt=self._tokenizer.decode(ids[:kept]).rstrip("\ufffd "))
        return words, len(ids) - kept

    def _text(self, words: Words, task: str) -> int:
        """Tokens of the text, at the longest of the instructions that a call may need."""
        lengths = []
        for instruction in {self._pipeline._get_task_instruction(kind) for kind in (task, "text2music")}:
            text, _ = self._pipeline._format_prompt(
                words.prompt, "", words.language, 600.0, instruction, words.bpm, words.key, words.meter
            )
            lengths.append(len(self._ids(text)))
        return max(lengths)

    def _ids(self, text: str) -> list[int]:
        with self._lock:
            ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids
