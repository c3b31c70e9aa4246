"""Batched decoding of codec language models: many requests, one step for all of them.

    engine = Engine(model, slots=8)                       model: a `FrameModel`, its weights loaded
    running = engine.submit(GenerationRequest(prompt, frames=500, sampling=Sampling(seed=7)))
    ready = running.wait(50)                              until 50 frames are there, or it ended
    codes = running.codes(0, ready)                       [codebooks, frames]
    running.cancel()                                      its slot is free after the frame under way

Requests join and leave at every frame. What a request draws depends on its seed, step and codebook
alone, never on its neighbours. `docs/engine.md` walks through the rooms.
"""

from tonewheel.engine.engine import Engine
from tonewheel.engine.model import Batch, CacheShape, FrameModel, Sample
from tonewheel.engine.request import GenerationRequest, Sampling
from tonewheel.engine.sequence import Sequence

__all__ = ["Batch", "CacheShape", "Engine", "FrameModel", "GenerationRequest", "Sample", "Sampling", "Sequence"]
