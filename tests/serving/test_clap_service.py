"""CLAP over HTTP as its clients know it (../shared/contracts.md, "clap"), on a tiny checkpoint."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service

for _helpers in ("models", "audio"):  # their makers of checkpoints and of hostile files
    sys.path.insert(0, str(Path(__file__).parents[1] / _helpers))

RATE = 48_000
GENRES = {"rock", "pop", "electronic", "jazz", "classical", "hip hop", "country", "reggae", "metal", "folk", "blues"}
MOODS = {"happy", "sad", "angry", "peaceful", "exciting", "scary", "tense", "melancholic", "upbeat", "calm"}
NAME = "clap-htsat-unfused"
PATH = "TONEWHEEL_CLAP_HTSAT_UNFUSED_PATH"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    import clap_checkpoints

    return clap_checkpoints.make(tmp_path_factory.mktemp("clap") / "model", clap_checkpoints.RECIPES["unfused-old"])


@pytest.fixture(scope="module")
def clap(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    environment = {PATH: str(checkpoint), "OMP_NUM_THREADS": "1"}
    with service("clap", tmp_path_factory.mktemp("log"), ready=False, **environment) as running:
        running.wait("state", "ready", 180)  # torch and transformers are slow to import on a busy machine
        yield running


def tone(hertz: float = 440.0, seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> str:
    wave = 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    file = io.BytesIO()
    soundfile.write(file, np.repeat(wave[:, None], channels, axis=1), rate, format="FLAC")
    return base64.b64encode(file.getvalue()).decode()


def ask(clap: Service, **body: Any) -> dict[str, Any]:
    answer = clap.post(body=body)
    assert answer.status_code == 200, answer.text[:500]
    return dict(answer.json())


def test_every_task_is_answered_as_the_contract_says(clap: Service) -> None:
    tasks = ["embeddings", "zero_shot", "similarity", "genre", "mood"]
    said = ask(
        clap, audio=tone(), audio_b=tone(880), tasks=tasks, text_candidates=["a whistle", "a drum"],
        client_job_id="job-7",
    )  # fmt: skip
    assert said["tasks"] == tasks
    assert len(said["embeddings"]) == 512
    assert float(np.linalg.norm(said["embeddings"])) == pytest.approx(1, abs=1e-5)
    for name, labels in (("zero_shot", {"a whistle", "a drum"}), ("genre", GENRES), ("mood", MOODS)):
        predictions = said[name]["predictions"]
        assert {p["label"] for p in predictions} == labels
        scores = [p["score"] for p in predictions]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)
        assert said[name]["top_label"] == predictions[0]["label"]
    assert said["similarity"]["distance"] == pytest.approx(1 - said["similarity"]["score"])
    assert said["metadata"]["client_job_id"] == "job-7"
    assert said["metadata"]["model"] == NAME
    assert said["metadata"]["duration_s"] == 1.0
    json.dumps(said, allow_nan=False)


def test_without_tasks_it_is_embeddings_alone(clap: Service) -> None:
    said = ask(clap, audio=tone())
    assert said["tasks"] == ["embeddings"]
    assert not {"zero_shot", "genre", "mood", "similarity", "results"} & set(said)


def test_a_recording_is_most_like_itself(clap: Service) -> None:
    said = ask(clap, audio=tone(), audio_b=tone(), tasks=["similarity"])
    assert said["similarity"]["score"] == pytest.approx(1, abs=1e-5)


def test_own_labels_take_the_place_of_ours(clap: Service) -> None:
    said = ask(clap, audio=tone(), tasks=["genre", "mood"], genres=["polka", "drone"], moods=["seasick"])
    assert {p["label"] for p in said["genre"]["predictions"]} == {"polka", "drone"}
    assert said["mood"] == {"predictions": [{"label": "seasick", "score": 1.0}], "top_label": "seasick"}


def test_a_text_is_scored_and_texts_are_embedded(clap: Service) -> None:
    said = ask(clap, audio=tone(), text="a whistle")
    (embedding,) = ask(clap, texts=["a whistle"])["text_embeddings"]
    assert said["text"]["score"] == pytest.approx(float(np.dot(said["embeddings"], embedding)), abs=1e-5)


def test_any_rate_channel_count_and_length(clap: Service) -> None:
    said = ask(clap, audio=tone(440, 25.0, 22_050, 2))
    assert (said["windows"], said["duration"]) == (3, 25.0)
    assert ask(clap, audio=tone(440, 0.1, 8000))["windows"] == 1


def test_a_batch_is_answered_in_order(clap: Service) -> None:
    files = [tone(hertz) for hertz in (220, 440, 880)]
    said = ask(clap, batch=files, tasks=["embeddings"])
    for file, heard in zip(files, said["results"], strict=True):
        assert heard["embeddings"] == pytest.approx(ask(clap, audio=file)["embeddings"], abs=1e-5)


def test_a_multipart_upload_is_heard(clap: Service) -> None:
    answer = clap.client.post(
        "/predict", files={"audio": ("x.flac", base64.b64decode(tone()))}, data={"tasks": '["genre"]'}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["genre"]["top_label"] in GENRES


def test_many_clients_share_batches_and_get_their_own(clap: Service) -> None:
    alone = {hertz: ask(clap, audio=tone(hertz))["embeddings"] for hertz in range(200, 1000, 100)}
    together: dict[int, list[float]] = {}

    def one(hertz: int) -> None:
        together[hertz] = ask(clap, audio=tone(hertz))["embeddings"]

    threads = [threading.Thread(target=one, args=(hertz,)) for hertz in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert set(together) == set(alone)
    for hertz, embedding in alone.items():
        assert together[hertz] == pytest.approx(embedding, abs=1e-5)


def test_a_stream_tells_windows_and_then_the_result(clap: Service) -> None:
    with clap.client.stream("POST", "/predict/stream", json={"audio": tone(440, 25.0)}) as answer:
        told = list(events(answer))
    stages = {data["stage"] for name, data in told if name == "progress"}
    assert {"decode", "embed"} <= stages
    assert told[-1][0] == "result"
    assert len(told[-1][1]["embeddings"]) == 512


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "audio"),
        ({"audio": None}, "audio"),
        ({"audio": ""}, "audio"),
        ({"audio": "not base64!"}, "audio"),
        ({"audio": "QUJD"}, "audio"),
        ({"audio": 7}, "audio"),
        ({"tasks": ["genre"]}, "audio"),
        ({"audio": tone(), "tasks": ["karaoke"]}, "tasks[0]"),
        ({"audio": tone(), "tasks": "genre"}, "tasks"),
        ({"audio": tone(), "tasks": []}, "tasks"),
        ({"audio": tone(), "tasks": ["similarity"]}, "audio_b"),
        ({"audio": tone(), "tasks": ["similarity"], "audio_b": "%%"}, "audio_b"),
        ({"audio": tone(), "tasks": ["similarity"], "audio_b": "QUJD"}, "audio_b"),
        ({"audio": tone(), "tasks": ["zero_shot"]}, "text_candidates"),
        ({"audio": tone(), "tasks": ["zero_shot"], "text_candidates": []}, "text_candidates"),
        ({"audio": tone(), "tasks": ["zero_shot"], "text_candidates": [""]}, "text_candidates[0]"),
        ({"audio": tone(), "tasks": ["zero_shot"], "text_candidates": ["雨" * 900]}, "text_candidates[0]"),
        ({"audio": tone(), "genres": ["x"] * 501}, "genres"),
        ({"audio": tone(), "text": "x" * 1001}, "text"),
        ({"audio": tone(), "client_job_id": "no spaces"}, "client_job_id"),
        ({"batch": [tone(), "QUJD"]}, "batch[1]"),
        ({"batch": []}, "batch"),
        ({"audio": tone(440, 0.001)}, "audio"),
    ],
)
def test_a_wrong_request_is_422_and_names_its_field(clap: Service, body: dict[str, Any], param: str) -> None:
    answer = clap.post(body=body)
    assert answer.status_code == 422, answer.text[:300]
    detail = answer.json()["detail"]
    assert detail["param"] == param
    assert detail["retryable"] is False
    assert "\n" not in detail["message"]


def test_hostile_audio_is_a_clear_refusal_and_the_service_lives(clap: Service) -> None:
    from hostile import HOSTILE

    for name, (make, status) in HOSTILE.items():
        data = make()
        if not data:
            continue  # an empty string is no base64; told above
        answer = clap.post(body={"audio": base64.b64encode(data).decode()})
        assert answer.status_code == status, (name, answer.text[:300])
        error_of(answer, status, "too_large" if status == 413 else "unreadable_audio")
    assert len(ask(clap, audio=tone())["embeddings"]) == 512
    assert clap.get("/readyz").status_code == 200


def test_it_says_why_it_cannot_load(tmp_path: Path, checkpoint: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in checkpoint.iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    with service("clap", tmp_path, ready=False, **{PATH: str(pickled)}) as running:
        running.wait("state", "failed", 180)
        answer = running.get("/readyz")
        assert answer.status_code == 503
        assert "TONEWHEEL_PICKLED_MODELS" in answer.text
        assert running.post(body={"audio": tone()}).status_code == 503


def test_killed_while_it_works_its_client_may_try_again_and_the_next_request_works(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tonewheel.errors import TonewheelError
    from tonewheel.fleet.client import Fleet
    from tonewheel.settings import settings

    monkeypatch.setenv(PATH, str(checkpoint))
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    killed: list[int] = []

    def kill(stage: str, *_: object) -> None:
        if stage == "embed" and not killed:
            record = fleet.records.of(NAME).live()
            assert record is not None
            killed.append(record.process.pid)
            os.kill(record.process.pid, signal.SIGKILL)

    try:
        with Fleet(tmp_path) as fleet:
            caught: TonewheelError | None = None
            for _ in range(5):  # the answer may be on its way before it is heard that the work goes on
                killed.clear()
                try:
                    fleet.call(NAME, {"audio": tone(440, 600.0, 8000)}, progress=kill, deadline_s=900)
                except TonewheelError as error:
                    caught = error
                    break
            assert killed and caught is not None
            assert caught.retryable
            answer = fleet.call(NAME, {"audio": tone()}, deadline_s=900)
            assert len(answer.fields["embeddings"]) == 512
    finally:
        settings.cache_clear()
