"""Words to what the transformer attends to: T5's encoder, as MusicGen was trained with it."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tonewheel.errors import ModelBroken
from tonewheel.models.musicgen.checkpoint import TEXT, Checkpoint
from tonewheel.models.tensor_files import fill

log = logging.getLogger(__name__)

MAX_TOKENS = 512  # T5 was trained on so many; MusicGen on descriptions of some ten to a hundred
_KEPT = 64  # encodings


@dataclass(frozen=True, slots=True)
class Encoded:
    """`states` [tokens, width] float32 on the model's device; `left_out` tokens were too many."""

    states: Tensor
    left_out: int = 0


class TextEncoder:
    """Tokenizer and encoder. Thread-safe; the last texts are remembered."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, max_tokens: int = MAX_TOKENS) -> None:
        """A longer text is cut after `max_tokens`. Raises ModelBroken."""
        self.max_tokens = max_tokens
        self._tokenizer = load_tokenizer(checkpoint.folder)
        self._encoder = _load_encoder(checkpoint).to(device)
        self._device = device
        self._known: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, text: str) -> Encoded | None:
        """The encoding of a text; None for an empty one, which says nothing."""
        if not text.strip():
            return None
        with self._lock:  # one text at a time: it takes 50 ms, and the threads are the decoder's
            if text not in self._known:
                self._known[text] = self._encode(text)
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
            self._known.move_to_end(text)
            return self._known[text]

    @torch.inference_mode()
    def _encode(self, text: str) -> Encoded:
        ids: list[int] = self._tokenizer(text, add_special_tokens=True)["input_ids"]
        left_out = max(0, len(ids) - self.max_tokens)
        if left_out:
            ids = [*ids[: self.max_tokens - 1], ids[-1]]  # the last one says that the text ends
        known = torch.tensor([ids], device=self._device)
        states = self._encoder(input_ids=known, attention_mask=torch.ones_like(known)).last_hidden_state[0]
        return Encoded(states.float(), left_out)


def load_tokenizer(folder: Path) -> Any:
    """T5's tokenizer in a folder (`tokenizer.json`, or `spiece.model` alone), never from a hub. Raises ModelBroken."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model")):
        raise ModelBroken(f"{folder} has no tokenizer: there is neither tokenizer.json nor spiece.model in it")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it would warn of forks that never happen
    from transformers import AutoTokenizer  # noqa: PLC0415  (seconds)

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raise bare Exceptions for files they cannot read
        raise ModelBroken(f"the tokenizer in {folder} cannot be read: {str(error)[:200]}") from None


def _load_encoder(checkpoint: Checkpoint) -> Any:
    from transformers import T5Config, T5EncoderModel  # noqa: PLC0415

    config = T5Config.from_dict(dict(checkpoint.text))
    with torch.device("meta"):
        encoder = T5EncoderModel(config)
    found = {name.removeprefix(TEXT): tensor for name, tensor in checkpoint.tensors(TEXT, dtype=torch.float32)}
    # One table under two names, of which files keep either or both; T5's own decoder is never used.
    table = found.get("shared.weight", found.get("encoder.embed_tokens.weight"))
    if table is not None:
        found |= {"shared.weight": table, "encoder.embed_tokens.weight": table}
    used = {name: tensor for name, tensor in found.items() if not name.startswith(("decoder.", "lm_head."))}
    fill(encoder, used, "text encoder")
    encoder.tie_weights()
    return encoder.requires_grad_(False).train(False)
