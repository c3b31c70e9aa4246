"""What texts take of the tokens that the model reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tonewheel.models.ace_step.prepared import Words
from tonewheel.models.diffusion.tokens import OwnTokenizer

MAX_TEXT_TOKENS, MAX_LYRIC_TOKENS = 256, 2048  # what it was trained on


class Measure:
    """Thread-safe, also while the pipeline is at work."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline, self._tokenizer = pipeline, OwnTokenizer(pipeline.tokenizer)

    def without_commands(self, text: str) -> str:
        """Without what the tokenizer takes for a command (`<|endoftext|>`): a text must not end the prompt."""
        for command in self._tokenizer.commands:
            text = text.replace(command, " ")
        return text.strip()

    def lyrics(self, words: Words) -> int:
        """How many tokens the lyrics take, heading included."""
        return self._tokenizer.count(self._pipeline._format_prompt(words.prompt, words.lyrics, words.language)[1])

    def fitting(self, words: Words, task: str) -> tuple[Words, int]:
        """The words with as much of the prompt as fits beside tempo and key, which stand behind it; and how many of its
        tokens were left out. The pipeline would cut off what stands behind."""
        ids = self._tokenizer.ids(words.prompt)
        kept = len(ids)
        while kept and (over := self._text(words, task) - MAX_TEXT_TOKENS) > 0:
            kept = max(0, kept - over)
            words = replace(words, prompt=self._tokenizer.text(ids[:kept]).rstrip("\ufffd "))
        return words, len(ids) - kept

    def _text(self, words: Words, task: str) -> int:
        """Tokens of the text, at the longest of the instructions that a call may need."""
        lengths = []
        for instruction in {self._pipeline._get_task_instruction(kind) for kind in (task, "text2music")}:
            text, _ = self._pipeline._format_prompt(
                words.prompt, "", words.language, 600.0, instruction, words.bpm, words.key, words.meter
            )
            lengths.append(self._tokenizer.count(text))
        return max(lengths)
