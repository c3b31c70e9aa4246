"""Stable Audio behind the four verbs: Open 1.0, and Stable Audio 3 with its variations and new parts of a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tonewheel.errors import InvalidRequest, ModelBroken
from tonewheel.models.base import Card
from tonewheel.models.diffusion.model import DiffusionModel, Row
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.tokens import OwnTokenizer
from tonewheel.models.stable_audio.card import BASE, CARDS, DISTILLED, SAMPLE_RATE, third
from tonewheel.models.stable_audio.hearing import anew, varied
from tonewheel.models.stable_audio.layouts import OPEN, THIRD
from tonewheel.models.stable_audio.memory import idle_bytes, row_bytes
from tonewheel.models.stable_audio.recipes import (
    OOBLECK_MARGIN,
    OOBLECK_WINDOW,
    OPEN_FRAMES,
    SAME_WINDOW,
    recipe_of,
)
from tonewheel.models.stable_audio.request import StableAudioRequest
from tonewheel.models.stable_audio.windows import decoded, encoded

_THIRD_TOKENS = 256  # of a prompt, whatever its tokenizer says
Rows = list[Row[StableAudioRequest]]


class _StableAudio(DiffusionModel[StableAudioRequest]):
    """What both have in common. Prompts are filled up to the same length, so that no row feels its neighbours."""

    hop: int  # samples a latent frame
    longest_s: float
    tokens: int  # of a prompt
    _tokenizer: OwnTokenizer

    def recipe(self, request: StableAudioRequest) -> Recipe:
        return recipe_of(self.card, request)

    def idle_bytes(self, number: int) -> int:
        return idle_bytes(self.card, number)

    def row_bytes(self, recipe: Recipe) -> int:
        return row_bytes(self.card, recipe, self.place.dtype.itemsize)

    def validate(self, request: StableAudioRequest) -> StableAudioRequest:
        """Raises InvalidRequest for what this checkpoint cannot make, OutOfMemory."""
        if request.seconds > self.longest_s:
            raise InvalidRequest(
                f"duration is {request.seconds:g} s: {self.card.id} makes 1 to {self.longest_s:g} s", param="duration"
            )
        return super().validate(request)

    def notes(self, request: StableAudioRequest) -> list[str]:
        guided = self.recipe(request).guidance_scale > 1
        texts = [("prompt", request.prompt), *([("negative_prompt", request.negative_prompt)] if guided else [])]
        notes = []
        for name, text in texts:
            if (left_out := self._tokenizer.count(text) - self.tokens) > 0:
                notes.append(f"{name} was cut after {self.tokens} tokens, {left_out} were left out")
        if request.negative_prompt and not guided:
            notes.append("negative_prompt was not used: it needs a guidance_scale above 1")
        return notes

    def fields(self, request: StableAudioRequest, recipe: Recipe) -> dict[str, Any]:
        return {"negative_prompt": request.negative_prompt}

    def _decoded(self, pipeline: Any, latents: Tensor, recipe: Recipe, window: int, margin: int) -> list[Tensor]:
        """Row by row: a batch of them would take as many times the memory."""
        samples = round(recipe.duration_s * SAMPLE_RATE)
        self._watched.decodes = len(latents) * -(-samples // (window * self.hop))

        def decode(part: Tensor) -> Tensor:
            sound: Tensor = pipeline.vae.decode(part).sample
            return sound

        return [decoded(decode, row, samples, window=window, margin=margin, hop=self.hop) for row in latents[:, None]]


class StableAudioOpen(_StableAudio):
    """Open 1.0: latents are always of full length; only what is heard of them is decoded."""

    layout = OPEN

    def recipe(self, request: StableAudioRequest) -> Recipe:
        return recipe_of(self.card, request, self._frames)

    _frames = OPEN_FRAMES

    def prepared(self, pipeline: Any) -> Any:
        vae = pipeline.vae.config
        _hear_check(self.card, vae.sampling_rate, vae.audio_channels)
        self.hop, self._frames = int(pipeline.vae.hop_length), int(pipeline.transformer.config.sample_size)
        self.longest_s = min(self.card.max_duration_s or 0.0, self._frames * self.hop / SAMPLE_RATE)
        self._tokenizer = OwnTokenizer(pipeline.tokenizer)
        self.tokens = int(pipeline.tokenizer.model_max_length)
        return pipeline

    def validate(self, request: StableAudioRequest) -> StableAudioRequest:
        for name in ("init_audio", "inpaint_audio"):
            if getattr(request, name) is not None:
                raise InvalidRequest(f"{name}: {self.card.id} takes no recording: Stable Audio 3 does", param=name)
        return super().validate(request)

    def warm_up_request(self) -> StableAudioRequest:
        return StableAudioRequest(prompt="warm up", duration=1.0, num_inference_steps=10)

    def call(self, pipeline: Any, recipe: Recipe, rows: Rows, generators: list[torch.Generator]) -> Any:
        negative = [row.request.negative_prompt for row in rows]
        latents = pipeline(
            prompt=[row.request.prompt for row in rows], negative_prompt=negative if negative[0] else None,
            num_inference_steps=recipe.steps, guidance_scale=recipe.guidance_scale, audio_end_in_s=recipe.duration_s,
            generator=generators, output_type="latent",
        ).audios  # fmt: skip
        return self._decoded(pipeline, latents, recipe, OOBLECK_WINDOW, OOBLECK_MARGIN)


class StableAudio3(_StableAudio):
    """Stable Audio 3 as diffusers' converter writes it."""

    layout = THIRD

    def prepared(self, pipeline: Any) -> Any:
        from diffusers import (  # noqa: PLC0415
            StableAudio3AudioToAudioPipeline,
            StableAudio3InpaintPipeline,
            StableAudio3Pipeline,
        )

        vae = pipeline.vae.config
        _hear_check(self.card, vae.sampling_rate, vae.audio_channels)
        _kind_check(self.card, bool(pipeline.scheduler.config.stochastic_sampling))
        self.hop, self.longest_s = int(pipeline.vae.downsampling_ratio), self.card.max_duration_s or 0.0
        self._tokenizer = OwnTokenizer(pipeline.tokenizer)
        self.tokens = min(int(pipeline.tokenizer.model_max_length), _THIRD_TOKENS)
        self._margin = int(vae.sliding_window) * sum(vae.encoder_transformer_depths) + 2
        _positions_in_full(pipeline)
        pipeline.vae.encode = _by_windows(pipeline.vae.encode, self._margin, self.hop)
        self._kinds = {
            "text": StableAudio3Pipeline, "vary": StableAudio3AudioToAudioPipeline, "anew": StableAudio3InpaintPipeline
        }  # fmt: skip
        return pipeline

    def validate(self, request: StableAudioRequest) -> StableAudioRequest:
        """Reads the recording sent with it. Raises InvalidRequest, UnreadableAudio, TooLarge."""
        if request.init_audio is not None and request.inpaint_audio is not None:
            raise InvalidRequest("give init_audio or inpaint_audio, not both", param="inpaint_audio")
        asked_s = request.duration if "duration" in request.model_fields_set else None
        edit = None
        if request.init_audio is not None:
            edit = varied(request.init_audio, request.init_noise_level, asked_s, self.longest_s)
        elif request.inpaint_audio is not None:
            span = request.inpaint_start, request.inpaint_end
            edit = anew(request.inpaint_audio, *span, asked_s, self.longest_s, self.hop / SAMPLE_RATE)
        return super().validate(request.with_edit(edit))

    def warm_up_request(self) -> StableAudioRequest:
        return StableAudioRequest(prompt="warm up", duration=5.0, num_inference_steps=10)

    def notes(self, request: StableAudioRequest) -> list[str]:
        notes = super().notes(request)
        if request.edit is not None and "guidance_scale" in request.model_fields_set and request.guidance_scale > 1:
            notes.append("guidance_scale was not used: with a recording there is no guidance")
        return notes

    def call(self, pipeline: Any, recipe: Recipe, rows: Rows, generators: list[torch.Generator]) -> Any:
        edit = rows[0].request.edit  # the same for all: it is in the recipe
        asked: dict[str, Any] = {
            "prompt": [row.request.prompt for row in rows], "duration": recipe.duration_s,
            "num_inference_steps": recipe.steps, "generator": generators, "output_type": "latent",
        }  # fmt: skip
        if edit is None:
            kind = "text"
            asked |= {
                "guidance_scale": recipe.guidance_scale,
                "negative_prompt": [row.request.negative_prompt for row in rows],
            }
        else:
            kind = "anew" if edit.span else "vary"
            asked["audio"] = torch.from_numpy(edit.samples).expand(len(rows), -1, -1)
            if edit.span:
                asked |= {"mask_start_seconds": edit.span[0], "mask_end_seconds": edit.span[1]}
            else:
                asked["init_noise_level"] = edit.noise_level
        latents = self._of_kind(pipeline, kind)(**asked).audios
        # As its pipelines do, after decoding.
        return [row.clamp(-1, 1) for row in self._decoded(pipeline, latents, recipe, SAME_WINDOW, self._margin)]

    def _of_kind(self, pipeline: Any, kind: str) -> Any:
        """The pipeline for it over the same parts (and the scheduler of this call)."""
        if isinstance(pipeline, self._kinds[kind]):
            return pipeline
        other = self._kinds[kind](**pipeline.components)
        other.set_progress_bar_config(disable=True)
        return other


