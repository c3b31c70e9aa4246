"""Stable Audio on diffusers: music and sounds from a description, in stereo (Evans et al. 2024; Stability AI 2026)."""

from __future__ import annotations

from typing import Any

from tonewheel.models.base import Card, Family, Model
from tonewheel.models.extra import needing
from tonewheel.models.stable_audio.card import CARDS, third
from tonewheel.models.stable_audio.memory import estimate, memory_bytes
from tonewheel.models.stable_audio.prompt import from_plan
from tonewheel.models.stable_audio.request import StableAudioRequest, StableAudioResponse


def _create(card: Card) -> Model[Any]:
    with needing("diffusion", card.id):
        from tonewheel.models.stable_audio.model import StableAudio3, StableAudioOpen  # noqa: PLC0415

    return StableAudioOpen(card) if third(card) is None else StableAudio3(card)


FAMILY = Family(
    name="stable_audio",
    title="Stable Audio",
    cards=CARDS,
    request=StableAudioRequest,
    response=StableAudioResponse,
    create=_create,
    memory_bytes=memory_bytes,
    estimate=estimate,
    max_body_bytes=64 * 1024 * 1024,  # a recording in base64
    from_plan=from_plan,
)
