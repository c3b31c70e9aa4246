"""The authors' own code, as published on PyPI, to hold ours to.

It is installed without its dependencies (`make test` does): it names torchaudio, which does not load beside a CPU
build of torch and then breaks transformers, too. Only the front end needs it; the rest is imported here with an
empty module in its place, which is gone again afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def _inference() -> Any:
    had = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = had or ModuleType("torchaudio")
    try:
        from beat_this import inference
    finally:
        if had is None:
            del sys.modules["torchaudio"]
    return inference


def load(path: Path) -> Any:
    """The reference network with the weights of a checkpoint; it refuses a key too many or too few."""
    return _inference().load_model(str(path))


def logits(network: Any, frames: Tensor) -> Tensor:
    """Logits `[T, 2]` of `frames [T, 128]`, chunked as upstream does."""
    with torch.inference_mode():
        found = _inference().split_predict_aggregate(frames, 1500, 6, "keep_first", network)
    return torch.stack((found["beat"], found["downbeat"]), dim=-1)


def pick(found: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Beats and downbeats of logits `[T, 2]` by upstream's minimal post-processing."""
    from beat_this.model.postprocessor import Postprocessor

    beats, downbeats = Postprocessor("minimal")(found[:, 0], found[:, 1])
    return beats, downbeats
