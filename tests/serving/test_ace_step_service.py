"""ACE-Step as a service: songs over real HTTP, on a tiny checkpoint of the official layout."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service

sys.path += [str(Path(__file__).parents[1] / "models")]
import ace_step_checkpoints  # the maker of checkpoints

WAIT_S = 300.0  # for work that others on this machine slow down
SONG = {"prompt": "a small band", "lyrics": "[Verse]\nla la", "duration": 10.0, "seed": 3, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = ace_step_checkpoints.make(tmp_path_factory.mktemp("ace") / "turbo", ace_step_checkpoints.RECIPES["turbo"])
    env = {
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TONEWHEEL_ACE_STEP_TURBO_PATH": str(folder),
        "TONEWHEEL_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }  # fmt: skip
    with service("ace-step", tmp_path_factory.mktemp("log"), ready=False, **env) as running:
        running.client.timeout = httpx.Timeout(WAIT_S)
        running.wait("state", "ready", WAIT_S)
        yield running


def wave_of(encoded: str) -> np.ndarray[Any, Any]:
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)), always_2d=True)
    assert rate == 48_000
    return np.asarray(samples)


def file_of(seconds: float, rate: int = 44_100) -> bytes:
    times = np.arange(int(seconds * rate)) / rate
    data = io.BytesIO()
    soundfile.write(data, 0.3 * np.sin(2 * np.pi * 330 * times), rate, format="FLAC")
    return data.getvalue()


def test_every_song_asked_for_is_answered_with_what_it_was_made_of(turbo: Service) -> None:
    answer = turbo.post(body=SONG | {"num_variations": 3, "bpm": 90, "key": "Am", "time_signature": "3/4"})
    assert answer.status_code == 200, answer.text[:500]
    body = answer.json()
    assert [len(wave_of(one["audio_base64"])) for one in body["waveforms"]] == [480_000] * 3
    assert len({one["seed"] for one in body["waveforms"]}) == 3 and body["seed"] == 3
    assert body["audio_base64"] == body["waveforms"][0]["audio_base64"]
    expected = {
        "sample_rate": 48_000, "channels": 2, "duration": 10.0, "num_samples": 480_000, "prompt": "a small band",
        "lyrics": "[Verse]\nla la", "bpm": 90, "key": "A minor", "time_signature": "3/4", "language": "unknown",
        "task": "text2music", "num_inference_steps": 2, "guidance_scale": 1.0, "shift": 3.0, "license": "MIT",
        "notes": [],
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert body["metadata"]["model"] == "ace-step-turbo" and body["metadata"]["duration_s"] == 30.0


def test_the_same_request_and_seed_give_the_same_bytes(turbo: Service) -> None:
    first, second = (turbo.post(body=SONG, headers={"accept": "audio/flac"}) for _ in range(2))
    assert first.headers["content-type"] == "audio/flac" and first.content == second.content


def test_a_recording_can_be_sent_as_a_file(turbo: Service) -> None:
    fields = {"prompt": "a choir", "task": "cover", "num_inference_steps": "2", "seed": "1", "duration": "10"}
    answer = turbo.client.post("/predict", data=fields, files={"src_audio": ("mine.flac", file_of(12))})
    assert answer.status_code == 200, answer.text[:500]
    assert len(wave_of(answer.json()["audio_base64"])) == 480_000


def test_progress_is_told_while_it_is_made(turbo: Service) -> None:
    with turbo.client.stream("POST", "/predict/stream", json=SONG | {"num_inference_steps": 8}) as response:
        told = list(events(response))
    assert told[-1][0] == "result" and told[-1][1]["num_samples"] == 480_000
    fractions = [data["fraction"] for name, data in told if name == "progress"]  # how many come is not promised
    assert fractions == sorted(fractions) and all(0 <= fraction <= 1 for fraction in fractions)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"duration": 0}, "duration"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"lyrics": "la " * 1500}, "lyrics"),
        ({"tempo": 90}, "tempo"),
        ({"key": "H"}, "key"),
        ({"task": "cover"}, "src_audio"),
        ({"task": "cover", "src_audio": base64.b64encode(b"nothing").decode()}, "src_audio"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(turbo: Service, fields: dict[str, Any], param: str) -> None:
    answer = turbo.post(body=SONG | fields)
    detail = error_of(answer, 422, answer.json()["detail"]["type"])
    assert detail["param"] == param, detail
    assert param in detail["message"] and "\n" not in detail["message"]


def test_a_guidance_that_is_no_number_is_refused(turbo: Service) -> None:
    answer = turbo.client.post(
        "/predict", content='{"prompt": "a", "guidance_scale": NaN}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
