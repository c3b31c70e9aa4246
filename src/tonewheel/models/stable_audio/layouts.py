"""The folders of Stable Audio checkpoints as diffusers has them, and how Stability's own are recognised."""

from __future__ import annotations

from pathlib import Path

from tonewheel.models.diffusion.checkpoint import Layout, Part

_CONFIG, _WEIGHTS = "model_config.json", ("model.safetensors", "model.ckpt")


def _raw(folder: Path) -> str | None:
    """The file of weights of a folder in the layout of stable-audio-tools or stable-audio-3."""
    names = [name for name in _WEIGHTS if (folder / name).is_file()]
    return names[0] if names and (folder / _CONFIG).is_file() else None


def _raw_open(folder: Path) -> str | None:
    name = _raw(folder)
    return name and (
        f"{folder} is in the layout of stable-audio-tools ({_CONFIG}, {name}), not in diffusers': pull "
        "stable-audio-open, whose source has both, or convert it with diffusers' scripts/convert_stable_audio.py"
    )


def _raw_third(folder: Path) -> str | None:
    name = _raw(folder)
    return name and (
        f"{folder} is in Stability's own layout ({_CONFIG}, {name}), not in diffusers': convert it once with "
        f"diffusers' scripts/convert_stable_audio_3_to_diffusers.py --checkpoint_path {folder / name} "
        f"--model_config_path {folder / _CONFIG} --output_dir NEW, then pull the model again with --from NEW"
    )


OPEN = Layout(
    "StableAudioPipeline",
    (
        Part("transformer", ("StableAudioDiTModel",)),
        Part("vae", ("AutoencoderOobleck",)),
        Part("text_encoder", ("T5EncoderModel",)),
        Part("projection_model", ("StableAudioProjectionModel",)),
        Part("tokenizer", ("T5TokenizerFast", "T5Tokenizer")),
        Part("scheduler", ("CosineDPMSolverMultistepScheduler", "EDMDPMSolverMultistepScheduler")),
    ),
    foreign=_raw_open,
)

THIRD = Layout(
    ("StableAudio3Pipeline", "StableAudio3InpaintPipeline", "StableAudio3AudioToAudioPipeline"),
    (
        Part("transformer", ("StableAudio3DiTModel",)),
        Part("vae", ("AutoencoderSAME",)),
        Part("text_encoder", ("T5GemmaEncoderModel",)),
        Part("duration_embedder", ("StableAudio3DurationEmbedder",)),
        Part("tokenizer", ("GemmaTokenizerFast", "GemmaTokenizer")),
        Part("scheduler", ("FlowMatchEulerDiscreteScheduler",)),
    ),
    foreign=_raw_third,
)
