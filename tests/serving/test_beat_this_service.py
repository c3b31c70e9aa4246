"""Beat This over HTTP as its clients know it (../shared/contracts.md, "beat-this"), on a tiny checkpoint."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from processes import Service, error_of, events, service

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # its makers of checkpoints
RATE = 22_050
CONTRACT = {"beats", "downbeats", "bpm", "num_beats", "num_downbeats", "duration", "frames", "metadata"}


@pytest.fixture(scope="module")
def beats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    import beat_this_checkpoints

    folder = tmp_path_factory.mktemp("beat_this")
    beat_this_checkpoints.save(folder / "final0.ckpt", beat_this_checkpoints.network(beat_this_checkpoints.LIGHT))
    environment = {"TONEWHEEL_BEAT_THIS_FINAL0_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    with service("beat-this", tmp_path_factory.mktemp("log"), ready=False, **environment) as running:
        running.wait("state", "ready", 120)  # torch is slow to import on a busy machine
        yield running


def _clicks(seconds: float = 4.0, rate: int = RATE) -> NDArray[np.float64]:
    count = round(seconds * rate)
    place = np.arange(count) / rate * 2
    return 0.4 * np.random.default_rng(2).standard_normal(count) * np.exp(-20 * (place % 1))


def _file(samples: NDArray[np.float64], rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, samples, rate, format=kind, subtype=subtype)
    return data.getvalue()


def _body(samples: NDArray[np.float64], rate: int = RATE, **more: Any) -> dict[str, Any]:
    return {"audio": base64.b64encode(_file(samples, rate)).decode(), **more}


def test_the_answer_has_every_field_of_the_contract(beats: Service) -> None:
    response = beats.post(body=_body(_clicks(), client_job_id="job-7"))
    assert response.status_code == 200, response.text
    said = response.json()
    assert set(said) >= CONTRACT
    assert said["num_beats"] == len(said["beats"]) > 2
    assert said["num_downbeats"] == len(said["downbeats"])
    assert set(said["downbeats"]) <= set(said["beats"])
    assert said["bpm"] == round(60 / float(np.median(np.diff(said["beats"]))), 1)
    assert said["duration"] == 4.0
    frames = said["frames"]
    assert frames["fps"] == 50
    assert frames["num_frames"] == len(frames["beat_probs"]) == len(frames["downbeat_probs"]) == 201
    assert all(0 <= p <= 1 for p in frames["beat_probs"] + frames["downbeat_probs"])
    assert [m["time"] for m in said["markers"]] == said["beats"]
    assert said["tempo"]["bpm"] > 0
    assert said["model"] == said["metadata"]["model"] == "beat-this-final0"
    assert said["metadata"]["client_job_id"] == "job-7"
    assert said["metadata"]["duration_s"] == 4.0
    json.dumps(said, allow_nan=False)


def test_frames_are_left_out_when_not_wanted(beats: Service) -> None:
    assert beats.post(body=_body(_clicks(1), frames=False)).json()["frames"] is None


@pytest.mark.parametrize(
    ("samples", "rate", "got"),
    [
        (_clicks(1, 44_100), 44_100, "44100 Hz, mono, 1.00 s"),
        (np.stack([_clicks(1)] * 2, axis=1), RATE, "22050 Hz, stereo, 1.00 s"),
        (np.zeros(RATE * 30 + 441), RATE, "22050 Hz, mono, 30.02 s"),
    ],
    ids=["rate", "channels", "length"],
)
def test_strict_mode_refuses_all_else_and_names_what_it_got(
    beats: Service, samples: NDArray[np.float64], rate: int, got: str
) -> None:
    detail = error_of(beats.post(body=_body(samples, rate)), 422, "invalid_request")
    assert detail["param"] == "audio"
    assert "exactly 22050 Hz, mono, at most 30 s" in detail["message"]
    assert got in detail["message"]
    assert "strict: false" in detail["message"]


def test_exactly_thirty_seconds_are_taken(beats: Service) -> None:
    said = beats.post(body=_body(_clicks(30), frames=False)).json()
    assert said["duration"] == 30.0


def test_without_strict_any_file_is_heard(beats: Service) -> None:
    stereo = np.stack([_clicks(31, 48_000)] * 2, axis=1)
    body = {"audio": base64.b64encode(_file(stereo, 48_000, "FLAC")).decode(), "strict": False}
    said = beats.post(body=body).json()
    assert said["duration"] == pytest.approx(31.0)
    assert said["frames"]["num_frames"] == 1551


def test_a_form_with_the_file_itself_is_the_same(beats: Service) -> None:
    data = _file(_clicks())
    sent = beats.client.post("/predict", files={"audio": ("a.wav", data)}, data={"frames": "false"})
    assert sent.status_code == 200, sent.text
    assert sent.json()["beats"] == beats.post(body=_body(_clicks())).json()["beats"]


def test_silence_has_an_answer(beats: Service) -> None:
    response = beats.post(body=_body(np.zeros(RATE * 2)))
    assert response.status_code == 200, response.text
    assert response.json()["frames"]["num_frames"] == 101


def test_what_is_no_music_is_422(beats: Service) -> None:
    broken = _clicks(1)
    broken[100] = np.nan
    nan = base64.b64encode(_file(broken, subtype="FLOAT")).decode()
    for audio, kind in (
        (nan, "unreadable_audio"), (base64.b64encode(b"not audio" * 99).decode(), "unreadable_audio"),
        (_body(np.zeros(100))["audio"], "unreadable_audio"), ("%%%", "invalid_request"), ("", "invalid_request"),
    ):  # fmt: skip
        detail = error_of(beats.post(body={"audio": audio}), 422, kind)
        assert detail["param"] == "audio"
    error_of(beats.post(body={"frames": True}), 422, "invalid_request")


def test_dbn_is_refused_with_the_reason(beats: Service) -> None:
    detail = error_of(beats.post(body=_body(_clicks(1), postprocess="dbn")), 422, "invalid_request")
    assert detail["param"] == "postprocess"
    assert "madmom" in detail["message"]
    error_of(beats.post(body=_body(_clicks(1), postprocess="best")), 422, "invalid_request")


def test_progress_is_told_before_the_result(beats: Service) -> None:
    with beats.client.stream("POST", "/predict/stream", json=_body(_clicks(2))) as response:
        heard = list(events(response))
    assert [name for name, _ in heard][-1] == "result"
    assert any(name == "progress" and data["stage"] == "beats" for name, data in heard)
    assert heard[-1][1]["num_beats"] > 0


def test_it_describes_itself(beats: Service) -> None:
    said = beats.get("/v1/metadata").json()
    assert said["service"] == "beat-this"
    assert said["models"][:2] == ["beat-this-final0", "beat-this-small0"]
    options = {option["key"]: option for option in said["options"]}
    assert options["audio"]["type"] == "audio"
    assert options["postprocess"]["values"] == ["minimal", "dbn"]
    assert (options["strict"]["default"], options["frames"]["default"]) == (True, True)
    assert beats.get("/health").json()["service"] == "beat-this"


def test_a_model_without_weights_says_what_to_run(tmp_path: Path) -> None:
    with service("beat-this-small0", tmp_path, ready=False, TONEWHEEL_DATA_DIR=str(tmp_path)) as running:
        running.wait("state", "failed", 120)
        response = running.get("/readyz")
        detail = error_of(response, response.status_code, "not_pulled")
        assert "tonewheel pull beat-this-small0" in detail["message"]
