"""HeartTranscriptor behind the four verbs: bytes of a song in, its words out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import StoppingCriteriaList

from tonewheel.audio.incoming import Limits, decode, warm
from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Model, Result, RunContext
from tonewheel.models.device import best_device
from tonewheel.models.heart_transcriptor.card import LONGEST_S, SAMPLE_RATE
from tonewheel.models.heart_transcriptor.checkpoint import load
from tonewheel.models.heart_transcriptor.contract import TranscriptionRequest
from tonewheel.models.heart_transcriptor.frontend import WINDOW, LogMel
from tonewheel.models.heart_transcriptor.memory import BEAMS, NEW_TOKENS
from tonewheel.settings import weights_dir

_LIMITS = Limits(seconds=LONGEST_S)
_DECODED = 0.05  # share of the work, as progress tells it
_BLOCK = SAMPLE_RATE // 10
# A Whisper makes up words where there is nothing. What is quieter than -60 dBFS for a tenth of a second is silence;
# before the first sound and after the last it is not listened to, but for a second.
_SILENCE, _MARGIN = 1e-3, 10
# As HeartMuLa's authors have it: a window that repeats itself or is unlikely is written down again, less strictly.
_AS_PUBLISHED: dict[str, Any] = {
    "max_new_tokens": NEW_TOKENS, "num_beams": BEAMS, "temperature": (0.0, 0.1, 0.2, 0.4),
    "compression_ratio_threshold": 1.8, "logprob_threshold": -1.0, "no_speech_threshold": 0.4,
    "condition_on_prev_tokens": False,
}  # fmt: skip
_SEED = 0  # of what is drawn the second time: the same recording has the same words


class Transcriptor(Model[TranscriptionRequest]):
    """One checkpoint and its front end."""

    _network: Any  # Whisper; transformers' own types do not fit what it takes

    def load(self, context: RunContext) -> None:
        context.progress("weights", 0.0)
        warm()
        device = best_device()
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self.device, self.dtype = device.type, str(dtype).removeprefix("torch.")
        folder = weights_dir(self.card.id, self.card.revision)
        loaded = load(folder, self.card.id, device=self.device, dtype=dtype)
        self._network, self._tokenizer, self._languages = loaded.network, loaded.tokenizer, loaded.languages
        self._type = dtype
        self._mel = LogMel(loaded.extractor)
        context.progress("warm up", 0.8)
        with torch.inference_mode():
            self._network.get_encoder()(self._placed(self._mel(np.zeros(SAMPLE_RATE, np.float32))))

    def validate(self, request: TranscriptionRequest) -> TranscriptionRequest:
        self._ensure_known(request.language)
        return request

    def run(self, request: TranscriptionRequest, context: RunContext) -> Result:
        context.progress("decode", 0.0)
        sound = decode(
            request.audio, _LIMITS, rate=SAMPLE_RATE, mono=True, param="audio", check=context.check_cancelled
        )
        heard = self.transcribe(sound.samples[:, 0], request.language, context)
        return Result(heard | {"duration": sound.duration_s}, duration_s=sound.duration_s)

    def transcribe(
        self, samples: NDArray[np.float32], language: str | None = None, context: RunContext | None = None
    ) -> dict[str, Any]:
        """Text, language and segments of samples `[n]` at 16 kHz."""
        tell = context or RunContext()
        loud = _loud(samples)
        if not loud.any():
            return {"text": "", "language": language, "segments": []}
        sounding = np.flatnonzero(loud)
        begin, end = max(0, sounding[0] - _MARGIN) * _BLOCK, (sounding[-1] + 1 + _MARGIN) * _BLOCK
        with torch.inference_mode():
            spectra = self._placed(self._mel(samples[begin:end]))
            language = language or self._heard(spectra)
            told = self._written(spectra, len(samples[begin:end]), language, tell)
        first, last = begin / SAMPLE_RATE, len(samples) / SAMPLE_RATE
        timed = ((round(first + s, 2), round(min(first + e, last), 2), text) for s, e, text in told)
        segments = [{"start_s": s, "end_s": e, "text": text} for s, e, text in timed if text and _sounds(loud, s, e)]
        return {"text": "\n".join(str(s["text"]) for s in segments), "language": language, "segments": segments}

    def release(self) -> None:
        del self._network, self._mel

    # ── the network ──

    def _written(
        self, spectra: Tensor, samples: int, language: str | None, tell: RunContext
    ) -> list[tuple[float, float, str]]:
        """(start, end, text) of every segment: transformers' windows of 30 s, each from where the last one ended."""
        mask = torch.zeros(1, spectra.shape[-1], dtype=torch.long, device=spectra.device)
        mask[:, : -(-samples // self._mel.hop)] = 1
        asked = {"language": language, "task": "transcribe"} if self._languages else {}
        stops = StoppingCriteriaList([_asked_to_stop(tell.check_cancelled)])

        def moved(at: Tensor) -> None:
            done, of = (float(x) for x in at[0])
            tell.progress("words", _DECODED + (1 - _DECODED) * done / max(1.0, of))

        with torch.random.fork_rng(devices=[spectra.device] if self.device == "cuda" else []):
            torch.manual_seed(_SEED)
            found = self._network.generate(
                spectra, attention_mask=mask, return_timestamps=True, return_segments=True, monitor_progress=moved,
                stopping_criteria=stops, **asked, **_AS_PUBLISHED,
            )  # fmt: skip
        return [
            (float(s["start"]), float(s["end"]), self._tokenizer.decode(s["tokens"], skip_special_tokens=True).strip())
            for s in found["segments"][0]
        ]

    def _heard(self, spectra: Tensor) -> str:
        """The language of the first window, by the network."""
        if not self._languages:
            return "en"
        token = int(self._network.detect_language(spectra[:, :, :WINDOW])[0])
        known: dict[str, int] = self._network.generation_config.lang_to_id
        return next(code for code, name in self._languages.items() if known[name] == token)

    def _placed(self, spectra: Tensor) -> Tensor:
        return spectra.to(self.device, self._type)

    def _ensure_known(self, language: str | None) -> None:
        known = sorted(self._languages) or ["en"]
        if language is not None and language not in known:
            raise InvalidRequest(
                f"language: {language} is not known to {self.card.id}; known: {', '.join(known)}", param="language"
            )


def _asked_to_stop(check: Callable[[], None]) -> Callable[..., Tensor]:
    """Asked after every token: raises what `check` raises, and never stops by itself."""

    def ask(tokens: Tensor, _scores: Any, **_: Any) -> Tensor:
        check()
        return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)

    return ask


def _loud(samples: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of every tenth of a second, whether it is louder than silence."""
    blocks = np.pad(samples, (0, -len(samples) % _BLOCK)).reshape(-1, _BLOCK)
    level: NDArray[np.float32] = np.sqrt(np.einsum("ij,ij->i", blocks, blocks) / _BLOCK)
    return level > _SILENCE


def _sounds(loud: NDArray[np.bool_], start: float, end: float) -> bool:
    """Whether anything sounds between two moments."""
    first = int(start * 10)
    return bool(loud[first : max(first + 1, int(np.ceil(end * 10)))].any())
