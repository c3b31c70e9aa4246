"""What MusicGen can be asked, how long it gets, and what memory it says it takes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tonewheel.errors import InvalidRequest
from tonewheel.fleet.remote import deadline_seconds
from tonewheel.jobs.fleet_renderer import request_body
from tonewheel.jobs.rendering import RenderRequest
from tonewheel.models import registry
from tonewheel.models.musicgen.generation import sub_seed
from tonewheel.models.musicgen.memory import memory_bytes
from tonewheel.models.musicgen.prompt import from_plan
from tonewheel.models.musicgen.request import MusicgenRequest
from tonewheel.models.musicgen.windows import Window, frames_of, samples_of, windows
from tonewheel.settings import settings
from tonewheel.songs import make_plan, plan_request
from tonewheel.songs.plan import MAX_SEED

GB = 1e9


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a CPU with native kernels it would be int8."""
    monkeypatch.setenv("TONEWHEEL_MUSICGEN_DTYPE", "float32")
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_the_contracts_defaults_are_kept() -> None:
    request = MusicgenRequest()
    assert (request.prompt, request.duration, request.temperature) == ("", 10.0, 1.0)
    assert (request.top_k, request.top_p, request.guidance_scale, request.do_sample) == (250, 0.9, 3.0, True)
    assert (request.seed, request.num_variations, request.negative_prompt) == (None, 1, "")


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("duration", (0.5, 30, 300), (0.49, 300.1, "long", None)),
        ("temperature", (0.01, 2), (0.009, 2.1, 0)),
        ("top_k", (0, 1000), (-1, 1001, 2.5)),
        ("top_p", (0, 1), (-0.1, 1.1)),
        ("guidance_scale", (1, 15), (0.9, 15.1)),
        ("num_variations", (1, 8), (0, 9)),
        ("seed", (0, MAX_SEED), (-1, MAX_SEED + 1)),
        ("prompt", ("", "x" * 10_000), ("x" * 10_001, 3)),
        ("client_job_id", ("a:b",), ("a b", "")),
    ],
)
def test_ranges_are_those_of_the_contract(field: str, good: tuple[Any, ...], bad: tuple[Any, ...]) -> None:
    for value in good:
        assert getattr(MusicgenRequest.model_validate({field: value}), field) == value
    for value in bad:
        with pytest.raises((ValidationError, InvalidRequest)):
            MusicgenRequest.model_validate({field: value})


@pytest.mark.parametrize(
    ("seconds", "frames", "samples"),
    [(0.5, 25, 16_000), (0.51, 26, 16_320), (2.3, 115, 73_600), (29.99, 1500, 959_680), (30, 1500, 960_000)],
)
def test_a_length_is_covered_by_frames_and_exact_in_samples(seconds: float, frames: int, samples: int) -> None:
    assert (frames_of(seconds), samples_of(seconds)) == (frames, samples)


def test_windows_go_on_from_fifteen_to_twenty_seconds() -> None:
    assert list(windows(1500)) == [Window(0, 0, 0, 1500)]
    assert list(windows(1550)) == [Window(0, 0, 0, 1500), Window(1, 500, 1000, 50)]
    assert [(w.context, w.frames) for w in windows(3750)] == [(0, 1500), (750, 750), (750, 750), (750, 750)]


@pytest.mark.parametrize("given", [0, 1, 300, 1000])
@pytest.mark.parametrize("frames", [25, 1499, 1501, 2251, 15_000])
def test_windows_make_every_frame_once_and_never_hold_more_than_thirty_seconds(frames: int, given: int) -> None:
    made = 0
    for number, window in enumerate(windows(frames, given)):
        assert window.number == number
        assert window.start + window.context == given + made
        assert 0 < window.frames <= 1500 - window.context
        assert window.context >= min(given + made, 750)
        made += window.frames
    assert made == frames


