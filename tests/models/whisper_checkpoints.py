"""Tiny random Whisper checkpoints on disk, in the layout of HeartTranscriptor: transformers' own.

    folder = make(tmp_path / "tiny")            some 500 kB, half a second

The real numbers of special tokens, languages aside, and of timestamps; all 256 bytes as text tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

LANGUAGES = ("en", "zh", "ja", "ko", "es")
SPECIAL = (
    "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)  # fmt: skip
TIMES = tuple(f"<|{0.02 * i:.2f}|>" for i in range(1501))
WRITTEN = "abcdefghijklmnopqrstuvwxyz"  # what it may write: other letters are suppressed


def make(folder: Path, *, seed: int = 14, width: int = 32, layers: int = 2) -> Path:
    """Write a checkpoint into `folder` (made if need be) and return it."""
    from transformers import WhisperFeatureExtractor

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    _model(tokenizer, seed, width, layers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    """Byte-level, without merges: 256 letters, then what Whisper adds, in its order."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import WhisperTokenizer

    letters = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = WhisperTokenizer(vocab=letters, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.add_tokens(list(TIMES))
    return tokenizer


def _model(tokenizer: Any, seed: int, width: int, layers: int) -> Any:
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    begin, end = ids["<|startoftranscript|>"], ids["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width,
        decoder_start_token_id=begin, bos_token_id=end, eos_token_id=end, pad_token_id=end,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(config).eval()
        _spread(model, end)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=begin, bos_token_id=end, eos_token_id=end, pad_token_id=end, is_multilingual=True,
        lang_to_id={f"<|{code}|>": ids[f"<|{code}|>"] for code in LANGUAGES},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], max_initial_timestamp_index=50, max_length=448,
        begin_suppress_tokens=[end], return_timestamps=False,
        suppress_tokens=[i for text, i in tokenizer.get_vocab().items() if len(text) == 1 and text not in WRITTEN],
    )  # fmt: skip
    return model


@torch.no_grad()
def _spread(model: Any, end: int) -> None:
    """Weights of more than unit gain, so that what is written depends on what is heard."""
    for name, tensor in model.named_parameters():
        if tensor.ndim == 1:
            tensor.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.1)
        elif "encoder.embed_positions" not in name:
            tensor.normal_(0, 2.0 * tensor[0].numel() ** -0.5)
    model.model.decoder.embed_tokens.weight[end] *= 3.0  # windows end soon


def rewrite_json(path: Path, **changes: Any) -> None:
    """Change entries of a configuration, None = take it out."""
    said = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))
