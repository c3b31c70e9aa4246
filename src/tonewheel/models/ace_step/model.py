"""ACE-Step behind the four verbs: what it adds to `tonewheel.models.diffusion`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel.audio.incoming import Limits, decode
from tonewheel.audio.tags import Tags
from tonewheel.errors import InvalidRequest, ModelBroken
from tonewheel.models.ace_step import memory
from tonewheel.models.ace_step.card import MANNERS, SAMPLE_RATE, version_of
from tonewheel.models.ace_step.measure import MAX_LYRIC_TOKENS, Measure
from tonewheel.models.ace_step.prepared import Prepared, Words
from tonewheel.models.ace_step.recipe import HOP, frames_of, manner_of, recipe_of, shift_of
from tonewheel.models.ace_step.request import MAX_DURATION_S, MIN_DURATION_S, AceStepRequest
from tonewheel.models.ace_step.together import Together, noise
from tonewheel.models.base import RunContext
from tonewheel.models.diffusion.checkpoint import Layout, Part
from tonewheel.models.diffusion.memory import config_of
from tonewheel.models.diffusion.model import DiffusionModel, Row
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.settings import weights_dir

_SOURCE = Limits(file_bytes=256 << 20, seconds=MAX_DURATION_S, least_seconds=MIN_DURATION_S)
_REFERENCE = Limits(file_bytes=256 << 20, seconds=MAX_DURATION_S, least_seconds=1.0)
_SILENT = 1e-4  # full scale: -80 dBFS
_INSTRUMENTAL = "[Instrumental]"  # what it was trained with where nobody sings
_CONVERTER = "diffusers' scripts/convert_ace_step_to_diffusers.py"


def _foreign(folder: Path) -> str | None:
    """A folder as upstream has them, before diffusers' converter."""
    inside = [folder, *(f for f in folder.glob("acestep-v15-*") if f.is_dir())]
    if any((place / "silence_latent.pt").is_file() for place in inside):
        return f"{folder} is in ACE-Step's own layout: convert it once with {_CONVERTER}, and name its output"
    return None


def _layout(*made: str) -> Layout:
    """`made`: tensors of the condition encoder that need not be there."""
    parts = (
        Part("transformer", ("AceStepTransformer1DModel",)),
        Part("condition_encoder", ("AceStepConditionEncoder",), made=made),
        Part("text_encoder", ("Qwen3Model",)),
        Part("vae", ("AutoencoderOobleck",)),
        Part("audio_tokenizer", ("AceStepAudioTokenizer",), optional=True, network=True),
        Part("audio_token_detokenizer", ("AceStepAudioTokenDetokenizer",), optional=True, network=True),
        Part("tokenizer", ("Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizerFast")),
        Part("scheduler", ("FlowMatchEulerDiscreteScheduler",)),
    )
    return Layout("AceStepPipeline", parts, foreign=_foreign)


