"""The families of bench/diffusion.py: pipelines of random weights, at real sizes and at a fraction of the widths.

Real sizes are those of the official configurations (their parameters are in docs/).
Tokenizers are tiny, text encoders of full size.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from tonewheel.models import registry
from tonewheel.models.base import ModelRequest

Size = Literal["small", "real"]
PROMPT = "warm lo-fi with a slow beat, piano and rain"


@dataclass(frozen=True, slots=True)
class Side:
    """One family: how its pipeline is made and called by hand, and the same request in our words.

    `pipeline(size, device, dtype)`; `bare(pipeline, steps, seconds, generator)` → audio; `model()` an object of ours
    that can `take` the pipeline; `request(steps, seconds, seed)`.
    """

    pipeline: Callable[[Size, torch.device, torch.dtype], Any]
    bare: Callable[[Any, int, float, torch.Generator], Any]
    model: Callable[[], Any]
    request: Callable[[int, float, int], ModelRequest]
    steps: int
    seconds: float
    small_seconds: float
    half: torch.dtype = torch.float16


def _ready(build: Callable[[], dict[str, Any]], pipeline: type, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline of what `build` makes; its weights are drawn on the device."""
    with torch.device(device):
        parts = build()
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False).to(dtype)
    made = pipeline(**parts)
    made.set_progress_bar_config(disable=True)
    return made


def _model(card: str) -> Any:
    family, found = registry.resolve(card)
    return family.create(found)


# ── tokenizers ──


def _t5(most: int) -> Any:
    from transformers import T5Tokenizer  # noqa: PLC0415

    known = string.ascii_letters + string.digits + ".,'-"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((c, -3.0) for c in known)]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=most)


def _bytes() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415

    return sorted(ByteLevel.alphabet())


# ── AudioLDM 2 ──


