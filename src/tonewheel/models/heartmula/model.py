"""HeartMuLa behind the four verbs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel import __version__
from tonewheel.audio.tags import Tags
from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import Kernels
from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Audio, Model, Result, RunContext
from tonewheel.models.free_memory import told
from tonewheel.models.heartmula.card import RELEASES
from tonewheel.models.heartmula.checkpoint import Checkpoint
from tonewheel.models.heartmula.codec import HeartCodec
from tonewheel.models.heartmula.device import Place, place
from tonewheel.models.heartmula.generation import Song
from tonewheel.models.heartmula.language import HeartmulaLanguage, HeartmulaPrompt, LanguageShape
from tonewheel.models.heartmula.prompt import Texts, Tokens
from tonewheel.models.heartmula.request import HeartmulaRequest
from tonewheel.models.heartmula.windows import FRAME_S, SAMPLE_RATE, frames_of
from tonewheel.models.quantised_files import keeping_kernels
from tonewheel.seeds import draw
from tonewheel.settings import settings, weights_dir

_LANGUAGE, _CODEC = 0.7, 0.95  # how far loading is once each part is there


class Heartmula(Model[HeartmulaRequest]):
    """A checkpoint, its engine and codec, and the songs that share them."""

    def load(self, context: RunContext) -> None:
        """Read the weights tensor by tensor, and run them once. Raises ModelBroken, NotSupported, OutOfMemory."""
        context.progress("checkpoint", 0.0)
        where = place()
        folder = weights_dir(self.card.id, self.card.revision)
        checkpoint = Checkpoint.open(folder, RELEASES[self.card.id], settings().heartmula_version)
        shape = LanguageShape.of(checkpoint.language.config)
        self._texts = Texts(checkpoint.tokenizer, checkpoint.ids, shape.text_vocabulary)
        try:
            part = checkpoint.language
            kernels, kept = keeping_kernels(
                self.card.id, part.folder, part.where.values(), where.device, where.precision
            )
            language = _language(checkpoint, shape, where, kernels, context)
            kept.save()
            self._codec = _codec(checkpoint, where, kernels, context)
            self._positions = shape.backbone.positions
            self._engine = Engine(language, self.card.concurrency, cache_limit=where.cache_limit)
            self.device, self.dtype = str(where.device), kernels.precision
            context.progress("warm up", _CODEC)
            prompt = _prompt(self._texts("warm", "up"))
            self._engine.submit(GenerationRequest(prompt, 2, Sampling(guidance_scale=1))).result(600)
            self._codec.warm_up()
        except RuntimeError as error:
            raise told(error) from error

    def validate(self, request: HeartmulaRequest) -> HeartmulaRequest:
        """Reads its texts and reckons its positions. Raises InvalidRequest."""
        tokens = self._texts(request.sound, request.words)
        frames = frames_of(request.duration)
        room = self._positions - len(tokens)
        if frames > room:
            texts = f"lyrics and tags take {len(tokens)} of the model's {self._positions} positions"
            if room < 1:
                raise InvalidRequest(f"{texts}: shorten them", param="lyrics")
            most = f"ask for {room * FRAME_S:g} s at most, or shorten them"
            raise InvalidRequest(f"{texts} and {request.duration:g} s take {frames}: {most}", param="duration")
        return request.with_tokens(tokens)

    def run(self, request: HeartmulaRequest, context: RunContext) -> Result:
        """One song; its finished windows are handed out as they come."""
        seed = draw() if request.seed is None else request.seed
        sampling = Sampling(
            temperature=request.temperature or 1.0, top_k=request.top_k,
            top_p=1.0 if request.top_p is None else request.top_p, guidance_scale=max(1.0, request.guidance_scale),
            do_sample=request.temperature > 0, seed=seed,
        )  # fmt: skip
        wanted = GenerationRequest(_prompt(request.tokens), frames_of(request.duration), sampling)
        try:
            song = Song(self._engine, self._codec, wanted, context)
            samples = song.make()
        except RuntimeError as error:
            raise told(error) from error
        audio = Audio(samples, SAMPLE_RATE, tags=self._tags(request, seed))
        return Result(_fields(request, audio, song, seed), audio, seed=seed, duration_s=audio.duration_s)

    def release(self) -> None:
        self._engine.close()
        self._codec.close()

    def _tags(self, request: HeartmulaRequest, seed: int) -> Tags:
        extra = {
            "tonewheel_model": self.card.id,
            "tonewheel_prompt": request.sound,
            "tonewheel_seed": str(seed),
            "tonewheel_version": __version__,
        }
        first = next((line for line in request.words.splitlines() if line.strip() and "[" not in line), "")
        return Tags(
            title=(first or request.sound)[:80] or self.card.title, lyrics=request.words or None,
            license=self.card.weight_license, comment=f"Made by Tonewheel {__version__} with {self.card.id}",
            extra=extra,
        )  # fmt: skip


def _language(
    checkpoint: Checkpoint, shape: LanguageShape, where: Place, kernels: Kernels, context: RunContext
) -> HeartmulaLanguage:
    def tell(share: float) -> None:
        context.progress("language model", _LANGUAGE * share)

    with checkpoint.language.reader(where.device, where.language, tell) as weights:
        return HeartmulaLanguage(shape, weights, device=where.device, dtype=where.language, kernels=kernels)


def _codec(checkpoint: Checkpoint, where: Place, kernels: Kernels, context: RunContext) -> HeartCodec:
    def tell(share: float) -> None:
        context.progress("codec", _LANGUAGE + (_CODEC - _LANGUAGE) * share)

    with checkpoint.codec.reader(where.device, torch.float32, tell) as weights:
        config = checkpoint.codec.config
        return HeartCodec(config, weights, device=where.device, dtype=where.codec, kernels=kernels)


def _prompt(tokens: Tokens) -> HeartmulaPrompt:
    return HeartmulaPrompt(torch.tensor(tokens.tags), torch.tensor(tokens.lyrics))


def _fields(request: HeartmulaRequest, audio: Audio, song: Song, seed: int) -> dict[str, Any]:
    samples: NDArray[np.float32] = audio.samples
    return {
        "audio_base64": audio, "sample_rate": SAMPLE_RATE, "duration": audio.duration_s, "num_samples": len(samples),
        "channels": audio.channels, "frames": song.frames,
        "ended": "by itself" if song.ended_itself else "at its length", "prompt": request.asked,
        "lyrics": request.words, "tags": request.sound, "seed": seed,
    }  # fmt: skip
