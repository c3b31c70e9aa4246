"""A diffusion pipeline behind the four verbs. What a family adds is in `tonewheel.models.diffusion`'s own words."""

from __future__ import annotations

import gc
import logging
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch

from tonewheel.audio.tags import Tags
from tonewheel.errors import ModelBroken, OutOfMemory
from tonewheel.models.base import Audio, Model, Result, RunContext
from tonewheel.models.diffusion.checkpoint import Checkpoint, Layout
from tonewheel.models.diffusion.place import Place, place
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.request import DiffusionRequest
from tonewheel.models.diffusion.rounds import Round, Rounds
from tonewheel.models.diffusion.sound import Samples, checked, limited, samples_of, sub_seed, tags_of
from tonewheel.models.diffusion.speeds import Speeds
from tonewheel.models.diffusion.watch import Watched
from tonewheel.models.free_memory import free_bytes, told
from tonewheel.seeds import draw
from tonewheel.settings import may_unpickle, weights_dir

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT", bound=DiffusionRequest)
_ROWS = {"cpu": 4, "cuda": 16}  # waveforms in a round; on a CPU more of them only take more memory
_WARM_UP_STEPS = 2  # the first takes longer than those after it
_LOADED = 0.8  # share of loading when all parts are in main memory


@dataclass(frozen=True, slots=True)
class Row(Generic[RequestT]):
    """One waveform to be made: of which request, from which seed. Its generator is seeded with it."""

    request: RequestT
    seed: int


