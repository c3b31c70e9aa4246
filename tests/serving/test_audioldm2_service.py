"""AudioLDM 2 over HTTP as its clients know it (../shared/contracts.md, 2010), on a tiny checkpoint."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service
from pydantic import ValidationError

from tonewheel.audio.tags import read_tags
from tonewheel.errors import ConsentRequired, TooSlow, UnknownName
from tonewheel.models import registry
from tonewheel.models.audioldm2.request import NEGATIVE, Audioldm2Request

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # its makers of checkpoints

WAIT_S = 240.0
QUICK = {"prompt": "a slow drum", "duration": 1, "num_inference_steps": 10}


def clock(data: Path, step_s: float, place: str = "cpu/float32", **decode: float) -> None:
    """What was measured: seconds a step of 10 s with guidance."""
    (data / "speeds").mkdir(exist_ok=True)
    measured = {"last": place, "places": {place: {"step": {"2000": step_s}, "decode": decode}}}
    (data / "speeds" / "audioldm2.json").write_text(json.dumps(measured))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("diffusers")
    import audioldm2_checkpoints

    folder = tmp_path_factory.mktemp("audioldm2") / "old"
    return audioldm2_checkpoints.make(folder, audioldm2_checkpoints.RECIPES["old"])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(checkpoint: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {"TONEWHEEL_AUDIOLDM2_PATH": str(checkpoint), "TONEWHEEL_DATA_DIR": str(data), "OMP_NUM_THREADS": "1"}
    with service("audioldm2", tmp_path_factory.mktemp("log"), ready=False, **environment) as started:
        started.client.timeout = httpx.Timeout(WAIT_S)
        started.wait("state", "ready", WAIT_S)
        yield started


def made(running: Service, **body: Any) -> dict[str, Any]:
    answer = running.post(body={**QUICK, **body})
    assert answer.status_code == 200, answer.text[:500]
    return dict(answer.json())


def wave_of(encoded: str) -> tuple[Any, int]:
    return soundfile.read(io.BytesIO(base64.b64decode(encoded)), always_2d=True)


# ── the clock ──


def test_what_a_cpu_takes_too_long_for_is_refused_at_once_and_done_when_forced(running: Service, data: Path) -> None:
    clock(data, 60.0)
    for path in ("/predict", "/predict/stream"):
        told = error_of(running.post(path, body=QUICK), 422, "too_slow")
        assert told["param"] == "force" and not told["retryable"]
        assert "would take about 10 min on this CPU and is stopped after 2 min" in told["message"]
        assert "num_inference_steps" in told["message"] and "--force" in told["message"]
    forced = made(running, force=True)
    assert len(wave_of(forced["audio_base64"])[0]) == 16_000
    assert made(running)["duration"] == 1.0, "it has measured itself by now"


# ── the contract ──


def test_every_field_of_the_contract_is_answered(running: Service) -> None:
    answer = made(running, seed=7, client_job_id="job:1", negative_prompt="noise")
    samples, rate = wave_of(answer["audio_base64"])
    assert (rate, samples.shape) == (16_000, (16_000, 1))
    said = {k: answer[k] for k in ("sample_rate", "duration", "num_samples", "channels", "prompt", "negative_prompt")}
    assert said == {
        "sample_rate": 16_000, "duration": 1.0, "num_samples": 16_000, "channels": 1, "prompt": "a slow drum",
        "negative_prompt": "noise",
    }  # fmt: skip
    assert (answer["seed"], answer["num_inference_steps"], answer["guidance_scale"]) == (7, 10, 3.5)
    assert (answer["license"], answer["notes"]) == ("CC-BY-NC-SA-4.0", [])
    assert [w["seed"] for w in answer["waveforms"]] == [7]
    assert answer["waveforms"][0]["audio_base64"] == answer["audio_base64"]
    told = answer["metadata"]
    assert (told["model"], told["seed"], told["client_job_id"]) == ("audioldm2", 7, "job:1")
    assert (told["device"], told["dtype"], told["duration_s"]) == ("cpu", "float32", 1.0)


def test_three_asked_are_three_returned(running: Service) -> None:
    answer = made(running, seed=5, num_waveforms_per_prompt=3)
    waves = [wave_of(one["audio_base64"])[0] for one in answer["waveforms"]]
    assert [len(w) for w in waves] == [16_000] * 3
    assert answer["audio_base64"] == answer["waveforms"][0]["audio_base64"]
    assert np.abs(waves[0] - waves[1]).max() > 0.01 < np.abs(waves[1] - waves[2]).max()
    again = made(running, seed=answer["waveforms"][2]["seed"])
    assert np.abs(wave_of(again["audio_base64"])[0] - waves[2]).max() < 2e-4, "a variation is made again alone"


def test_the_defaults_are_those_of_the_contract() -> None:
    asked = Audioldm2Request(prompt="x")
    assert (asked.duration, asked.num_inference_steps, asked.guidance_scale) == (10.0, 200, 3.5)
    assert (asked.num_waveforms_per_prompt, asked.negative_prompt) == (1, "Low quality, distorted, noise.")
    assert asked.seed is None and asked.client_job_id is None and not asked.force
    assert NEGATIVE == asked.negative_prompt == Audioldm2Request(prompt="x", negative_prompt=None).negative_prompt


@pytest.mark.parametrize(
    ("field", "least", "most", "below", "above"),
    [
        ("duration", 1, 30, 0.99, 30.01),
        ("num_inference_steps", 10, 500, 9, 501),
        ("guidance_scale", 1, 20, 0.99, 20.01),
        ("num_waveforms_per_prompt", 1, 4, 0, 5),
        ("seed", 0, 2**63 - 1, -1, 2**63),
        ("prompt", "x", "x" * 10_000, " ", "x" * 10_001),
        ("negative_prompt", "", "x" * 10_000, 7, "x" * 10_001),
        ("client_job_id", "a", "a" * 256, "", "a" * 257),
    ],
)
def test_bounds_hold_on_both_sides(running: Service, field: str, least: Any, most: Any, below: Any, above: Any) -> None:
    for inside in (least, most):
        assert getattr(Audioldm2Request(**{"prompt": "x", field: inside}), field) == inside
    for outside in (below, above):
        with pytest.raises(ValidationError):
            Audioldm2Request(**{"prompt": "x", field: outside})
        assert error_of(running.post(body={**QUICK, field: outside}), 422, "invalid_request")["param"] == field


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ('{"duration": 1}', "prompt"),
        ('{"prompt": ""}', "prompt"),
        ('{"prompt": null}', "prompt"),
        ('{"prompt": "x", "num_inference_steps": 0}', "num_inference_steps"),
        ('{"prompt": "x", "num_inference_steps": 20.5}', "num_inference_steps"),
        ('{"prompt": "x", "guidance_scale": NaN}', "guidance_scale"),
        ('{"prompt": "x", "guidance_scale": Infinity}', "guidance_scale"),
        ('{"prompt": "x", "guidance_scale": -1}', "guidance_scale"),
        ('{"prompt": "x", "duration": 0}', "duration"),
        ('{"prompt": "x", "duration": true}', "duration"),
        ('{"prompt": "x", "force": "perhaps"}', "force"),
        (json.dumps({"prompt": "x" * 100_000}), "prompt"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(running: Service, body: str, param: str) -> None:
    answer = running.client.post("/predict", content=body, headers={"content-type": "application/json"})
    told = error_of(answer, 422, "invalid_request")
    assert told.get("param") == param or param in told["message"]
    assert len(told["message"]) < 500


@pytest.mark.parametrize("accept", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
def test_every_file_carries_its_licence(running: Service, accept: str) -> None:
    answer = running.post(body=QUICK | {"seed": 3}, headers={"accept": accept})
    assert answer.headers["content-type"] == accept
    tags = read_tags(answer.content)
    assert (tags.license, tags.title) == ("CC-BY-NC-SA-4.0", "a slow drum")
    assert tags.extra["tonewheel_seed"] == "3"


def test_progress_is_streamed_with_an_eta(running: Service) -> None:
    with running.client.stream("POST", "/predict/stream", json=QUICK) as answer:
        told = list(events(answer))
    assert told[-1][0] == "result"
    etas = [data["eta_s"] for name, data in told if name == "progress" and data["stage"] in ("wait", "denoise")]
    assert etas and all(eta is not None and eta > 0 for eta in etas)


# ── in company ──


def test_requests_of_many_are_all_answered(running: Service) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: made(running, prompt=f"drum {n}", seed=n), range(6)))
    assert [a["seed"] for a in answers] == list(range(6))
    alone = made(running, prompt="drum 3", seed=3)
    distance = wave_of(alone["audio_base64"])[0] - wave_of(answers[3]["audio_base64"])[0]
    assert np.abs(distance).max() < 2e-4


def test_one_who_hangs_up_frees_the_slot_and_nobody_else_notices(running: Service) -> None:
    before = made(running, seed=9)["audio_base64"]
    begun = threading.Event()

    def leave() -> None:
        body = QUICK | {"num_inference_steps": 500, "force": True}
        with running.client.stream("POST", "/predict/stream", json=body) as answer:
            for name, data in events(answer):
                if name == "progress" and data["stage"] == "denoise":
                    begun.set()
                    return

    thread = threading.Thread(target=leave)
    thread.start()
    assert begun.wait(WAIT_S)
    thread.join(WAIT_S)
    running.wait("busy", 0, WAIT_S)
    assert made(running, seed=9)["audio_base64"] == before


# ── what is not there ──


def test_a_model_that_is_not_known_is_told() -> None:
    with pytest.raises(UnknownName, match="audioldm2"):
        registry.resolve("audioldm2-huge")


def test_a_folder_that_is_not_whole_is_told_by_readyz(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(checkpoint, folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    environment = {"TONEWHEEL_AUDIOLDM2_PATH": str(folder), "TONEWHEEL_DATA_DIR": str(tmp_path)}
    with service("audioldm2", tmp_path, ready=False, **environment) as started:
        started.wait("state", "failed", WAIT_S)
        told = started.get("/readyz").json()["detail"]
    assert told["type"] == "model_broken"
    assert "unet" in told["message"] and "diffusion_pytorch_model.safetensors" in told["message"]


def test_weights_need_a_yes_that_says_what_they_forbid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tonewheel.fleet.consent import require_consent
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    try:
        for name in ("audioldm2", "audioldm2-large", "audioldm2-music"):
            with pytest.raises(ConsentRequired, match=r"CC-BY-NC-SA-4\.0.*no commercial use"):
                require_consent(registry.card(name))
    finally:
        settings.cache_clear()


# ── ordered through the gateway and the command line ──


def test_a_job_is_refused_before_it_is_taken_and_forced_jobs_have_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.fleet.memory import Device
    from tonewheel.gateway.orders import in_time
    from tonewheel.jobs import song_request
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("tonewheel.fleet.clock.read_devices", lambda: [])
    settings.cache_clear()
    try:
        order = {"model": "audioldm2", "prompt": "a drum", "duration_s": 10}
        assert in_time(song_request(**order)) == (120.0, None), "nothing was measured yet"
        clock(tmp_path, 3.0, **{"1000": 20.0})
        with pytest.raises(TooSlow, match="about 10 min on this CPU"):
            in_time(song_request(**order))
        with monkeypatch.context() as with_gpu:
            gpu = Device("cuda", "a GPU", 1 << 34, 1 << 33)
            with_gpu.setattr("tonewheel.fleet.clock.read_devices", lambda: [gpu])
            assert in_time(song_request(**order)) == (120.0, None), "of a GPU that came since nothing is known"
        assert in_time(song_request(**order, options={"num_inference_steps": 20})) == (120.0, 80.0)
        assert in_time(song_request(**order, options={"force": True})) == (2 * 620.0 + 60, 620.0)
        clock(tmp_path, 3.0, "cuda/float16")
        assert in_time(song_request(**order)) == (120.0, 600.0), "a GPU is not refused"
    finally:
        settings.cache_clear()


def test_generate_is_refused_without_force_before_anything_is_started(
    tonewheel: Callable[..., Any], checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.fleet.consent import record_consent
    from tonewheel.settings import settings

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TONEWHEEL_AUDIOLDM2_PATH", str(checkpoint))
    settings.cache_clear()
    monkeypatch.setattr("tonewheel.fleet.clock.read_devices", lambda: [])
    record_consent(registry.card("audioldm2"))
    clock(tmp_path, 60.0)
    asked = ("generate", "a drum", "--model", "audioldm2", "--duration", "1", "-o", str(tmp_path / "x.wav"))
    try:
        told = tonewheel(*asked, "--dry-run", "--set", "num_inference_steps=10")
        assert told.code == 0 and "in about 10 min" in told.out
        ran = tonewheel(*asked)
    finally:
        settings.cache_clear()
    assert ran.code == 2
    assert "on this CPU" in ran.err and "--force" in ran.err
    assert not (tmp_path / "x.wav").exists()