def _audioldm2(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers as tf  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AudioLDM2Pipeline,
        AudioLDM2ProjectionModel,
        AudioLDM2UNet2DConditionModel,
        AutoencoderKL,
        DDIMScheduler,
    )

    real = size == "real"
    text, t5, gpt2 = (768, 1024, 768) if real else (64, 64, 64)
    widths = (128, 256, 384, 640) if real else (32, 64, 96, 160)
    words = tf.RobertaTokenizer(
        vocab={w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>", *_bytes(), "<mask>"])}, merges=[],
        model_max_length=77,
    )  # fmt: skip

    def build() -> dict[str, Any]:
        clap = tf.ClapConfig(
            text_config={"hidden_size": text, "num_attention_heads": 4, "intermediate_size": 4 * text},
            audio_config={} if real else {"patch_embeds_hidden_size": 16, "hidden_size": 128},
        )
        clap.text_config.num_hidden_layers = 12 if real else 2
        language = tf.GPT2Config(n_embd=gpt2, n_layer=12 if real else 2, n_head=4)
        language.max_new_tokens = 8
        return {
            "vae": AutoencoderKL(
                in_channels=1, out_channels=1, latent_channels=8, layers_per_block=2,
                block_out_channels=(128, 256, 512) if real else (32, 64, 128),
                down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
            ),
            "text_encoder": tf.ClapModel(clap),
            "text_encoder_2": tf.T5EncoderModel(
                tf.T5Config(
                    d_model=t5, d_kv=64 if real else 16, d_ff=2816 if real else 128, num_layers=24 if real else 2,
                    num_heads=16 if real else 4, feed_forward_proj="gated-gelu",
                )
            ),
            "projection_model": AudioLDM2ProjectionModel(512, t5, gpt2),
            "language_model": tf.GPT2LMHeadModel(language),
            "tokenizer": words,
            "tokenizer_2": _t5(128),
            "feature_extractor": tf.ClapFeatureExtractor(),
            "unet": AudioLDM2UNet2DConditionModel(
                sample_size=128, in_channels=8, out_channels=8, block_out_channels=widths, layers_per_block=2,
                down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
                up_block_types=(*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
                cross_attention_dim=[[None, gpt2, t5]] * 4,
            ),
            "scheduler": DDIMScheduler(
                beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
                set_alpha_to_one=False,
            ),
            "vocoder": tf.SpeechT5HifiGan(
                tf.SpeechT5HifiGanConfig(
                    model_in_dim=64, sampling_rate=16_000, upsample_initial_channel=1024 if real else 128,
                    upsample_rates=[5, 4, 2, 2, 2], upsample_kernel_sizes=[15, 8, 4, 4, 4], normalize_before=False,
                )
            ),
        }  # fmt: skip

    return _ready(build, AudioLDM2Pipeline, device, dtype)


def _audioldm2_bare(pipeline: Any, steps: int, seconds: float, generator: torch.Generator) -> Any:
    return pipeline(
        PROMPT, negative_prompt="Low quality, distorted, noise.", audio_length_in_s=seconds, num_inference_steps=steps,
        guidance_scale=3.5, generator=generator,
    ).audios  # fmt: skip


def _audioldm2_request(steps: int, seconds: float, seed: int) -> ModelRequest:
    from tonewheel.models.audioldm2.request import Audioldm2Request  # noqa: PLC0415

    asked = {"prompt": PROMPT, "duration": seconds, "seed": seed, "num_inference_steps": max(10, steps)}
    return Audioldm2Request.model_validate(asked).model_copy(update={"num_inference_steps": steps})


# ── Stable Audio Open ──


def _stable_audio(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers as tf  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AutoencoderOobleck,
        CosineDPMSolverMultistepScheduler,
        StableAudioDiTModel,
        StableAudioPipeline,
        StableAudioProjectionModel,
    )

    real = size == "real"
    text = 768 if real else 64

    def build() -> dict[str, Any]:
        heads = {} if real else {
            "num_attention_heads": 4, "num_key_value_attention_heads": 2, "attention_head_dim": 32, "sample_size": 256,
            "cross_attention_dim": text, "global_states_input_dim": 2 * text, "cross_attention_input_dim": text,
        }  # fmt: skip
        return {
            "vae": AutoencoderOobleck(**({} if real else {"encoder_hidden_size": 16, "decoder_channels": 16})),
            "text_encoder": tf.T5EncoderModel(
                tf.T5Config(d_model=text, d_ff=4 * text, num_layers=12, num_heads=12 if real else 1)
            ),
            "projection_model": StableAudioProjectionModel(text, text, min_value=0, max_value=512),
            "tokenizer": _t5(128),
            "transformer": StableAudioDiTModel(**heads),
            "scheduler": CosineDPMSolverMultistepScheduler(
                sigma_min=0.3, sigma_max=500.0, sigma_data=1.0, solver_order=2, prediction_type="v_prediction",
                sigma_schedule="exponential",
            ),
        }  # fmt: skip

    return _ready(build, StableAudioPipeline, device, dtype)


def _stable_audio_bare(pipeline: Any, steps: int, seconds: float, generator: torch.Generator) -> Any:
    return pipeline(
        PROMPT, audio_end_in_s=seconds, num_inference_steps=steps, guidance_scale=7.0, generator=generator
    ).audios


def _stable_audio_request(steps: int, seconds: float, seed: int) -> ModelRequest:
    from tonewheel.models.stable_audio.request import StableAudioRequest  # noqa: PLC0415

    asked = {"prompt": PROMPT, "duration": seconds, "seed": seed, "num_inference_steps": max(10, steps)}
    return StableAudioRequest.model_validate(asked).model_copy(update={"num_inference_steps": steps})


# ── Stable Audio 3 medium ──


def _stable_audio_3(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers as tf  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AutoencoderSAME,
        FlowMatchEulerDiscreteScheduler,
        StableAudio3DiTModel,
        StableAudio3DurationEmbedder,
        StableAudio3Pipeline,
    )

    real = size == "real"
    text = 768 if real else 64
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    words = tf.GemmaTokenizer(vocab={w: i for i, w in enumerate([*pieces, *string.ascii_letters])}, merges=[])

    def build() -> dict[str, Any]:
        module = tf.T5GemmaModuleConfig(
            vocab_size=256_000 if real else 512, hidden_size=text, intermediate_size=2048 if real else 128,
            num_hidden_layers=12 if real else 2, num_attention_heads=12 if real else 1,
            num_key_value_heads=12 if real else 1, head_dim=64, query_pre_attn_scalar=64,
            layer_types=["sliding_attention", "full_attention"] * (6 if real else 1),
        )  # fmt: skip
        narrow: dict[str, Any] = {} if real else {
            "io_channels": 64, "embed_dim": 256, "num_heads": 4, "cond_token_dim": text, "global_cond_dim": text,
            "local_add_cond_dim": 65,
        }  # fmt: skip
        parts: dict[str, Any] = {
            "vae": AutoencoderSAME(
                encoder_channels=256 if real else 32,
                latent_dim=256 if real else 64,
                encoder_transformer_depths=(12,),
                decoder_sinusoidal_blocks=(8,),
            ),
            "text_encoder": tf.T5GemmaEncoderModel(
                tf.T5GemmaConfig(encoder=module, decoder=module, is_encoder_decoder=False, vocab_size=module.vocab_size)
            ),
            "tokenizer": words,
            "duration_embedder": StableAudio3DurationEmbedder(output_dim=text),
            "transformer": StableAudio3DiTModel(**narrow),
            "scheduler": FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
        }
        for part in (parts["vae"], parts["transformer"]):  # what training would begin with is silence
            for tensor in part.parameters():
                if tensor.ndim > 1 and (not tensor.any() or tensor.abs().max() < 1e-3):
                    torch.nn.init.normal_(tensor, 0, tensor.shape[-1] ** -0.5)
        return parts

    return _ready(build, StableAudio3Pipeline, device, dtype)


def _stable_audio_3_bare(pipeline: Any, steps: int, seconds: float, generator: torch.Generator) -> Any:
    return pipeline(PROMPT, duration=seconds, num_inference_steps=steps, generator=generator).audios


def _stable_audio_3_request(steps: int, seconds: float, seed: int) -> ModelRequest:
    from tonewheel.models.stable_audio.request import StableAudioRequest  # noqa: PLC0415

    asked = {"prompt": PROMPT, "duration": seconds, "seed": seed, "num_inference_steps": max(10, steps)}
    return StableAudioRequest.model_validate(asked).model_copy(update={"num_inference_steps": steps})


# ── ACE-Step XL turbo ──


def _ace_step(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers as tf  # noqa: PLC0415
    from diffusers import (  # noqa: PLC0415
        AceStepConditionEncoder,
        AceStepPipeline,
        AceStepTransformer1DModel,
        AutoencoderOobleck,
        FlowMatchEulerDiscreteScheduler,
    )

    real = size == "real"
    letters = {letter: n for n, letter in enumerate(_bytes())} | {"<|endoftext|>": 256, "<|im_end|>": 257}
    words = tf.Qwen2Tokenizer(vocab=letters, merges=[], unk_token="<|endoftext|>", pad_token="<|endoftext|>")
    words.padding_side = "left"
    narrow: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    text = 1024 if real else 128

    def build() -> dict[str, Any]:
        wide: dict[str, Any] = {
            "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 32, "num_attention_heads": 32,
            "encoder_hidden_size": 2048,
        }  # fmt: skip
        small: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 32, **narrow}
        qwen: dict[str, Any] = {
            "hidden_size": text, "intermediate_size": 3 * text, "num_hidden_layers": 28 if real else 4,
            "num_attention_heads": 16 if real else 4, "num_key_value_heads": 8 if real else 2,
            "head_dim": 128 if real else 32, "vocab_size": 151_669 if real else 512,
        }  # fmt: skip
        condition: dict[str, Any] = {} if real else {"hidden_size": 256, "intermediate_size": 768, **narrow}
        vae = {} if real else {"encoder_hidden_size": 16, "decoder_channels": 16}
        return {
            "transformer": AceStepTransformer1DModel(**(wide if real else small), is_turbo=True, model_version="turbo"),
            "condition_encoder": AceStepConditionEncoder(text_hidden_dim=text, **condition),
            "text_encoder": tf.Qwen3Model(tf.Qwen3Config(**qwen)),
            "vae": AutoencoderOobleck(downsampling_ratios=[2, 4, 4, 6, 10], sampling_rate=48_000, **vae),
            "tokenizer": words,
            "scheduler": FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        }

    return _ready(build, AceStepPipeline, device, dtype)


def _ace_step_bare(pipeline: Any, steps: int, seconds: float, generator: torch.Generator) -> Any:
    return pipeline(
        PROMPT, lyrics="[Instrumental]", audio_duration=seconds, num_inference_steps=steps, guidance_scale=1.0,
        shift=3.0, generator=generator,
    ).audios  # fmt: skip


def _ace_step_model() -> Any:
    from tonewheel.models.ace_step import memory  # noqa: PLC0415

    model = _model("ace-step-turbo")
    model._shape = memory.shape_of(model.card)
    return model


def _ace_step_request(steps: int, seconds: float, seed: int) -> ModelRequest:
    from tonewheel.models.ace_step.request import AceStepRequest  # noqa: PLC0415

    return AceStepRequest.model_validate(
        {"prompt": PROMPT, "duration": seconds, "seed": seed, "num_inference_steps": steps}
    )


FAMILIES = {
    "audioldm2": Side(
        _audioldm2, _audioldm2_bare, lambda: _model("audioldm2"), _audioldm2_request, steps=200, seconds=10.0,
        small_seconds=4.0,
    ),
    "stable-audio": Side(
        _stable_audio, _stable_audio_bare, lambda: _model("stable-audio-open"), _stable_audio_request, steps=100,
        seconds=47.0, small_seconds=8.0,
    ),
    "stable-audio-3": Side(
        _stable_audio_3, _stable_audio_3_bare, lambda: _model("stable-audio-3-medium"), _stable_audio_3_request,
        steps=8, seconds=120.0, small_seconds=20.0,
    ),
    "ace-step": Side(
        _ace_step, _ace_step_bare, _ace_step_model, _ace_step_request, steps=8, seconds=60.0, small_seconds=10.0,
        half=torch.bfloat16,
    ),
}  # fmt: skip