class AceStep(DiffusionModel[AceStepRequest]):
    """A checkpoint and the songs that share its steps."""

    layout = _layout()
    half = torch.bfloat16  # as it was trained; float16 runs over

    def load(self, context: RunContext) -> None:
        """Raises ModelBroken also for a checkpoint that is not the card's: it would run in another's manner."""
        folder = weights_dir(self.card.id, self.card.revision)
        _check_version(folder, config_of(folder, "transformer"), self.card.id)
        _check_vae(folder, config_of(folder, "vae"))
        super().load(context)

    @cached_property
    def _shape(self) -> memory.Shape:
        return memory.shape_of(self.card)

    def prepared(self, pipeline: Any) -> Any:
        pipeline.vae.enable_slicing()  # a song decodes as it would alone
        pipeline.vae.enable_tiling()  # above 20 s in pieces: memory does not grow with the length
        self._together, self._measure = Together(pipeline), Measure(pipeline)
        return pipeline

    def validate(self, request: AceStepRequest) -> AceStepRequest:
        """Reads the audio and the words. Raises InvalidRequest, UnreadableAudio, TooLarge, OutOfMemory."""
        if request.task == "cover" and self.pipeline.audio_tokenizer is None:
            raise InvalidRequest(
                f"task: this checkpoint has no audio tokenizer, which a cover needs: convert it anew with {_CONVERTER}",
                param="task",
            )
        prepared = Prepared(words=self._words(request))
        if request.src_audio is not None:
            prepared = _of_length(_heard(request.src_audio, _SOURCE, "src_audio"), request, prepared)
        if request.reference_audio is not None:
            prepared = replace(prepared, reference=_heard(request.reference_audio, _REFERENCE, "reference_audio"))
        words = prepared.words
        assert words is not None
        sung = self._measure.lyrics(words)
        if sung > MAX_LYRIC_TOKENS:
            raise InvalidRequest(
                f"lyrics: they take {sung} tokens and the model reads {MAX_LYRIC_TOKENS}: shorten them", param="lyrics"
            )
        fitting, left_out = self._measure.fitting(words, request.task)
        return super().validate(request.with_prepared(replace(prepared, words=fitting, left_out=left_out)))

    def recipe(self, request: AceStepRequest) -> Recipe:
        return recipe_of(self.card, request)

    def call(
        self, pipeline: Any, recipe: Recipe, rows: list[Row[AceStepRequest]], generators: list[torch.Generator]
    ) -> Any:
        request = rows[0].request
        words = [row.request.prepared.words or self._words(row.request) for row in rows]
        asked: dict[str, Any] = {
            "audio_duration": recipe.duration_s, "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance_scale, "shift": shift_of(self.card, request), "task_type": request.task,
            "latents": noise(pipeline, frames_of(recipe.duration_s), generators),
        }  # fmt: skip
        if request.task == "cover":
            asked["audio_cover_strength"] = request.cover_strength
        prepared = request.prepared
        if prepared.repaint is not None:
            asked["repainting_start"], asked["repainting_end"] = prepared.repaint
        for name, samples in (("src_audio", prepared.source), ("reference_audio", prepared.reference)):
            if samples is not None:
                asked[name] = torch.from_numpy(np.ascontiguousarray(samples.T))
        self._watched.decodes = len(rows) * _pieces(pipeline.vae, frames_of(recipe.duration_s))
        lists = {"prompt": [w.prompt for w in words], "lyrics": [w.lyrics for w in words]}
        with self._together.of(words), _heard_alike(self.place.device):
            return pipeline(**lists, **asked).audios

    def idle_bytes(self, number: int) -> int:
        return memory.idle_bytes(self._shape, number)

    def row_bytes(self, recipe: Recipe) -> int:
        scores = self.place.device.type != "cpu"
        return memory.row_bytes(self._shape, recipe, self.place.dtype.itemsize, scores=scores)

    def warm_up_request(self) -> AceStepRequest:
        return AceStepRequest(prompt="warm up", duration=MIN_DURATION_S, num_inference_steps=2)

    def count(self, request: AceStepRequest) -> int:
        return request.num_variations

    def notes(self, request: AceStepRequest) -> list[str]:
        notes, left_out = [], request.prepared.left_out
        if left_out:
            notes.append(f"prompt was cut: {left_out} of its tokens did not fit beside tempo and key")
        if not manner_of(self.card).guided and (request.guidance_scale or 1) > 1:
            notes.append(f"guidance_scale was not used: {self.card.id} has its guidance in its weights")
        return notes

    def fields(self, request: AceStepRequest, recipe: Recipe) -> dict[str, Any]:
        return {
            "lyrics": request.lyrics, "task": request.task, "shift": shift_of(self.card, request), "bpm": request.bpm,
            "key": request.key, "time_signature": request.time_signature, "language": request.language,
        }  # fmt: skip

    def tagged(self, request: AceStepRequest, tags: Tags) -> Tags:
        return replace(tags, lyrics=request.lyrics or None, bpm=request.bpm, key=request.key)

    def _words(self, request: AceStepRequest) -> Words:
        meter = request.time_signature.partition("/")[0] if request.time_signature else None
        lyrics = self._measure.without_commands(request.lyrics) or _INSTRUMENTAL
        prompt = self._measure.without_commands(request.prompt)
        return Words(prompt, lyrics, request.language, request.bpm, request.key, meter)


class AceStepTurbo(AceStep):
    """Guidance is in its weights: what stands against the words in guidance is never used and may be left out."""

    layout = _layout(r"^null_condition_emb$")

    def prepared(self, pipeline: Any) -> Any:
        encoder = pipeline.condition_encoder
        if encoder.null_condition_emb.is_meta:  # left out; it must be somewhere to go to the device with the others
            empty = torch.zeros(encoder.null_condition_emb.shape, dtype=pipeline.transformer.dtype)
            encoder.null_condition_emb = torch.nn.Parameter(empty, requires_grad=False)
        return super().prepared(pipeline)


