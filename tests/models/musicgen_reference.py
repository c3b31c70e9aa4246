"""transformers' own MusicGen, as the reference that ours is held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tonewheel.engine.kernels import Kernels
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, MusicgenPrompt


def reference(folder: Path) -> Any:
    """The checkpoint as transformers loads it, in float32 and in eval mode."""
    from transformers import MusicgenForConditionalGeneration, MusicgenMelodyForConditionalGeneration

    melody = json.loads((folder / "config.json").read_text())["model_type"] == "musicgen_melody"
    kind = MusicgenMelodyForConditionalGeneration if melody else MusicgenForConditionalGeneration
    model, told = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True, dtype=torch.float32)
    assert not told["missing_keys"] and not told["mismatched_keys"]
    return model.eval()


def decoder(folder: Path, model: Any, kernels: Kernels | None = None) -> MusicgenDecoder:
    """Ours, from the weights that transformers loaded (so that this compares the decoders, not the loaders)."""
    shape = DecoderShape.of(json.loads((folder / "config.json").read_text()))
    with torch.inference_mode():
        return MusicgenDecoder(
            shape, dict(model.state_dict()).__getitem__, device=torch.device("cpu"), dtype=torch.float32,
            kernels=kernels,
        )  # fmt: skip


def text_states(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The text encoder's states [n, width] of token ids [n]."""
    with torch.inference_mode():
        states: torch.Tensor = model.text_encoder(input_ids=ids[None]).last_hidden_state[0]
    return states


def generated(model: Any, ids: torch.Tensor, frames: int, scale: float, **more: Any) -> torch.Tensor:
    """Greedy codes [K, frames] of transformers' `generate`."""
    kept: list[torch.Tensor] = []
    decode = model.audio_encoder.decode
    model.audio_encoder.decode = lambda codes, *args, **kwargs: (kept.append(codes), decode(codes, *args, **kwargs))[1]
    stereo = model.decoder.config.audio_channels == 2
    lag = model.decoder.config.num_codebooks // (2 if stereo else 1) - 1
    try:
        with torch.inference_mode():
            model.generate(
                input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], do_sample=False,
                guidance_scale=scale, max_new_tokens=frames + lag, **more,
            )  # fmt: skip
    finally:
        model.audio_encoder.decode = decode
    codes = [c[0, 0] for c in kept]  # mono: [K, F]; stereo: left, then right
    if not stereo:
        return codes[0]
    return torch.stack([codes[0], codes[1]], dim=1).flatten(0, 1)


def prompt(model: Any, ids: torch.Tensor, **more: Any) -> MusicgenPrompt:
    return MusicgenPrompt(text=text_states(model, ids), **more)
