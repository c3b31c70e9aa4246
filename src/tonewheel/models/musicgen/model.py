"""MusicGen behind the four verbs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel import __version__
from tonewheel.audio.incoming import Limits, decode
from tonewheel.audio.tags import Tags
from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import Kernels
from tonewheel.errors import InvalidRequest, ModelBroken, RenderFault
from tonewheel.models.base import Audio, Model, Result, RunContext
from tonewheel.models.device import best_device, between
from tonewheel.models.free_memory import told
from tonewheel.models.musicgen.checkpoint import Checkpoint
from tonewheel.models.musicgen.chroma import check_melody, chroma, stretch
from tonewheel.models.musicgen.codec import Codec
from tonewheel.models.musicgen.decoder import DecoderShape, MusicgenDecoder, MusicgenPrompt
from tonewheel.models.musicgen.device import cache_limit
from tonewheel.models.musicgen.generation import Piece, Wish, codes_of_end, sub_seed
from tonewheel.models.musicgen.prepared import Prepared
from tonewheel.models.musicgen.request import MusicgenRequest
from tonewheel.models.musicgen.text import MAX_TOKENS, Encoded, TextEncoder
from tonewheel.models.musicgen.windows import SAMPLE_RATE, SAMPLES_PER_FRAME, WINDOW_FRAMES, Window
from tonewheel.models.quantised_files import keeping_kernels
from tonewheel.models.tensor_files import some
from tonewheel.seeds import draw
from tonewheel.settings import may_unpickle, settings, weights_dir

_GIVEN = Limits(file_bytes=64 << 20, seconds=600.0, least_seconds=0.1)
_WAIT_S = 0.05  # between two looks at whether to stop
_GENERATES = 0.9  # the share of the whole that is told here; encoding is the rest


class Musicgen(Model[MusicgenRequest]):
    """A checkpoint, its engine, and the requests that share it."""

    def load(self, context: RunContext) -> None:
        """Read the weights, part by part, and run them once. Raises ModelBroken, OutOfMemory."""
        context.progress("checkpoint", 0.0)
        device = best_device()
        folder = weights_dir(self.card.id, self.card.revision)
        checkpoint = Checkpoint.open(folder, allow_pickle=may_unpickle(self.card.id))
        checkpoint.check(channels=self.card.channels or 1, melody="melody" in self.card.tasks, model=self.card.id)
        shape = DecoderShape.of(checkpoint.config)
        try:
            context.progress("text encoder", 0.02)
            room = shape.max_positions - shape.chroma_frames - WINDOW_FRAMES - max(shape.delays)
            self._text = TextEncoder(checkpoint, device, min(MAX_TOKENS, room) if shape.chroma else MAX_TOKENS)
            chosen = settings().musicgen_dtype
            kernels, kept = keeping_kernels(
                self.card.id, checkpoint.folder, checkpoint.where.values(), device, None if chosen == "auto" else chosen
            )
            context.progress("codec", 0.1)
            self._codec = Codec(checkpoint, device, kernels)
            decoder = _decoder(checkpoint, shape, device, kernels, context)
            kept.save()
        except RuntimeError as error:
            raise told(error) from error
        self._shape = shape
        self._engine = Engine(decoder, self.card.concurrency, cache_limit=cache_limit(device))
        self.device, self.dtype = str(device), kernels.precision
        context.progress("warm up", 0.95)
        try:
            codes = self._engine.submit(GenerationRequest(MusicgenPrompt(), 2, Sampling(guidance_scale=1))).result(600)
            self._codec.decode(codes)
        except BaseException:
            self._engine.close()  # nobody will: its thread would hold the weights
            raise

    def validate(self, request: MusicgenRequest) -> MusicgenRequest:
        """Reads the audio sent with it. Raises InvalidRequest, UnreadableAudio, TooLarge."""
        given = melody = None
        if request.continue_from is not None:
            sound = decode(
                request.continue_from, _GIVEN, rate=SAMPLE_RATE, mono=self._codec.channels == 1, name="continue_from",
                param="continue_from",
            )  # fmt: skip
            given = _sides(sound.samples, self._codec.channels)
        if request.melody is not None:
            if not self._shape.chroma:
                raise InvalidRequest(
                    f"melody: {self.card.id} follows no melody: use musicgen-melody or musicgen-stereo-melody",
                    param="melody",
                )
            melody = decode(request.melody, _GIVEN, rate=SAMPLE_RATE, mono=True, name="melody", param="melody").samples[
                :, 0
            ]
            check_melody(melody)
        return request.with_prepared(Prepared(given, melody))

    def run(self, request: MusicgenRequest, context: RunContext) -> Result:
        """As many pieces as variations, side by side on the engine; one alone is handed out as it is made."""
        context.progress("text", 0.0)
        seed = draw() if request.seed is None else request.seed
        text, negative = self._text(request.prompt), self._text(request.negative_prompt)
        seeds = [sub_seed(seed, "variation", n) for n in range(request.num_variations)]
        try:
            late = not context.heard or request.num_variations > 1
            wish = replace(self._wish(request, text, negative, seed), late=late)
            seeded = [replace(wish, sampling=replace(wish.sampling, seed=s)) for s in seeds]
            pieces = [Piece(self._engine, self._codec, one) for one in seeded]
            self._make(pieces, context, self._tags(request, seed))
        except (RuntimeError, RenderFault) as error:
            raise told(error) from error
        made = [Audio(p.samples, SAMPLE_RATE, tags=self._tags(request, s)) for p, s in zip(pieces, seeds, strict=True)]
        fields = _fields(request, made, seeds) | {"notes": _notes(request, text, negative, self._text.max_tokens)}
        return Result(fields, made[0], seed=seed, duration_s=sum(audio.duration_s for audio in made))

    def release(self) -> None:
        self._engine.close()

    def _make(self, pieces: list[Piece], context: RunContext, tags: Tags) -> None:
        total = sum(piece.frames for piece in pieces)
        alone = len(pieces) == 1
        try:
            while left := [piece for piece in pieces if not piece.done]:
                for piece in left:
                    for samples in piece.advance(_WAIT_S):
                        if alone:
                            context.audio(Audio(samples, SAMPLE_RATE, tags=tags))
                    ready = sum(p.ready for p in pieces)
                    context.progress("generate", _GENERATES * ready / total)
        finally:
            for piece in pieces:
                piece.cancel()

    def _wish(self, request: MusicgenRequest, text: Encoded | None, negative: Encoded | None, seed: int) -> Wish:
        sampling = Sampling(
            temperature=request.temperature, top_k=request.top_k, top_p=request.top_p,
            guidance_scale=request.guidance_scale, do_sample=request.do_sample, seed=seed,
        )  # fmt: skip
        melody = request.prepared.melody

        def prompt(window: Window) -> MusicgenPrompt:
            heard = None if melody is None else self._heard(melody, window)
            return MusicgenPrompt(_states(text), _states(negative), heard)

        given = request.prepared.given
        begun = None if given is None else codes_of_end(self._codec, given)
        return Wish(prompt, request.duration, sampling, given, begun)

    def _heard(self, melody: NDArray[np.float32], window: Window) -> torch.Tensor:
        """The chroma of the melody from where the window begins."""
        part = stretch(melody, window.start * SAMPLES_PER_FRAME)
        return torch.from_numpy(chroma(part, self._shape.chroma_frames, self._shape.chroma))

    def _tags(self, request: MusicgenRequest, seed: int) -> Tags:
        extra = {
            "tonewheel_model": self.card.id,
            "tonewheel_prompt": request.prompt,
            "tonewheel_seed": str(seed),
            "tonewheel_version": __version__,
        }
        return Tags(
            title=request.prompt[:80] or self.card.title, license=self.card.weight_license,
            comment=f"Made by Tonewheel {__version__} with {self.card.id}", extra=extra,
        )  # fmt: skip


def _decoder(
    checkpoint: Checkpoint, shape: DecoderShape, device: torch.device, kernels: Kernels, context: RunContext
) -> MusicgenDecoder:
    dtype = between(device, kernels.precision)
    parts = ("decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj.")

    def tell(share: float) -> None:
        context.progress("weights", 0.2 + 0.75 * share)

    with checkpoint.reader(*parts, device=device, dtype=dtype, tell=tell) as weights:
        decoder = MusicgenDecoder(shape, weights, device=device, dtype=dtype, kernels=kernels)
        if weights.left and not kernels.from_kept:
            raise ModelBroken(f"{checkpoint.folder}: tensors are not known: {some(weights.left)}")
        return decoder


def _states(encoded: Encoded | None) -> torch.Tensor | None:
    return None if encoded is None else encoded.states


def _sides(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """[n, any] → [n, channels]: mono on both sides, surround mixed into both."""
    if samples.shape[1] == channels:
        return samples
    return np.repeat(samples.mean(axis=1, keepdims=True), channels, axis=1)


def _fields(request: MusicgenRequest, made: list[Audio], seeds: list[int]) -> dict[str, Any]:
    first = made[0]
    fields: dict[str, Any] = {
        "audio_base64": first, "sample_rate": SAMPLE_RATE, "duration": first.duration_s,
        "num_samples": len(first.samples), "channels": first.channels, "prompt": request.prompt, "seed": seeds[0],
    }  # fmt: skip
    if len(made) > 1:
        fields["variations"] = [
            {"audio_base64": a, "seed": s, "duration": a.duration_s, "num_samples": len(a.samples)}
            for a, s in zip(made, seeds, strict=True)
        ]
    return fields


def _notes(request: MusicgenRequest, text: Encoded | None, negative: Encoded | None, most: int) -> list[str]:
    """What was done otherwise than asked."""
    notes = [
        f"{name} was cut after {most} tokens, {encoded.left_out} were left out"
        for name, encoded in (("prompt", text), ("negative_prompt", negative))
        if encoded is not None and encoded.left_out
    ]
    if request.negative_prompt and request.guidance_scale == 1:
        notes.append("negative_prompt was not used: it needs a guidance_scale above 1")
    return notes