class DiffusionModel(Model[RequestT], Generic[RequestT]):
    """Loads a pipeline and renders requests in rounds. A family sets `layout` and writes `recipe` and `call`."""

    layout: ClassVar[Layout]
    half: ClassVar[torch.dtype] = torch.float16  # on CUDA
    denoiser: ClassVar[str] = "transformer"  # the network that a step is made of
    decoders: ClassVar[tuple[str, ...]] = ("vae.decoder",)  # what makes samples of latents

    # ── what a family says ──

    @abstractmethod
    def recipe(self, request: RequestT) -> Recipe:
        """What must be equal for requests to be rendered together."""

    @abstractmethod
    def call(self, pipeline: Any, recipe: Recipe, rows: list[Row[RequestT]], generators: list[torch.Generator]) -> Any:
        """One call of the pipeline: samples [rows, channels, n] or [rows, n], a tensor or an array.

        Rows may be of different requests (see `by_request`), and a batch must equal its rows one by one: what depends
        on a neighbour's length (padding of prompts) is to be encoded alone.
        """

    @abstractmethod
    def idle_bytes(self, number: int) -> int:
        """Bytes the loaded model takes on its device with `number` bytes a weight."""

    @abstractmethod
    def row_bytes(self, recipe: Recipe) -> int:
        """Bytes that one row of a round takes beside the model."""

    @abstractmethod
    def warm_up_request(self) -> RequestT:
        """A small request of typical size, run for two steps when the model is loaded: speeds are measured by it."""

    def count(self, request: RequestT) -> int:
        """Waveforms asked for."""
        return int(getattr(request, "num_waveforms_per_prompt", 1))

    def prompts(self, request: RequestT) -> tuple[str, str]:
        """Prompt and negative prompt, for the tags and the answer."""
        return str(getattr(request, "prompt", "")), str(getattr(request, "negative_prompt", None) or "")

    def prepared(self, pipeline: Any) -> Any:
        """The pipeline when its parts are in main memory: slicing, tiling. May be replaced."""
        return pipeline

    def notes(self, request: RequestT) -> list[str]:
        """What is done otherwise than asked, such as a prompt that is cut."""
        return []

    def fields(self, request: RequestT, recipe: Recipe) -> dict[str, Any]:
        """Further fields of the answer."""
        return {}

    def tagged(self, request: RequestT, tags: Tags) -> Tags:
        """The tags of a file with what a family knows beside (lyrics, tempo)."""
        return tags

    # ── the four verbs ──

    def load(self, context: RunContext) -> None:
        """Raises ModelBroken, MissingExtra, OutOfMemory: all but the last before any weight is read."""
        context.progress("checkpoint", 0.0)
        folder = weights_dir(self.card.id, self.card.revision)
        checkpoint = Checkpoint.open(folder, self.layout, allow_pickle=may_unpickle(self.card.id))
        self.place: Place = place(self.card.id, self.idle_bytes, self.half)
        _quiet()
        try:
            loaded = checkpoint.load(self.place.dtype, lambda part, share: context.progress(part, _LOADED * share))
            self.take(loaded, context)
        except RuntimeError as error:
            raise told(error) from error

    def take(self, loaded: Any, context: RunContext) -> None:
        """Make a pipeline in main memory ready at `self.place`, and run it once. Raises ModelBroken."""
        loaded.set_progress_bar_config(disable=True)
        self.pipeline = self._placed(self.prepared(loaded))
        self.device, self.dtype = str(self.place.device), str(self.place.dtype).removeprefix("torch.")
        self._watched = Watched(self.pipeline, denoiser=self.denoiser, decoders=self.decoders)
        self._free = free_bytes(self.place.device)
        self.speeds = Speeds(self.card.id, self.place.name)
        self.rounds: Rounds[Row[RequestT], Samples] = Rounds(
            self._render, most=self.most_rows, stopped=self._let_go, name=f"diffusion-{self.card.id}",
            decode_s=lambda recipe, rows: self.speeds.seconds("decode", load=recipe.decode_load * rows),
        )  # fmt: skip
        context.progress("warm up", 0.9)
        try:
            self._warm_up(context)
        except BaseException:
            self.rounds.close()
            raise

    def validate(self, request: RequestT) -> RequestT:
        """Raises OutOfMemory where there is no room for a single waveform."""
        need, free = self.row_bytes(self.recipe(request)), self._room()
        if need > free:
            raise OutOfMemory(
                f"a waveform of it takes {need / 1e9:.1f} GB beside the model and {free / 1e9:.1f} GB are free: ask "
                "for less audio, or free memory"
            )
        return request

    def estimate_s(self, request: RequestT) -> float | None:
        """Seconds it would take alone on this device; None = not measured yet."""
        recipe = self.recipe(request)
        expected = self.speeds.estimate(recipe, self.count(request), self.most_rows(recipe))
        return None if expected is None else expected.seconds

    def run(self, request: RequestT, context: RunContext) -> Result:
        """Every waveform asked for, in the order of their seeds."""
        context.progress("wait", 0.0, self.estimate_s(request))
        seed = draw() if request.seed is None else request.seed
        seeds = [sub_seed(seed, number) for number in range(self.count(request))]
        recipe = self.recipe(request)
        try:
            made = self.rounds.run(recipe, [Row(request, s) for s in seeds], context)
        except RuntimeError as error:
            raise told(error) from error
        return self._result(request, recipe, made, seeds)

    def release(self) -> None:
        self.rounds.close()
        del self.pipeline, self._watched
        self._let_go()

    # ── inside ──

    def most_rows(self, recipe: Recipe) -> int:
        """Waveforms of a recipe that are rendered at once."""
        return max(1, min(_ROWS.get(self.place.device.type, 1), self._free // max(1, self.row_bytes(recipe))))

    def _room(self) -> int:
        """Free memory now; while something is rendered, what there was before."""
        now = free_bytes(self.place.device)
        if self.place.device.type == "cuda":
            now += torch.cuda.memory_reserved(self.place.device) - torch.cuda.memory_allocated(self.place.device)
        return max(now, self._free) if self.rounds.busy else now

    def _placed(self, pipeline: Any) -> Any:
        if self.place.offload:
            pipeline.enable_model_cpu_offload(device=self.place.device)
            return pipeline
        return pipeline.to(self.place.device)

    def _render(self, recipe: Recipe, rows: list[Row[RequestT]], round_: Round[Any, Any]) -> Sequence[Samples]:
        """In the thread of the rounds."""
        # On the CPU whatever the device: the same seed begins with the same noise everywhere.
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in rows]
        try:
            with torch.no_grad(), self._watched.by(round_):
                made = [samples_of(one) for one in self.call(self.pipeline, recipe, rows, generators)]
        finally:
            self.pipeline.maybe_free_model_hooks()  # a call that was ended has not put its parts back
        self._measured(recipe, len(rows), round_)
        return made

    def _measured(self, recipe: Recipe, rows: int, round_: Round[Any, Any]) -> None:
        step, decode = round_.step_s, round_.decode_s
        if step is not None and decode is not None:
            self.speeds.note("step", load=recipe.load * rows, seconds=step)
            self.speeds.note("decode", load=recipe.decode_load * rows, seconds=decode)
            self.speeds.keep()

    def _warm_up(self, context: RunContext) -> None:
        request = self.warm_up_request()
        recipe = replace(self.recipe(request), steps=_WARM_UP_STEPS)
        (made,) = self.rounds.run(recipe, [Row(request, 0)], RunContext(deadline=context.deadline))
        context.check_cancelled()
        if not np.isfinite(made).all():
            raise ModelBroken(
                f"what {self.card.id} makes is not finite: its weights are broken, or {self.dtype} is too narrow for "
                "them (set TONEWHEEL_DIFFUSION_DTYPE=float32)"
            )
        log.debug("%s warmed up with %d samples", self.card.id, len(made))

    def _let_go(self) -> None:
        """Of memory after a round that was ended."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _result(self, request: RequestT, recipe: Recipe, made: list[Samples], seeds: list[int]) -> Result:
        rate, channels = self.card.sample_rate or 0, self.card.channels or 1
        (prompt, negative), notes = self.prompts(request), self.notes(request)
        audios: list[Audio] = []
        for number, (found, seed) in enumerate(zip(made, seeds, strict=True), 1):
            name = f"waveform {number}" if len(made) > 1 else "the waveform"
            samples, turned_down = limited(checked(found, recipe.duration_s, rate, channels, name))
            if turned_down:
                notes.append(f"{name} was turned down: its peak was above full scale")
            tags = self.tagged(request, tags_of(self.card, prompt, negative, seed))
            audios.append(Audio(samples, rate, tags=tags))
        if self.place.note:
            notes.append(self.place.note)
        first = audios[0]
        fields: dict[str, Any] = {
            "audio_base64": first, "sample_rate": rate, "duration": first.duration_s, "num_samples": len(first.samples),
            "channels": channels, "prompt": prompt, "seed": seeds[0], "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance_scale, "license": self.card.weight_license, "notes": notes,
            "waveforms": [
                {"audio_base64": a, "seed": s, "duration": a.duration_s, "num_samples": len(a.samples)}
                for a, s in zip(audios, seeds, strict=True)
            ],
        }  # fmt: skip
        duration = sum(audio.duration_s for audio in audios)
        return Result(fields | self.fields(request, recipe), first, seed=seeds[0], duration_s=duration)


def by_request(rows: Sequence[Row[RequestT]]) -> list[tuple[RequestT, int]]:
    """Neighbouring rows of one request as one: (request, how many), for what is encoded once a request."""
    found: list[tuple[RequestT, int]] = []
    for row in rows:
        if found and found[-1][0] is row.request:
            found[-1] = (row.request, found[-1][1] + 1)
        else:
            found.append((row.request, 1))
    return found


def _quiet() -> None:
    """Their warnings are ours to tell, in the answer's notes."""
    for library in ("diffusers", "transformers"):
        telling = import_module(f"{library}.utils.logging")
        telling.set_verbosity_error()
        telling.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*weight_norm. is deprecated")
    warnings.filterwarnings("ignore", category=UserWarning, module="torchsde")  # rounding at the ends of its interval
