"""What ACE-Step can be asked, what a song plan becomes, and what memory it says it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tonewheel.errors import InvalidRequest
from tonewheel.explain import explain
from tonewheel.jobs.fleet_renderer import request_body
from tonewheel.jobs.rendering import RenderRequest
from tonewheel.models import registry
from tonewheel.models.ace_step.memory import memory_bytes
from tonewheel.models.ace_step.plan import from_plan
from tonewheel.models.ace_step.recipe import frames_of, recipe_of
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.songs import make_plan, plan_request
from tonewheel.songs.plan import SongPlan

GB = 1e9


def asked(**fields: Any) -> AceStepRequest:
    return AceStepRequest.model_validate({"prompt": "a small band"} | fields)


def refusal(**fields: Any) -> InvalidRequest:
    """The one error that whoever asks this is told."""
    try:
        asked(**fields)
    except ValidationError as error:
        return explain(error, InvalidRequest, "", tuple(AceStepRequest.model_fields))
    except InvalidRequest as error:
        return error
    raise AssertionError("it was taken")


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("duration", (10, 10.01, 600), (0, 9.99, 600.1, float("nan"), "long", True)),
        ("num_inference_steps", (1, 8, 200), (0, -1, 201, 2.5)),
        ("guidance_scale", (1, 7, 15), (0, 0.99, -1, 15.1, float("nan"), float("inf"))),
        ("shift", (1, 3, 5), (0, 0.9, 5.1, float("nan"))),
        ("bpm", (30, 300), (29, 301, 99.5)),
        ("num_variations", (1, 8), (0, 9)),
        ("seed", (0, 2**63 - 1), (-1, 2**63)),
        ("prompt", ("", "x" * 10_000), ("x" * 100_000,)),
        ("lyrics", ("", "la\n" * 6_000), ("x" * 100_000,)),
        ("language", ("en", "yue", "unknown", "DE"), ("klingon", "")),
        ("key", ("A minor", "Am", "Bb", "f# minor"), ("H", "C dorian", "x" * 50)),
        ("time_signature", ("2/4", "3/4", "4/4", "6/8"), ("5/4", "4", "7/8")),
        ("task", ("text2music",), ("lego", "extract", "Cover")),
    ],
)
def test_every_field_is_held_to_its_bounds(field: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        asked(lyrics="la", **{field: value}) if field != "lyrics" else asked(**{field: value})
    for value in bad:
        error = refusal(**{field: value})
        assert error.param == field, (value, error.message)
        assert field in error.message and len(error.message) < 700, error.message


def test_what_nobody_knows_is_told_with_the_nearest() -> None:
    assert "duration" in refusal(durations=30).message
    none = refusal(negative_prompt="noise")
    assert none.param == "negative_prompt" and "takes none" in none.message


def test_nothing_at_all_is_refused() -> None:
    assert refusal(prompt="  ", lyrics=None).param == "prompt"
    assert asked(prompt="", lyrics="[Verse]\nla").lyrics == "[Verse]\nla"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"task": "cover"}, "src_audio"),
        ({"task": "repaint"}, "src_audio"),
        ({"src_audio": b"x"}, "task"),
        ({"repaint_start": 2.0}, "repaint_start"),
        ({"task": "cover", "src_audio": b"x", "repaint_end": 2.0}, "repaint_end"),
        ({"task": "repaint", "src_audio": b"x", "cover_strength": 0.5}, "cover_strength"),
        ({"task": "repaint", "src_audio": b"x", "repaint_start": 4.0, "repaint_end": 4.0}, "repaint_end"),
        ({"task": "cover", "src_audio": b"x", "cover_strength": 1.1}, "cover_strength"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refusal(**fields)
    assert error.param == param and param in error.message


def test_each_checkpoint_has_its_own_manner() -> None:
    of = {name: recipe_of(registry.card(f"ace-step-{name}"), asked()) for name in ("turbo", "base", "sft")}
    assert {n: (r.steps, r.guidance_scale, r.more[0]) for n, r in of.items()} == {
        "turbo": (8, 1.0, 3.0), "base": (50, 7.0, 1.0), "sft": (50, 7.0, 1.0),
    }  # fmt: skip
    turbo = registry.card("ace-step-turbo")
    assert recipe_of(turbo, asked(guidance_scale=7)).guidance_scale == 1.0
    assert recipe_of(turbo, asked(shift=1, num_inference_steps=20)).more[0] == 1.0
    assert recipe_of(turbo, asked(bpm=90, key="Am")) == recipe_of(turbo, asked(prompt="something else", seed=4))
    assert recipe_of(turbo, asked(duration=30)) != recipe_of(turbo, asked(duration=31))
    assert [frames_of(s) for s in (10, 10.01, 16.43, 600)] == [250, 251, 411, 15_000]


# ── from a plan ─────────────────────────────────────────────────────────────────────────────────


def plan_of(**fields: Any) -> SongPlan:
    plan = make_plan(plan_request(narrative="A lamp above the sea", duration_s=60.0, seed=3, style="synthwave"))
    return plan.model_copy(update=fields)


def test_a_plan_becomes_a_caption_words_tempo_key_and_metre() -> None:
    plan = plan_of(tempo=92.0, key="A minor", time_signature="4/4", language="en-GB")
    fields = from_plan(plan)
    assert (fields["bpm"], fields["key"], fields["time_signature"], fields["language"]) == (92, "A minor", "4/4", "en")
    assert all(mood in fields["prompt"] for mood in plan.moods) and "bpm" not in fields["prompt"]
    assert all(i.instrument in fields["prompt"] for i in plan.instrumentation) and plan.key not in fields["prompt"]
    for section in plan.sections:
        if section.lyrics:
            assert f"[{section.label}]\n" + "\n".join(section.lyrics) in fields["lyrics"]
    request = AceStepRequest.model_validate(fields)
    assert (request.lyrics, request.duration) == (fields["lyrics"], 60.0)


def test_an_instrumental_has_no_words_and_says_so() -> None:
    plan = plan_of()
    mute = plan.model_copy(update={"sections": tuple(s.model_copy(update={"lyrics": ()}) for s in plan.sections)})
    fields = from_plan(mute)
    assert fields["lyrics"] == "" and fields["language"] == "unknown" and fields["prompt"].endswith("instrumental")


def test_parts_without_words_are_not_sung() -> None:
    plan = plan_of()
    first = next(s for s in plan.sections if s.lyrics)
    mute = plan.model_copy(
        update={"sections": tuple(s.model_copy(update={"lyrics": ()}) if s is first else s for s in plan.sections)}
    )
    before, after = (from_plan(p)["lyrics"].count(f"[{first.label}]") for p in (plan, mute))
    assert after == before - 1 and "[Instrumental]" in from_plan(mute)["lyrics"]


@pytest.mark.parametrize(
    ("metre", "tempo", "bpm", "said"),
    [("4/4", 92.4, 92, "4/4"), ("6/8", 180.0, 60, "6/8"), ("12/8", 240.0, 80, None), ("7/8", 200.0, 100, None),
     ("6/8", 60.0, None, "6/8"), ("5/4", 120.0, 120, None)],
)  # fmt: skip
def test_tempo_is_the_beat_one_counts(metre: str, tempo: float, bpm: int | None, said: str | None) -> None:
    fields = from_plan(plan_of(time_signature=metre, tempo=tempo))
    assert (fields.get("bpm"), fields.get("time_signature")) == (bpm, said)


@pytest.mark.parametrize(
    ("key", "told"), [("D dorian", "D minor"), ("G mixolydian", "G major"), ("Eb major", "Eb major")]
)
def test_of_modes_the_nearest_it_knows_is_asked_for(key: str, told: str) -> None:
    fields = from_plan(plan_of(key=key))
    assert fields["key"] == told == asked(key=fields["key"]).key


def test_jobs_ask_in_these_words(tmp_path: Path) -> None:
    plan = plan_of()
    order = RenderRequest(model="ace-step-turbo", duration_s=60.0, seed=3, plan=plan, scratch=tmp_path)
    body = request_body(order, set(AceStepRequest.model_fields), "job", registry.families()["ace_step"].from_plan)
    assert body == {"client_job_id": "job", "seed": 3} | from_plan(plan)
    AceStepRequest.model_validate(body)


# ── cards and memory ────────────────────────────────────────────────────────────────────────────


def test_every_card_says_where_it_comes_from_and_that_it_is_free() -> None:
    cards = registry.families()["ace_step"].cards
    assert [card.id for card in cards] == ["ace-step-turbo", "ace-step-base", "ace-step-sft"]
    for card in cards:
        version = card.id.removeprefix("ace-step-")
        assert card.source == f"hf:ACE-Step/acestep-v15-xl-{version}-diffusers"
        assert (card.weight_license, card.consent_required, card.default_port) == ("MIT", False, 2014)
        assert (card.sample_rate, card.channels, card.max_duration_s) == (48_000, 2, 600)


def test_memory_grows_with_what_is_asked() -> None:
    turbo, base = registry.card("ace-step-turbo"), registry.card("ace-step-base")
    idle = memory_bytes(turbo, None)
    assert 22 * GB < idle < 26 * GB  # 5.8 G numbers in float32
    short, long = (memory_bytes(turbo, asked(duration=d)) for d in (10, 600))
    assert idle < short < long
    assert memory_bytes(base, asked(duration=600)) > memory_bytes(base, asked(duration=600, guidance_scale=1))


def test_memory_is_that_of_the_files_that_are_there(
    ace_step_checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = registry.card("ace-step-turbo")
    for layout in ("turbo", "turbo-bin"):
        monkeypatch.setenv("TONEWHEEL_ACE_STEP_TURBO_PATH", str(ace_step_checkpoint(layout)))
        assert memory_bytes(card, None) < 1 * GB
    monkeypatch.setenv("TONEWHEEL_ACE_STEP_TURBO_PATH", str(tmp_path / "none"))
    assert memory_bytes(card, None) > 20 * GB