def test_a_plan_becomes_a_description() -> None:
    plan = make_plan(plan_request(narrative="A lamp above the sea", duration_s=20.0, seed=3, style="lo-fi-hip-hop"))
    asked = from_plan(plan)
    prompt = asked["prompt"]
    assert "lo-fi hip hop" in prompt and plan.key in prompt and f"{plan.tempo:.0f} bpm" in prompt
    assert all(i.instrument in prompt for i in plan.instrumentation) and all(mood in prompt for mood in plan.moods)
    assert MusicgenRequest(**asked).prompt == prompt
    unwanted = plan.model_copy(
        update={"sections": tuple(s.model_copy(update={"negative_styles": ("noise",)}) for s in plan.sections)}
    )
    assert from_plan(unwanted) == asked | {"negative_prompt": "noise"}


def test_jobs_ask_in_these_words(tmp_path: Path) -> None:
    plan = make_plan(plan_request(narrative="A lamp above the sea", duration_s=20.0, seed=3))
    order = RenderRequest(model="musicgen-small", duration_s=20.0, seed=3, plan=plan, scratch=tmp_path)
    body = request_body(order, set(MusicgenRequest.model_fields), "job", registry.families()["musicgen"].from_plan)
    assert body == {"client_job_id": "job", "prompt": from_plan(plan)["prompt"], "duration": 20.0, "seed": 3}
    given = dataclasses.replace(order, prompt="a waltz", options={"top_k": 5})
    body = request_body(given, set(MusicgenRequest.model_fields), "job", from_plan)
    assert (body["prompt"], body["top_k"]) == ("a waltz", 5)


def test_the_first_of_several_has_the_seed_itself_and_the_others_their_own() -> None:
    seeds = [sub_seed(7, "variation", n) for n in range(8)]
    assert seeds[0] == 7 and len(set(seeds)) == 8 and all(0 <= s <= MAX_SEED for s in seeds)
    assert sub_seed(7, "window", 1) not in seeds


def test_every_card_says_what_its_weights_allow() -> None:
    for card in registry.families()["musicgen"].cards:
        assert (card.weight_license, card.consent_required, card.default_port) == ("CC-BY-NC-4.0", True, 2006)
        assert card.channels == (2 if "stereo" in card.id else 1)
        assert ("melody" in card.tasks) == ("melody" in card.id)
        assert card.concurrency == 8 and card.sample_rate == 32_000 and card.max_duration_s == 300


def test_work_that_takes_longer_than_it_plays_has_the_time() -> None:
    assert deadline_seconds("musicgen-small", 30) == registry.card("musicgen-small").deadline_s == 3600
    assert deadline_seconds("composer", 30) == 180


@pytest.mark.usefixtures("float32")
def test_memory_grows_with_what_is_asked() -> None:
    small, large = registry.card("musicgen-small"), registry.card("musicgen-large")
    idle = memory_bytes(small, None)
    assert 2.3 * GB < idle < 3.3 * GB and 13.5 * GB < memory_bytes(large, None) < 15 * GB
    short, long = (memory_bytes(small, MusicgenRequest(duration=d)) for d in (1, 30))
    # 24 layers × 1024 × (keys and values) × 2 rows × 1536 positions × 4 bytes
    assert idle < short < long and long - idle > 24 * 1024 * 2 * 2 * 1536 * 4
    assert memory_bytes(small, MusicgenRequest(duration=30, guidance_scale=1)) < long
    assert memory_bytes(small, MusicgenRequest(duration=30, num_variations=4)) > 3 * (long - idle) + idle


@pytest.mark.usefixtures("float32")
def test_every_model_says_what_it_takes() -> None:
    needs = {c.id: memory_bytes(c, MusicgenRequest()) for c in registry.families()["musicgen"].cards}
    assert needs["musicgen-melody-large"] > needs["musicgen-medium"] > needs["musicgen-melody"] > 6 * GB
    assert all(needs[i.replace("stereo-", "")] == n for i, n in needs.items())


@pytest.mark.usefixtures("float32")
def test_memory_is_that_of_the_files_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"model_type": "musicgen", "torch_dtype": "float16", "decoder": {"num_hidden_layers": 2, "hidden_size": 8}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("TONEWHEEL_MUSICGEN_SMALL_PATH", str(tmp_path))
    card = registry.card("musicgen-small")
    published = memory_bytes(card, None)
    assert published > 2 * GB
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(400_000_000)
    assert memory_bytes(card, None) == published - 4 * (587_000_000 - 200_000_000)
