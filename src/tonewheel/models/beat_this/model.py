"""Beat This behind the four verbs: bytes of a recording in, beats out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel.audio.incoming import Limits, Sound, decode, warm
from tonewheel.audio.rhythm import Rhythm
from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Card, Model, Result, RunContext
from tonewheel.models.beat_this import peaks
from tonewheel.models.beat_this.card import LONGEST_S
from tonewheel.models.beat_this.checkpoint import find_weights, load_network
from tonewheel.models.beat_this.contract import STRICT_CHANNELS, STRICT_RATE, STRICT_S, BeatThisRequest
from tonewheel.models.beat_this.frames import logits_of
from tonewheel.models.beat_this.frontend import FPS, SAMPLE_RATE, SHORTEST_S, LogMel
from tonewheel.models.beat_this.network import BeatThis
from tonewheel.models.device import best_device
from tonewheel.settings import weights_dir

_LIMITS = Limits(seconds=LONGEST_S, least_seconds=SHORTEST_S)
_DECODED, _HEARD = 0.1, 0.98  # shares of the work, as progress tells them
_BATCH = {"cpu": 1, "cuda": 8}  # chunks at once: on a CPU more only take more memory


class BeatTracker(Model[BeatThisRequest]):
    """One checkpoint and its front end."""

    _network: BeatThis
    _mel: LogMel

    def __init__(self, card: Card) -> None:
        super().__init__(card)
        self.device = best_device().type

    def load(self, context: RunContext) -> None:
        context.progress("weights", 0.0)
        warm()
        folder = weights_dir(self.card.id, self.card.revision)
        self._network = load_network(find_weights(folder, self.card)).to(self.device)
        self._mel = LogMel(self.device)
        context.progress("warm up", 0.8)
        self.logits(np.zeros(SAMPLE_RATE, np.float32))

    def validate(self, request: BeatThisRequest) -> BeatThisRequest:
        if request.postprocess == "dbn":
            raise InvalidRequest(
                "postprocess: dbn is not there: it needs madmom, whose models may not be used commercially and "
                "which does not build on this Python; use minimal, with which Beat This is as exact",
                param="postprocess",
            )
        return request

    def run(self, request: BeatThisRequest, context: RunContext) -> Result:
        context.progress("decode", 0.0)
        sound = decode(
            request.audio, _LIMITS, rate=SAMPLE_RATE, mono=True, param="audio", check=context.check_cancelled
        )
        if request.strict:
            _check_strict(sound)
        logits = self.logits(sound.samples[:, 0], context)
        rhythm = Rhythm(*peaks.pick(logits))
        fields = {
            **rhythm.to_dict(),
            "duration": sound.duration_s,
            "frames": _frames(logits) if request.frames else None,
            "model": self.card.id,
        }
        return Result(fields, duration_s=sound.duration_s)

    def logits(self, samples: NDArray[np.float32], context: RunContext | None = None) -> torch.Tensor:
        """Logits `[T, 2]` of `samples [n]` at 22,050 Hz, 50 frames a second."""
        with torch.inference_mode():
            frames = self._mel(torch.from_numpy(samples))
        tell = context or RunContext()
        return logits_of(
            self._network, frames, batch=_BATCH[self.device],
            on_progress=lambda share: tell.progress("beats", _DECODED + (_HEARD - _DECODED) * share),
        )  # fmt: skip

    def release(self) -> None:
        del self._network, self._mel


def _check_strict(sound: Sound) -> None:
    """Raises InvalidRequest for all but 22,050 Hz, mono, at most 30 s."""
    rate, channels, seconds = sound.source_rate, sound.source_channels, sound.duration_s
    if rate == STRICT_RATE and channels == STRICT_CHANNELS and seconds <= STRICT_S:
        return
    kind = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
    raise InvalidRequest(
        f"strict mode takes exactly {STRICT_RATE} Hz, mono, at most {STRICT_S:.0f} s; this is {rate} Hz, {kind}, "
        f"{seconds:.2f} s: convert it, or send strict: false",
        param="audio",
    )


def _frames(logits: torch.Tensor) -> dict[str, object]:
    beat, downbeat = logits.sigmoid().T.tolist()
    return {"beat_probs": beat, "downbeat_probs": downbeat, "fps": FPS, "num_frames": len(logits)}
