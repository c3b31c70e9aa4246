"""What Stable Audio can be asked (contracts.md, 2009), what memory it says it takes, what a plan becomes. No torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from tonewheel.errors import InvalidRequest
from tonewheel.jobs.fleet_renderer import request_body
from tonewheel.jobs.rendering import RenderRequest
from tonewheel.models import registry
from tonewheel.models.stable_audio import FAMILY
from tonewheel.models.stable_audio.memory import memory_bytes
from tonewheel.models.stable_audio.prompt import from_plan
from tonewheel.models.stable_audio.recipes import recipe_of
from tonewheel.models.stable_audio.request import StableAudioRequest
from tonewheel.settings import settings
from tonewheel.songs import make_plan, plan_request
from tonewheel.songs.plan import MAX_SEED

GB = 1e9
OPEN = registry.card("stable-audio-open")


def asked(**fields: Any) -> StableAudioRequest:
    return StableAudioRequest.model_validate({"prompt": "rain"} | fields)


def test_the_contracts_defaults_are_kept() -> None:
    request = asked()
    assert (request.num_inference_steps, request.guidance_scale, request.num_waveforms_per_prompt) == (100, 7.0, 1)
    assert (request.negative_prompt, request.seed, request.client_job_id) == ("", None, None)
    assert asked(negative_prompt=None).negative_prompt == ""
    assert asked(prompt="  rain \n").prompt == "rain"


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("prompt", ("x", "x" * 10_000), ("", "  ", "x" * 10_001, "x" * 100_000, None, 3)),
        ("negative_prompt", ("", "x" * 10_000), ("x" * 10_001, "x" * 100_000, 3)),
        ("duration", (1, 47, 380), (0, 0.99, -1, 380.1, float("nan"), float("inf"), "long", None, True)),
        ("num_inference_steps", (10, 100, 200), (0, 9, 201, -1, 10.5, None, True)),
        ("guidance_scale", (0, 1, 7, 100), (-0.1, -7, 100.1, float("nan"), float("inf"), None)),
        ("num_waveforms_per_prompt", (1, 4), (0, 5, 1.5, None)),
        ("seed", (0, MAX_SEED), (-1, MAX_SEED + 1, 0.5)),
        ("client_job_id", ("a:b", "x" * 256), ("a b", "", "x" * 257)),
        ("init_noise_level", (0.01, 1), (0, 1.01, float("nan"))),
        ("inpaint_start", (0, 380, None), (-0.1, 380.1, float("nan"))),
        ("inpaint_end", (0.1, 380, None), (0, -1, 380.1, float("nan"))),
    ],
)
def test_ranges_are_those_of_the_contract(field: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    recordings = {"init_audio": b"x"} if "init" in field else {"inpaint_audio": b"x"} if "inpaint" in field else {}
    for value in good:
        assert getattr(asked(**recordings, **{field: value}), field) == value
    for value in bad:
        with pytest.raises((ValidationError, InvalidRequest)) as refused:
            asked(**recordings, **{field: value})
        assert field in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"init_noise_level": 0.4}, "init_audio"),
        ({"inpaint_start": 0}, "inpaint_audio"),
        ({"inpaint_end": 3, "init_audio": b"x"}, "inpaint_audio"),
    ],
)
def test_what_belongs_to_a_recording_is_refused_without_it(fields: dict[str, Any], needs: str) -> None:
    with pytest.raises(InvalidRequest, match=f"belongs to {needs}") as refused:
        asked(**fields)
    assert refused.value.param == next(iter(fields))
    assert asked(init_noise_level=0.7).edit is None, "forms send what is usual, too"


def test_a_prompt_is_needed() -> None:
    with pytest.raises(ValidationError, match="prompt"):
        StableAudioRequest.model_validate({})


def test_the_cards_tell_what_the_weights_forbid_and_where_they_are() -> None:
    assert FAMILY.service == "stable-audio" and {card.default_port for card in FAMILY.cards} == {2009}
    assert FAMILY.cards[0].source == "hf:stabilityai/stable-audio-open-1.0" and FAMILY.cards[0].max_duration_s == 47
    for card in FAMILY.cards:
        assert card.consent_required and card.weight_license == "Stability AI Community License"
        assert "1 M USD" in card.forbids and (card.sample_rate, card.channels) == (44_100, 2)
        assert "model_index.json" in card.patterns and not any(
            name.endswith((".bin", ".ckpt")) for name in card.patterns
        )
        # Of Stable Audio 3 only Stability's own layout is published: it is what the converter is given.
        assert ("model.safetensors" in card.patterns) == card.id.startswith("stable-audio-3")


def test_the_family_is_known_without_torch() -> None:
    told = (
        "import sys, tonewheel.models.registry as r; r.families(); assert not {'torch', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", told], check=True, timeout=120)


# ── memory ──────────────────────────────────────────────────────────────────────────────────────


def test_memory_is_that_of_the_published_sizes_in_the_type_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.cache_clear()
    idle = {card.id: memory_bytes(card, None) / GB for card in FAMILY.cards}
    assert 5.3 < idle["stable-audio-open"] < 7 and 9 < idle["stable-audio-3-medium"] < 13
    assert 3 < idle["stable-audio-3-small-music"] < 5
    monkeypatch.setenv("TONEWHEEL_DIFFUSION_DTYPE", "float16")
    settings.cache_clear()
    assert 2.6 < memory_bytes(OPEN, None) / GB < 4
    settings.cache_clear()


def test_longer_sound_and_guidance_take_more_memory() -> None:
    settings.cache_clear()
    short, long = memory_bytes(OPEN, asked(duration=2)), memory_bytes(OPEN, asked(duration=47))
    assert memory_bytes(OPEN, None) < short < long < memory_bytes(OPEN, None) + 5 * GB
    assert memory_bytes(OPEN, asked(duration=2, guidance_scale=1)) < short
    medium = registry.card("stable-audio-3-medium")
    assert memory_bytes(medium, asked(duration=10)) < memory_bytes(medium, asked(duration=380))


# ── what is rendered together ───────────────────────────────────────────────────────────────────


def test_equal_settings_are_rendered_together_and_others_are_not() -> None:
    one = recipe_of(OPEN, asked(prompt="rain", seed=1, num_waveforms_per_prompt=3))
    assert one == recipe_of(OPEN, asked(prompt="a storm", seed=2))
    for other in ({"duration": 11}, {"num_inference_steps": 50}, {"guidance_scale": 6}, {"negative_prompt": "hiss"}):
        assert one != recipe_of(OPEN, asked(**other))
    both = asked(negative_prompt="hiss"), asked(negative_prompt="voices")
    assert recipe_of(OPEN, both[0]) == recipe_of(OPEN, both[1])


def test_open_always_works_on_its_full_length_and_the_third_on_what_is_asked() -> None:
    medium = registry.card("stable-audio-3-medium")
    assert recipe_of(OPEN, asked(duration=1)).load == recipe_of(OPEN, asked(duration=47)).load == 2048
    assert recipe_of(OPEN, asked(guidance_scale=1)).load == 1024
    assert recipe_of(medium, asked(duration=1)).load < recipe_of(medium, asked(duration=100)).load
    assert recipe_of(OPEN, asked(duration=1)).decode_load < recipe_of(OPEN, asked(duration=47)).decode_load


# ── plans ───────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_a_description_of_style_instruments_and_tempo() -> None:
    plan = make_plan(plan_request(narrative="A lamp above the sea", duration_s=40.0, seed=3, style="lo-fi-hip-hop"))
    told = from_plan(plan)
    request = StableAudioRequest.model_validate(told)
    assert f"{plan.tempo:.0f} bpm" in request.prompt and plan.key in request.prompt
    assert plan.instrumentation[0].instrument in request.prompt
    assert request.duration == plan.duration_s
    body = request_body(RenderRequest(OPEN.id, 40.0, 5, plan), set(StableAudioRequest.model_fields), "job", from_plan)
    assert body["prompt"] == request.prompt and (body["duration"], body["seed"]) == (40.0, 5)
