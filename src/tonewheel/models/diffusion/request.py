"""Fields that every request of a diffusion family has, and the waveforms of the answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from tonewheel.models.base import Metadata, ModelRequest, Seed

MAX_PROMPT = 10_000  # characters; what the text encoders read is far less, and the notes say what was left out


def _worded(value: str) -> str:
    value = value.strip()
    if not value:
        raise ValueError("prompt is empty: say in a few words what it is to sound like")
    return value


Prompt = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_worded)]


class DiffusionRequest(ModelRequest):
    """What all have. `prompt` and the like are each family's own: contracts differ."""

    seed: Seed | None = Field(
        default=None, description="The same seed and request give the same waveforms; absent = drawn, and told."
    )
    force: bool = Field(
        default=False, description="Render it also where the estimate says that it takes longer than the deadline."
    )


class Waveform(BaseModel):
    """One of the waveforms made. Its seed, sent alone, makes it again."""

    audio_base64: str = Field(description="WAV, 16 bits.")
    seed: int
    duration: float = Field(description="Seconds.")
    num_samples: int = Field(description="A channel.")


class DiffusionResponse(BaseModel):
    """What was made: the first waveform in `audio_base64`, all of them in `waveforms`."""

    audio_base64: str = Field(description="The first waveform: WAV, 16 bits.")
    waveforms: list[Waveform] = Field(description="Every waveform asked for, in the order of their seeds.")
    sample_rate: int
    duration: float = Field(description="Seconds of each, exact to the sample.")
    num_samples: int = Field(description="A channel.")
    channels: int
    prompt: str
    seed: int = Field(description="Of the first; the others are derived from it.")
    num_inference_steps: int
    guidance_scale: float
    license: str | None = Field(description="Of the weights: what may be done with what they make.")
    notes: list[str] = Field(default=[], description="What was done otherwise than asked, such as a prompt cut short.")
    metadata: Metadata
