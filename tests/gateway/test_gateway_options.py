"""What an order says of a model's own settings, and how many songs it wants: refused in the words of the service."""

from __future__ import annotations

from typing import Any

import pytest
from served import NARRATIVE, Served
from test_gateway_refusals import refused

from tonewheel.errors import InvalidRequest
from tonewheel.fleet.demand import read_request
from tonewheel.gateway.options import check_options
from tonewheel.models import registry

ORDER = {"narrative": NARRATIVE, "duration_s": 10.0, "seed": 3}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("musicgen", {"temperature": "hot"}), ("musicgen", {"temperature": 99}), ("musicgen", {"temperature": True}),
        ("musicgen", {"top_k": 1.5, "top_p": -1}), ("musicgen", {"do_sample": "perhaps"}),
        ("musicgen", {"melody": "no base64!"}), ("musicgen", {"temperature": float("nan")}),
        ("heartmula", {"top_k": -1}), ("stable_audio", {"num_inference_steps": 1}),
        ("audioldm2", {"guidance_scale": None}), ("ace_step", {"bpm": 1}), ("ace_step", {"task": "cover"}),
        ("ace_step", {"repaint_start": 4}), ("ace_step", {"task": "whistle"}),
    ],
)  # fmt: skip
def test_a_wrong_option_is_told_as_the_service_tells_it(family: str, options: dict[str, Any]) -> None:
    service = registry.families()[family]
    with pytest.raises(InvalidRequest) as here:
        check_options(options, service)
    with pytest.raises(InvalidRequest) as there:
        read_request(service, {"prompt": "rain", **options})
    assert here.value.message == f"options.{there.value.message}"
    assert here.value.param == f"options.{there.value.param}"


def test_a_right_option_is_taken_though_the_prompt_and_the_plan_are_not_there_yet() -> None:
    right: dict[str, dict[str, Any]] = {
        "musicgen": {"temperature": 0.7, "top_k": 50},
        "heartmula": {"top_k": 50, "guidance_scale": 2},
        "stable_audio": {"negative_prompt": "hiss"},
        "ace_step": {"bpm": 92},
    }
    for family, options in right.items():
        check_options(options, registry.families()[family])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 99}, "options.temperature: must be at most 2, not 99"),
        ({"top_k": "many"}, "options.top_k: write a whole number, not 'many'"),
        ({"top_k": 1.5, "top_p": 2}, "options.top_k: write a whole number, not 1.5 (and 1 more)"),
    ],
)
def test_an_order_with_a_wrong_option_is_422(idle: Served, options: dict[str, Any], says: str) -> None:
    order = ORDER | {"model": "musicgen-small", "options": options}
    assert refused(idle.client.post("/v1/songs", json=order), 422, "invalid_request")["message"] == says
    assert refused(idle.client.put("/v1/songs/mine", json=order), 422)["message"] == says


@pytest.mark.parametrize("count", [0, -1, 99, "x", None, 1.5, True])
def test_how_many_songs_are_wanted_is_checked_wherever_it_is_said(idle: Served, count: object) -> None:
    detail = refused(idle.client.post("/v1/songs", json=ORDER | {"variations": count}), 422)
    assert detail["param"] == "variations"
    for model, name in (
        ("composer", "num_variations"), ("musicgen-small", "num_variations"), ("heartmula", "num_variations"),
        ("audioldm2", "num_waveforms_per_prompt"), ("stable-audio", "num_waveforms_per_prompt"),
    ):  # fmt: skip
        detail = refused(idle.client.post("/v1/songs", json=ORDER | {"model": model, "options": {name: count}}), 422)
        assert detail["param"] == f"options.{name}" and "order them as `variations`" in detail["message"]
