"""AudioLDM 2 behind the four verbs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tonewheel.errors import ModelBroken
from tonewheel.models.audioldm2.card import SAMPLE_RATE
from tonewheel.models.audioldm2.memory import idle_bytes, row_bytes
from tonewheel.models.audioldm2.request import FRAMES_PER_SECOND, Audioldm2Request, recipe_of
from tonewheel.models.diffusion.checkpoint import Layout, Part
from tonewheel.models.diffusion.model import DiffusionModel, Row, by_request
from tonewheel.models.diffusion.recipe import Recipe
from tonewheel.models.diffusion.tokens import OwnTokenizer

_SCHEDULERS = (
    "DDIMScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
)  # fmt: skip
# Tables of CLAP that files of some versions of transformers hold and others do not.
_COMPUTED = (r"\.(position_ids|token_type_ids|relative_position_index|num_batches_tracked|attn_mask)$",)
Encoded = tuple[Tensor, Tensor, Tensor]  # T5's states [2?, n, 1024], their mask [2?, n], GPT2's states [2?, 8, 768]


class Audioldm2(DiffusionModel[Audioldm2Request]):
    """Descriptions are encoded each by itself: GPT2 counts positions, so that its states depend on the padding beside
    longer neighbours, and the negative prompt is cut to the length of the prompt."""

    denoiser = "unet"
    decoders = ("vae.decoder", "vocoder")
    layout = Layout(
        "AudioLDM2Pipeline",
        (
            Part("text_encoder", ("ClapModel",), unneeded=_COMPUTED, made=_COMPUTED),
            Part("text_encoder_2", ("T5EncoderModel",), unneeded=(r"^decoder\.",)),
            Part("projection_model", ("AudioLDM2ProjectionModel",)),
            # What generates is the whole model with its head, whose weights are those of its embeddings. Older folders
            # name the part without (https://github.com/huggingface/diffusers/issues/12630).
            Part(
                "language_model", ("GPT2LMHeadModel", "GPT2Model"), loads_as={"GPT2Model": "GPT2LMHeadModel"},
                unneeded=(r"\.attn\.(masked_)?bias$",), made=(r"^lm_head\.weight$",),
            ),
            Part("unet", ("AudioLDM2UNet2DConditionModel",)),
            Part("vae", ("AutoencoderKL",)),
            Part("vocoder", ("SpeechT5HifiGan",)),
            Part("tokenizer", ("RobertaTokenizer", "RobertaTokenizerFast")),
            Part("tokenizer_2", ("T5Tokenizer", "T5TokenizerFast")),
            Part("feature_extractor", ("ClapFeatureExtractor",)),
            Part("scheduler", _SCHEDULERS),
        ),
    )  # fmt: skip

    def recipe(self, request: Audioldm2Request) -> Recipe:
        return recipe_of(request)

    def idle_bytes(self, number: int) -> int:
        return idle_bytes(self.card, number)

    def row_bytes(self, recipe: Recipe) -> int:
        return row_bytes(recipe, self.place.dtype.itemsize)

    def warm_up_request(self) -> Audioldm2Request:
        return Audioldm2Request(prompt="warm up", duration=5.0, num_inference_steps=10)

    def prepared(self, pipeline: Any) -> Any:
        vocoder = pipeline.vocoder.config
        found = (int(vocoder.sampling_rate), math.prod(vocoder.upsample_rates))
        if found != (SAMPLE_RATE, SAMPLE_RATE // FRAMES_PER_SECOND):
            raise ModelBroken(f"its vocoder makes {found[0]} Hz in hops of {found[1]}; AudioLDM 2 has {SAMPLE_RATE} Hz")
        self._tokenizer = OwnTokenizer(pipeline.tokenizer_2)
        pipeline.vae.enable_slicing()  # one waveform is decoded after the other: the VAE takes most of the memory
        return pipeline

    def notes(self, request: Audioldm2Request) -> list[str]:
        notes = []
        for name, text in (("prompt", request.prompt), ("negative_prompt", request.negative_prompt)):
            if left_out := self._left_out(text):
                notes.append(f"{name} is longer than the model reads: its last {left_out} tokens were left out")
        if request.guidance_scale <= 1 and request.negative_prompt and "negative_prompt" in request.model_fields_set:
            notes.append("negative_prompt was not used: it needs a guidance_scale above 1")
        return notes

    def fields(self, request: Audioldm2Request, recipe: Recipe) -> dict[str, Any]:
        return {"negative_prompt": request.negative_prompt}

    def call(
        self, pipeline: Any, recipe: Recipe, rows: list[Row[Audioldm2Request]], generators: list[torch.Generator]
    ) -> Any:
        guided = recipe.guidance_scale > 1
        encoded = [_encoded(pipeline, request, count, guided) for request, count in by_request(rows)]
        states, mask, generated = _joined(encoded, guided)
        return pipeline(
            audio_length_in_s=_seconds(recipe.duration_s), num_inference_steps=recipe.steps,
            guidance_scale=recipe.guidance_scale, generator=generators,
            **_named(states, mask, generated, guided),
        ).audios  # fmt: skip

    def _left_out(self, text: str) -> int:
        """Tokens beyond what T5 reads, the encoder of the two that reads more."""
        return max(0, self._tokenizer.count(text) - int(self.pipeline.tokenizer_2.model_max_length))


def _seconds(duration_s: float) -> float:
    """What to ask the pipeline for, which leaves out a frame that is begun: a tenth of one over whole frames."""
    return (math.ceil(round(duration_s * FRAMES_PER_SECOND, 6)) + 0.1) / FRAMES_PER_SECOND


def _encoded(pipeline: Any, request: Audioldm2Request, count: int, guided: bool) -> Encoded:
    """Of one request, `count` times: with guidance the negative prompt's come first."""
    states, mask, generated = pipeline.encode_prompt(
        request.prompt, pipeline._execution_device, count, guided, negative_prompt=request.negative_prompt
    )
    return states, mask, generated


def _joined(encoded: list[Encoded], guided: bool) -> Encoded:
    """One batch of all, negative ones first. What is filled up behind shorter ones is masked."""
    longest = max(states.shape[1] for states, _, _ in encoded)
    halves: list[list[Encoded]] = [[], []]
    for states, mask, generated in encoded:
        missing = longest - states.shape[1]
        whole = (torch.nn.functional.pad(states, (0, 0, 0, missing)), torch.nn.functional.pad(mask, (0, missing)))
        parts = [t.chunk(2) if guided else (t,) for t in (*whole, generated)]
        for half, tensors in zip(halves, zip(*parts, strict=True), strict=False):
            half.append(tensors)
    states, mask, generated = (
        torch.cat([each[n] for half in halves for each in half]) for n in range(3)
    )  # fmt: skip
    return states, mask, generated


def _named(states: Tensor, mask: Tensor, generated: Tensor, guided: bool) -> dict[str, Tensor]:
    """As the pipeline takes them."""
    given = {"prompt_embeds": states, "attention_mask": mask, "generated_prompt_embeds": generated}
    if not guided:
        return given
    negative = {f"negative_{name}": tensor.chunk(2)[0] for name, tensor in given.items()}
    return negative | {name: tensor.chunk(2)[1] for name, tensor in given.items()}
