"""What Stable Audio is asked and what it answers: contracts.md, 2009, and the fields added beside them."""

from __future__ import annotations

from pydantic import Field, PrivateAttr, field_validator, model_validator

from tonewheel.errors import InvalidRequest
from tonewheel.models.base import Upload
from tonewheel.models.diffusion.request import MAX_PROMPT, DiffusionRequest, DiffusionResponse, Prompt
from tonewheel.models.stable_audio.card import MAX_DURATION_S, OPEN_MAX_S
from tonewheel.models.stable_audio.edit import Edit

MIN_DURATION_S = 1.0


class StableAudioRequest(DiffusionRequest):
    """A description, and for Stable Audio 3 perhaps a recording: to vary (`init_audio`), or to make a part of anew
    (`inpaint_audio`)."""

    prompt: Prompt = Field(description="What it is to sound like.")
    negative_prompt: str = Field(
        default="", max_length=MAX_PROMPT, description="What it is not to sound like; needs guidance_scale above 1."
    )
    duration: float = Field(
        default=10.0, ge=MIN_DURATION_S, le=MAX_DURATION_S,
        description=f"Seconds, exact to the sample: Open 1.0 to {OPEN_MAX_S:g}, Stable Audio 3 small to 120, medium to "
        f"{MAX_DURATION_S:g}. Absent with a recording = as long as that.",
    )  # fmt: skip
    num_inference_steps: int = Field(
        default=100, ge=10, le=200,
        description="More are slower and, to a point, finer. Absent for distilled checkpoints = 8, what they are for.",
    )  # fmt: skip
    guidance_scale: float = Field(
        default=7.0, ge=0, le=100,
        description="How closely the prompt is followed; up to 1 = no guidance, half the work. Absent for distilled "
        "checkpoints = 1.",
    )  # fmt: skip
    num_waveforms_per_prompt: int = Field(
        default=1, ge=1, le=4, description="So many different answers, each with a seed of its own."
    )
    init_audio: Upload | None = Field(
        default=None, description="Stable Audio 3: a recording of which this is to be a variation."
    )
    init_noise_level: float = Field(
        default=0.7, ge=0.01, le=1, description="How far from `init_audio`: 1 = nothing of it is left."
    )
    inpaint_audio: Upload | None = Field(
        default=None, description="Stable Audio 3: a recording of which the part named is made anew."
    )
    inpaint_start: float | None = Field(
        default=None, ge=0, le=MAX_DURATION_S,
        description="Second of `inpaint_audio` where the new part begins; absent = its end, to go on from there.",
    )  # fmt: skip
    inpaint_end: float | None = Field(
        default=None, gt=0, le=MAX_DURATION_S, description="Second where the new part ends; absent = `duration`."
    )

    _edit: Edit | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _belongs_to_a_recording(self) -> StableAudioRequest:
        usual = type(self).model_fields["init_noise_level"].default
        for name, recording, said in (
            ("init_noise_level", "init_audio", self.init_noise_level != usual),
            ("inpaint_start", "inpaint_audio", self.inpaint_start is not None),
            ("inpaint_end", "inpaint_audio", self.inpaint_end is not None),
        ):
            if said and getattr(self, recording) is None:
                raise InvalidRequest(f"{name}: belongs to {recording}: send that file, or leave it out", param=name)
        return self

    @field_validator("negative_prompt", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return "" if value is None else value

    @field_validator("negative_prompt")
    @classmethod
    def _without_margins(cls, value: str) -> str:
        return value.strip()

    @property
    def edit(self) -> Edit | None:
        """The recording sent with it, once the model has read it (`StableAudio3.validate`)."""
        return self._edit

    def with_edit(self, edit: Edit | None) -> StableAudioRequest:
        self._edit = edit
        return self

    @property
    def seconds(self) -> float:
        """Of each waveform: as asked, or those of the recording."""
        return self.duration if self.edit is None else self.edit.duration_s

    def audio_seconds(self) -> float:
        return self.seconds * self.num_waveforms_per_prompt


class StableAudioResponse(DiffusionResponse):
    """The waveforms, 44.1 kHz stereo."""
