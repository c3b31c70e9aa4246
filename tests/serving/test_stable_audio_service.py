"""Stable Audio as a service: contracts.md (2009) over real HTTP, and the command line, on tiny checkpoints."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service

from tonewheel.audio.tags import read_tags

sys.path += [str(Path(__file__).parents[1] / "models")]
import stable_audio_checkpoints  # the maker of checkpoints

WAIT_S = 300.0  # for work that others on this machine slow down
LICENSE = "Stability AI Community License"
SOUND = {"prompt": "a slow pad with bells", "duration": 1.0, "seed": 3, "num_inference_steps": 10}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = stable_audio_checkpoints.RECIPES["open-47"]
    return stable_audio_checkpoints.make(tmp_path_factory.mktemp("stable-audio") / "open-47", recipe)


@pytest.fixture(scope="module")
def tiny(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TONEWHEEL_STABLE_AUDIO_OPEN_PATH": str(folder),
        "TONEWHEEL_DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }  # fmt: skip
    with service("stable-audio", tmp_path_factory.mktemp("log"), ready=False, **env) as running:
        running.client.timeout = httpx.Timeout(WAIT_S)
        running.wait("state", "ready", WAIT_S)
        yield running


def wave_of(encoded: str) -> np.ndarray[Any, Any]:
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)), always_2d=True)
    assert rate == 44_100
    return np.asarray(samples)


def test_three_asked_are_three_answered_with_what_they_were_made_of(tiny: Service) -> None:
    asked = SOUND | {"num_waveforms_per_prompt": 3, "negative_prompt": "hiss", "client_job_id": "mine:1"}
    answer = tiny.post(body=asked)
    assert answer.status_code == 200, answer.text[:500]
    body = answer.json()
    waves = [wave_of(one["audio_base64"]) for one in body["waveforms"]]
    assert [wave.shape for wave in waves] == [(44_100, 2)] * 3
    assert not np.array_equal(waves[0], waves[1]) and len({one["seed"] for one in body["waveforms"]}) == 3
    assert body["audio_base64"] == body["waveforms"][0]["audio_base64"]
    expected = {
        "sample_rate": 44_100, "channels": 2, "duration": 1.0, "num_samples": 44_100, "seed": 3, "notes": [],
        "prompt": "a slow pad with bells", "negative_prompt": "hiss", "num_inference_steps": 10,
        "guidance_scale": 7.0, "license": LICENSE,
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    told = body["metadata"]
    assert (told["model"], told["client_job_id"], told["duration_s"]) == ("stable-audio-open", "mine:1", 3.0)
    # The seed that is told makes the second one again, alone.
    alone = tiny.post(body=asked | {"num_waveforms_per_prompt": 1, "seed": body["waveforms"][1]["seed"]}).json()
    assert float(np.abs(wave_of(alone["audio_base64"]) - waves[1]).max()) < 2e-4


def test_the_same_request_and_seed_give_the_same_bytes_with_their_licence_in_the_tags(
    tiny: Service, tmp_path: Path
) -> None:
    first, second = (tiny.post(body=SOUND, headers={"accept": "audio/flac"}) for _ in range(2))
    assert first.headers["content-type"] == "audio/flac" and first.content == second.content
    (tmp_path / "made.flac").write_bytes(first.content)
    tags = read_tags(tmp_path / "made.flac")
    assert tags.license == LICENSE and "stable-audio-open" in str(tags.comment)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": " "}, "prompt"),
        ({"prompt": "x" * 100_000}, "prompt"),
        ({"duration": 0}, "duration"),
        ({"duration": 0.99}, "duration"),
        ({"duration": 47.5}, "duration"),
        ({"duration": 381}, "duration"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 9}, "num_inference_steps"),
        ({"num_inference_steps": 201}, "num_inference_steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"num_waveforms_per_prompt": 0}, "num_waveforms_per_prompt"),
        ({"num_waveforms_per_prompt": 5}, "num_waveforms_per_prompt"),
        ({"seed": -1}, "seed"),
        ({"client_job_id": "a b"}, "client_job_id"),
        ({"init_audio": base64.b64encode(b"nothing").decode()}, "init_audio"),
        ({"init_audio": "not base64!"}, "init_audio"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(tiny: Service, fields: dict[str, Any], param: str) -> None:
    answer = tiny.post(body=SOUND | fields)
    detail = error_of(answer, 422, answer.json()["detail"]["type"])
    assert detail["param"] == param and param in detail["message"] and "\n" not in detail["message"]


def test_a_guidance_that_is_no_number_is_refused(tiny: Service) -> None:
    answer = tiny.client.post(
        "/predict", content='{"prompt": "a", "guidance_scale": NaN}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422


def test_the_ends_of_the_ranges_are_made(tiny: Service) -> None:
    longest = tiny.post(body=SOUND | {"duration": 47, "guidance_scale": 0, "negative_prompt": "hiss"})
    assert longest.status_code == 200, longest.text[:500]
    assert longest.json()["num_samples"] == 47 * 44_100 and "negative_prompt was not used" in longest.json()["notes"][0]


def test_the_service_describes_its_fields_as_the_contract_has_them(tiny: Service) -> None:
    about = tiny.get("/v1/metadata").json()
    rows = {row["key"]: (row["default"], row["min"], row["max"], row["required"]) for row in about["options"]}
    assert rows["num_inference_steps"] == (100, 10, 200, False) and rows["prompt"][3] is True
    assert rows["num_waveforms_per_prompt"] == (1, 1, 4, False) and rows["guidance_scale"][0] == 7
    assert about["service"] == "stable-audio" and about["model"]["forbids"] and about["model"]["default_port"] == 2009


def test_progress_is_told_and_a_client_that_leaves_stops_the_work(tiny: Service) -> None:
    with tiny.client.stream("POST", "/predict/stream", json=SOUND | {"num_inference_steps": 30}) as response:
        told = list(events(response))
    fractions = [data["fraction"] for name, data in told if name == "progress"]  # how many come is not promised
    assert told[-1][0] == "result" and fractions == sorted(fractions)
    before = tiny.post(body=SOUND, headers={"accept": "audio/wav"}).content
    with tiny.client.stream(
        "POST", "/predict/stream", json=SOUND | {"num_inference_steps": 200, "seed": 9}
    ) as response:
        next(events(response))  # it has begun
    tiny.wait("busy", 0, WAIT_S)
    assert tiny.post(body=SOUND, headers={"accept": "audio/wav"}).content == before


def test_requests_at_once_are_all_answered(tiny: Service) -> None:
    def ask(number: int) -> httpx.Response:
        return httpx.post(
            f"{tiny.about['url']}/predict", json=SOUND | {"seed": number, "prompt": f"bell {number}"}, timeout=WAIT_S
        )

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["seed"] for answer in answers] == [0, 1, 2, 3]


# ── the command line ────────────────────────────────────────────────────────────────────────────


def tonewheel(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TONEWHEEL_")} | {"COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "tonewheel.cli.main", *arguments], env=clean | env, capture_output=True, text=True,
        check=False, timeout=WAIT_S,
    )  # fmt: skip


def test_a_sound_is_generated_on_the_command_line_after_one_yes(folder: Path, tmp_path: Path) -> None:
    env = {
        "OMP_NUM_THREADS": "1", "TONEWHEEL_STABLE_AUDIO_OPEN_PATH": str(folder),
        "TONEWHEEL_DATA_DIR": str(tmp_path / "data"),
    }  # fmt: skip
    target = str(tmp_path / "made.wav")
    order = ("generate", "a slow pad", "--model", "stable-audio-open", "--duration", "1", "--seed", "3", "-o", target)
    steps = ("--set", "num_inference_steps=10")
    refused = tonewheel(*order, *steps, **env)
    assert refused.returncode == 2 and LICENSE in refused.stderr and "1 M USD" in refused.stderr
    agreed = tonewheel("pull", "stable-audio-open", "--accept-license", **env)
    assert agreed.returncode == 0 and "1 M USD" in agreed.stderr
    made = tonewheel(*order, *steps, "--json", **env)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["license"] == LICENSE and told["duration_s"] == 1.0 and told["seed"] == 3
    samples, rate = soundfile.read(target)
    assert samples.shape == (44_100, 2) and rate == 44_100 and float(np.abs(samples).max()) > 0.01
    assert read_tags(Path(target)).license == LICENSE