def _hear_check(card: Card, rate: int, channels: int) -> None:
    if (rate, channels) != (card.sample_rate, card.channels):
        raise ModelBroken(
            f"its autoencoder makes {rate} Hz and {channels} channels, but {card.id} has {card.sample_rate} Hz and "
            f"{card.channels}: it is another model"
        )


def _kind_check(card: Card, distilled: bool) -> None:
    wanted = third(card)
    if wanted is not (DISTILLED if distilled else BASE):
        kind = "a distilled model (ping-pong sampling)" if distilled else "a base model (Euler sampling)"
        right = card.id.removesuffix("-base") if distilled else f"{card.id}-base"
        perhaps = f": it may be {right}" if right in {c.id for c in CARDS} else ""
        raise ModelBroken(f"its scheduler is that of {kind}, which {card.id} is not{perhaps}")


def _positions_in_full(pipeline: Any) -> None:
    """Tables of positions in float32: in half precision whole numbers above 2048 run together, after 3 minutes."""
    for network in (pipeline.transformer, pipeline.vae):
        for module in network.modules():
            found = getattr(module, "inv_freq", None)
            if isinstance(found, Tensor) and found.dtype != torch.float32:
                half = torch.arange(len(found), dtype=torch.float32, device=found.device)
                module.inv_freq = 10_000.0 ** (-half / len(found))


def _by_windows(encode: Callable[..., Any], margin: int, hop: int) -> Callable[..., Any]:
    """`encode` of an autoencoder as its pipelines call it."""

    def by_windows(sound: Tensor) -> Any:
        last: list[Any] = []

        def one(part: Tensor) -> Tensor:
            last[:] = [encode(part)]
            latents: Tensor = last[0].latents
            return latents

        latents = encoded(one, sound, window=SAME_WINDOW, margin=margin, hop=hop)
        return type(last[0])(latents=latents)

    return by_windows
