"""Stable Audio models loaded in this process from tiny checkpoints, and files to send them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from stable_audio_checkpoints import RATE

from tonewheel.models import registry
from tonewheel.models.base import Result, RunContext
from tonewheel.models.stable_audio.model import StableAudio3, StableAudioOpen
from tonewheel.models.stable_audio.request import StableAudioRequest
from tonewheel.settings import settings

Array = np.ndarray[Any, Any]
Loaded = StableAudioOpen | StableAudio3
MODELS = {"open": "stable-audio-open", "sa3": "stable-audio-3-medium", "sa3-base": "stable-audio-3-medium-base"}


def model_of(recipe: str) -> str:
    """The id of the model that a checkpoint of this recipe is."""
    return MODELS[recipe.removesuffix("-bin").removesuffix("-47")]


def loaded(folder: Path, data: Path, model: str, **env: str) -> Loaded:
    """`folder` loaded as `model`, with `data` as the data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TONEWHEEL_{model.upper().replace('-', '_')}_PATH", str(folder))
        patch.setenv("TONEWHEEL_DATA_DIR", str(data))
        for name, value in env.items():
            patch.setenv(name, value)
        settings.cache_clear()
        try:
            made = registry.families()["stable_audio"].create(registry.card(model))
            made.load(RunContext())
        finally:
            settings.cache_clear()
    assert isinstance(made, (StableAudioOpen, StableAudio3))
    return made


def ask(model: Loaded, context: RunContext | None = None, **fields: Any) -> Result:
    asked = {"prompt": "warm drums", "duration": 1.0, "num_inference_steps": 10, "seed": 3} | fields
    request = StableAudioRequest.model_validate({name: value for name, value in asked.items() if value is not None})
    return model.run(model.validate(request), context or RunContext())


def waveforms(result: Result) -> list[Array]:
    """[n, 2] each."""
    return [one["audio_base64"].samples for one in result.fields["waveforms"]]


def seeds(result: Result) -> list[int]:
    return [one["seed"] for one in result.fields["waveforms"]]


def generators(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


def by_hand(folder: Path, kind: str = "text") -> Callable[..., Array]:
    """The pipeline of diffusers as its own users load and call it → [waveforms, n, 2]."""
    import diffusers

    kinds = {"vary": diffusers.StableAudio3AudioToAudioPipeline, "anew": diffusers.StableAudio3InpaintPipeline}
    of_text = diffusers.StableAudioPipeline if folder.name.startswith("open") else diffusers.StableAudio3Pipeline
    pipeline = kinds.get(kind, of_text).from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)

    def call(**asked: Any) -> Array:
        return np.ascontiguousarray(pipeline(**asked).audios.numpy().transpose(0, 2, 1))

    return call


def recording(seconds: float, seed: int = 1, channels: int = 2) -> Array:
    """Noise that swells, [n, channels]."""
    n = round(seconds * RATE)
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0, 0.1, (n, channels))
    return (noise * np.linspace(0.2, 1.0, n)[:, None]).astype(np.float32)


def file_of(samples: Array, rate: int = RATE) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format="WAV", subtype="FLOAT")
    return data.getvalue()