def _pieces(vae: Any, frames: int) -> int:
    """How many pieces a song is decoded in."""
    whole, overlap = int(vae.tile_latent_min_length), int(vae.tile_latent_overlap)
    return 1 if frames <= whole else math.ceil(frames / (whole - 2 * overlap))


# ── audio sent with a request ───────────────────────────────────────────────────────────────────


def _heard(file: bytes, limits: Limits, name: str) -> NDArray[np.float32]:
    """[n, 2] at 48 kHz: mono on both sides, surround mixed into both. Raises InvalidRequest for silence."""
    samples: NDArray[np.float32] = decode(file, limits, rate=SAMPLE_RATE, name=name, param=name).samples
    if float(np.abs(samples).max(initial=0.0)) < _SILENT:
        raise InvalidRequest(f"{name}: is silent: send something that can be heard", param=name)
    if samples.shape[1] != 2:
        samples = np.repeat(samples.mean(axis=1, keepdims=True), 2, axis=1)
    return samples


def _of_length(source: NDArray[np.float32], request: AceStepRequest, prepared: Prepared) -> Prepared:
    """The source cut, or filled up with silence, to the duration asked for and then to whole latents.

    A repaint may last longer than its file: what comes after the end is painted.
    """
    there = len(source) / SAMPLE_RATE
    seconds = request.duration if request.says_duration else there
    repaint = None
    if request.task == "repaint":
        repaint = _painted(request, there, seconds)
    elif seconds > there:
        raise InvalidRequest(
            f"duration: a cover lasts as long as its file at most, which is {there:.2f} s", param="duration"
        )
    source = source[: round(seconds * SAMPLE_RATE)]
    filled = np.pad(source, ((0, frames_of(seconds) * HOP - len(source)), (0, 0)))
    return replace(prepared, source=filled, seconds=seconds, repaint=repaint)


def _painted(request: AceStepRequest, there: float, seconds: float) -> tuple[float, float]:
    """Where the new part of a repaint begins and ends; the file lasts `there` seconds, the song `seconds`."""
    longer, last = seconds > there, min(there, seconds)
    start = request.repaint_start if request.repaint_start is not None else there if longer else 0.0
    end = seconds if request.repaint_end is None else request.repaint_end
    if start > last or (start == last and not longer):
        raise InvalidRequest(
            f"repaint_start: must lie before the end of the file, which is at {last:.2f} s", param="repaint_start"
        )
    if end > seconds:
        raise InvalidRequest(
            f"repaint_end: the song ends at {seconds:.2f} s: leave it out, or ask for a longer duration",
            param="repaint_end",
        )
    if longer and end < seconds:
        raise InvalidRequest(
            f"repaint_end: the file ends at {there:.2f} s and what follows to {seconds:g} s is painted: leave it out",
            param="repaint_end",
        )
    return start, end


@contextmanager
def _heard_alike(device: torch.device) -> Iterator[None]:
    """Audio is encoded with noise that the pipeline takes from torch's own generator: here it is always the same, so
    that a file is heard alike by every song, each of which can be made again alone."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield


# ── the checkpoint ──────────────────────────────────────────────────────────────────────────────


def _check_version(folder: Path, config: dict[str, Any], model: str) -> None:
    if not config:
        return  # not there, or broken: told when it is opened
    said, wanted = config.get("model_version"), version_of(model)
    if said in MANNERS:
        found = str(said)
    else:
        found = "turbo" if config.get("is_turbo") else wanted if MANNERS[wanted].guided else "base"
    if found != wanted:
        raise ModelBroken(f"{folder} holds a {found} checkpoint, but {model} is {wanted}: use ace-step-{found} for it")


def _check_vae(folder: Path, config: dict[str, Any]) -> None:
    if not config:
        return
    hop = int(np.prod(config.get("downsampling_ratios") or [0]))
    found = (config.get("sampling_rate"), config.get("audio_channels", 2), hop)
    if found != (SAMPLE_RATE, 2, HOP):
        raise ModelBroken(f"{folder}/vae is not ACE-Step's: rate, channels and samples a latent are {found}")
