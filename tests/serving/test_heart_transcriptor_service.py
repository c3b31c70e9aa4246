"""HeartTranscriptor over HTTP and from the command line, on a tiny checkpoint."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service

from tonewheel.settings import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

PATH, URL = "TONEWHEEL_HEART_TRANSCRIPTOR_PATH", "TONEWHEEL_HEART_TRANSCRIPTOR_URL"
Run = Callable[..., Any]  # tests/conftest.py: code, out, err


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    pytest.importorskip("transformers")
    import whisper_checkpoints

    folder = whisper_checkpoints.make(tmp_path_factory.mktemp("whisper") / "model")
    environment = {PATH: str(folder), "OMP_NUM_THREADS": "1"}
    with service("heart-transcriptor", tmp_path_factory.mktemp("log"), ready=False, **environment) as running:
        running.wait("state", "ready", 180)  # torch and transformers are slow to import on a busy machine
        yield running


def recording(seconds: float = 4.0, rate: int = 44_100, level: float = 0.3) -> bytes:
    t = np.arange(round(seconds * rate)) / rate
    wave = level * np.sin(2 * np.pi * (200 + 100 * np.sin(t)) * t) * (0.6 + 0.4 * np.sin(3 * t))
    file = io.BytesIO()
    soundfile.write(file, np.stack([wave, -0.5 * wave], axis=1), rate, format="FLAC")
    return file.getvalue()


def body(data: bytes, **more: Any) -> dict[str, Any]:
    return {"audio": base64.b64encode(data).decode(), **more}


def test_words_come_with_their_times_in_the_language_asked_for(listener: Service) -> None:
    answer = listener.post(body=body(recording(33), language="ja", client_job_id="job-7"))
    assert answer.status_code == 200, answer.text[:500]
    said = answer.json()
    assert said["language"] == "ja" and said["duration"] == pytest.approx(33)
    assert said["segments"] and said["text"] == "\n".join(s["text"] for s in said["segments"])
    for segment in said["segments"]:
        assert set(segment) == {"start_s", "end_s", "text"} and 0 <= segment["start_s"] < segment["end_s"] + 31
        assert segment["end_s"] <= 33
    meta = said["metadata"]
    assert (meta["client_job_id"], meta["model"], meta["duration_s"]) == ("job-7", "heart-transcriptor", 33)


def test_a_form_is_taken_silence_is_told_as_such_and_a_stream_tells_its_progress(listener: Service) -> None:
    silent = listener.client.post("/predict", files={"audio": ("x.flac", recording(level=0))})
    assert silent.status_code == 200, silent.text
    assert (silent.json()["text"], silent.json()["language"], silent.json()["segments"]) == ("", None, [])
    with listener.client.stream("POST", "/predict/stream", json=body(recording())) as answer:
        told = list(events(answer))
    assert told[-1][0] == "result" and told[-1][1]["language"] is not None


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({}, "audio"),
        ({"audio": "QUJD"}, "audio"),
        (body(b"RIFF"), "audio"),
        (body(recording(), language="xx"), "language"),
        (body(recording(), language="../en"), "language"),
        (body(recording(), beams=9), "beams"),
    ],
)
def test_a_wrong_request_is_422_and_names_its_field(listener: Service, asked: dict[str, Any], param: str) -> None:
    answer = listener.post(body=asked)
    assert answer.status_code == 422, answer.text[:300]
    detail = answer.json()["detail"]
    assert detail["param"] == param and "\n" not in detail["message"]
    if "audio" not in asked:
        error_of(answer, 422, detail["type"])


def test_analyze_writes_down_what_is_sung(
    listener: Service, tonewheel: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "song.flac").write_bytes(recording(33))
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    try:
        lacking = tonewheel("analyze", str(tmp_path / "song.flac"), "--lyrics")
        monkeypatch.setenv(URL, str(listener.client.base_url))
        settings.cache_clear()
        ran = tonewheel("analyze", str(tmp_path / "song.flac"), "--lyrics", "--language", "ja", "--json")
        shown = tonewheel("analyze", str(tmp_path / "song.flac"), "--lyrics", "--language", "ja")
        alone = tonewheel("analyze", str(tmp_path / "song.flac"), "--language", "ja")
    finally:
        settings.cache_clear()
    assert lacking.code == 2 and "tonewheel pull heart-transcriptor" in lacking.err
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)
    assert row["lyrics"]["model"] == "heart-transcriptor" and row["lyrics"]["language"] == "ja"
    assert row["lyrics"]["segments"][0]["text"] in shown.out
    assert alone.code == 2 and "--lyrics" in alone.err
