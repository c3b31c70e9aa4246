"""ACE-Step models loaded in this process from tiny checkpoints, and files to send them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tonewheel.models import registry
from tonewheel.models.ace_step.model import AceStep
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.base import Result, RunContext
from tonewheel.settings import settings

RATE = 48_000


def loaded(folder: Path, data: Path, model: str = "ace-step-turbo", **env: str) -> AceStep:
    """`folder` loaded as `model`, with `data` as the data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TONEWHEEL_{model.upper().replace('-', '_')}_PATH", str(folder))
        patch.setenv("TONEWHEEL_DATA_DIR", str(data))
        for name, value in env.items():
            patch.setenv(name, value)
        settings.cache_clear()
        try:
            made = registry.families()["ace_step"].create(registry.card(model))
            made.load(RunContext())
        finally:
            settings.cache_clear()
    assert isinstance(made, AceStep)
    return made


def ask(model: AceStep, context: RunContext | None = None, **fields: Any) -> Result:
    request = AceStepRequest.model_validate({"prompt": "a small band", "duration": 10.0, "seed": 3} | fields)
    return model.run(model.validate(request), context or RunContext())


def samples_of(result: Result) -> np.ndarray[Any, Any]:
    """[songs, n, 2]"""
    return np.stack([one["audio_base64"].samples for one in result.fields["waveforms"]])


def sound(seconds: float, seed: int = 1) -> np.ndarray[Any, Any]:
    """Noise that swells, [n, 2] float32."""
    n = round(seconds * RATE)
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0, 0.1, (n, 2))
    return (noise * np.linspace(0.2, 1.0, n)[:, None]).astype(np.float32)


def file_of(samples: np.ndarray[Any, Any], rate: int = RATE) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format="WAV", subtype="FLOAT")
    return data.getvalue()
