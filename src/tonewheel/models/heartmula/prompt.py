"""Texts as HeartMuLa reads them: tags and lyrics in lower case, as token ids between a begin and an end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tonewheel.errors import ModelBroken

if TYPE_CHECKING:
    from tonewheel.models.heartmula.checkpoint import Ids

_OPEN, _CLOSE = "<tag>", "</tag>"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Ids of the two texts of a song."""

    tags: tuple[int, ...]
    lyrics: tuple[int, ...]

    def __len__(self) -> int:
        """Positions of the prompt: between the two lies one slot."""
        return len(self.tags) + 1 + len(self.lyrics)


class Texts:
    """The tokenizer of a checkpoint."""

    def __init__(self, file: Path, ids: Ids, vocabulary: int) -> None:
        """Raises ModelBroken for a file that is no tokenizer, or the one of another model."""
        from tokenizers import Tokenizer  # noqa: PLC0415

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise ModelBroken(f"{file} cannot be read as a tokenizer: {error}") from None
        if self._tokenizer.get_vocab_size() > vocabulary:
            raise ModelBroken(
                f"{file} has {self._tokenizer.get_vocab_size()} tokens, the language model {vocabulary}: "
                "it is the tokenizer of another model"
            )
        self._ids = ids
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._commands = sorted((t.content for t in added if t.special), key=len, reverse=True)

    def __call__(self, tags: str, lyrics: str) -> Tokens:
        """`tags` comma-separated, `lyrics` in lines; either may be empty."""
        return Tokens(self._encoded(_OPEN + self._plain(tags) + _CLOSE), self._encoded(self._plain(lyrics)))

    def _plain(self, text: str) -> str:
        """Without what the tokenizer would take for a command (`<|end_of_text|>`): a text must not end the prompt."""
        text = text.lower()
        for command in (*self._commands, _OPEN, _CLOSE):
            text = text.replace(command.lower(), " ")
        return text

    def _encoded(self, text: str) -> tuple[int, ...]:
        found: list[int] = self._tokenizer.encode(text).ids
        begin = [] if found[:1] == [self._ids.text_bos_id] else [self._ids.text_bos_id]
        end = [] if found[-1:] == [self._ids.text_eos_id] else [self._ids.text_eos_id]
        return (*begin, *found, *end)
