"""HeartMuLa as a service: contracts.md (9920) over real HTTP, on a tiny checkpoint of the published layout."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from processes import Service, error_of, events, service

from tonewheel.audio.tags import read_tags

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("models", "gateway")]
import heartmula_checkpoints  # the maker of checkpoints
from served import serving

WAIT_S = 120.0  # for work that others on this machine slow down
GENERATIONS = "/v1/music/generations"
# Half a second of song: six frames, and a whole window of the codec nevertheless.
SHORT = {"lyrics": "[Verse]\nRain on the roof", "tags": ["folk", "warm"], "duration": 0.5, "seed": 11}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return heartmula_checkpoints.make(tmp_path_factory.mktemp("heartmula") / "tiny")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "songs"


@pytest.fixture(scope="module")
def tiny(folder: Path, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {
        "OMP_NUM_THREADS": "1", "HEARTMULA_MODEL_PATH": str(folder), "HEARTMULA_OUTPUT_DIR": str(kept),
        "HEARTMULA_DEVICE": "cpu", "HEARTMULA_DTYPE": "float32",
    }  # fmt: skip
    with service("heartmula", tmp_path_factory.mktemp("log"), ready=False, **env) as running:
        running.client.timeout = httpx.Timeout(WAIT_S)
        running.wait("state", "ready", WAIT_S)
        yield running


@pytest.fixture(scope="module")
def song(tiny: Service) -> dict[str, Any]:
    """One song made for all tests that only look at one."""
    answer = tiny.post(GENERATIONS, SHORT)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_contract_answers_a_link_and_keeps_the_file(tiny: Service, song: dict[str, Any], kept: Path) -> None:
    assert song["status"] == "completed" and song["audio_url"] == f"/audio/{song['id']}.wav"
    assert (song["seed"], song["tags"], song["lyrics"]) == (11, "folk,warm", SHORT["lyrics"])
    audio = tiny.get(song["audio_url"])
    assert audio.status_code == 200 and audio.headers["content-type"] == "audio/wav"
    samples, rate = soundfile.read(io.BytesIO(audio.content), always_2d=True)
    # Six frames of 80 ms are what comes nearest to half a second; the length told is the real one.
    assert (rate, samples.shape) == (48_000, (6 * 3840, 2))
    assert song["duration"] == pytest.approx(0.48) and song["ended"] == "at its length"
    assert samples.std() > 0.01
    assert (kept / f"{song['id']}.wav").read_bytes() == audio.content
    assert not list(kept.glob("*.part"))
    tags = read_tags(audio.content)
    assert (tags.license, tags.extra["tonewheel_seed"], tags.title) == ("Apache-2.0", "11", "Rain on the roof")
    assert tags.lyrics == SHORT["lyrics"], "the words can be had from the file"


def test_a_part_of_a_file_is_answered_to_a_range(tiny: Service, song: dict[str, Any]) -> None:
    whole = tiny.get(song["audio_url"]).content
    part = tiny.get(song["audio_url"], headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(whole)}"
    error_of(tiny.get(song["audio_url"], headers={"range": f"bytes={len(whole)}-"}), 416, "range_not_satisfiable")
    again = tiny.get(song["audio_url"], headers={"if-none-match": part.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["x.wav", "..%2f..%2fetc%2fpasswd", "A" * 22 + ".wav"])
def test_no_other_file_can_be_had(tiny: Service, name: str) -> None:
    error_of(tiny.get(f"/audio/{name}"), 404, "not_found")


def test_the_same_seed_gives_the_same_bytes_alone_and_in_company(tiny: Service, song: dict[str, Any]) -> None:
    wanted = tiny.get(song["audio_url"]).content
    others = [
        {"prompt": "calm piano", "duration": 1.0, "guidance_scale": 1.0},
        {"style": "techno", "duration": 0.3, "temperature": 0},
        {"input": "one line\nanother line", "duration": 0.8, "guidance_scale": 3.0, "top_p": 0.9, "top_k": 0},
    ]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda body: tiny.post(GENERATIONS, body), [*others, SHORT]))
    assert [answer.status_code for answer in made] == [200] * 4
    assert tiny.get(made[-1].json()["audio_url"]).content == wanted
    assert [answer.json()["lyrics"] for answer in made[:3]] == ["", "", "one line\nanother line"]


def test_predict_answers_the_audio_itself(tiny: Service) -> None:
    said = tiny.post("/predict", SHORT).json()
    assert (said["sample_rate"], said["channels"], said["frames"], said["num_samples"]) == (48_000, 2, 6, 6 * 3840)
    assert base64.b64decode(said["audio_base64"])[:4] == b"RIFF"
    assert said["metadata"]["model"] == "heartmula-3b-happy-new-year" and said["metadata"]["dtype"] == "float32"
    flac = tiny.post("/predict", SHORT, headers={"accept": "audio/flac"})
    assert flac.content[:4] == b"fLaC"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "nothing to make music of"),
        ({"prompt": "x", "duration": 601}, "600"),
        ({"prompt": "x", "duration": 0}, "must be more than 0"),
        ({"prompt": "x", "duration": True}, "not true"),
        ({"prompt": "x", "seed": -1}, "must be at least 0"),
        ({"prompt": "x", "tags": ["t"] * 51}, "at most 50 tags"),
        ({"lyrics": "la la\n" * 1400, "style": "x"}, "8192 positions: shorten them"),
        ({"lyrics": "la la\n" * 1000, "style": "x", "duration": 300}, "s at most, or shorten them"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_work(tiny: Service, body: dict[str, Any], says: str) -> None:
    assert says in error_of(tiny.post(GENERATIONS, body), 422, "invalid_request")["message"]
    tiny.wait("busy", 0, WAIT_S)


def test_a_client_that_goes_frees_its_slot(tiny: Service) -> None:
    body = {"prompt": "a long one", "duration": 500}
    with tiny.client.stream("POST", "/predict/stream", json=body) as response:
        assert response.status_code == 200
        assert next(events(response))[0] == "progress"
        assert tiny.get("/health").json()["busy"] == 1
    tiny.wait("busy", 0, WAIT_S)
    assert tiny.post("/predict", SHORT).status_code == 200


def test_a_song_of_two_windows_is_heard_before_it_is_whole(tiny: Service) -> None:
    body = {"prompt": "x", "duration": 30.4, "guidance_scale": 1, "temperature": 0, "seed": 1}  # 380 frames
    told = []
    with tiny.client.stream("POST", "/predict/stream", json=body) as response:
        for name, data in events(response):
            told.append((name, data))
    names = [name for name, _ in told if name in ("audio", "result")]
    assert names[-1] == "result" and names.count("audio") >= 2
    result = told[-1][1]
    assert (result["frames"], result["duration"]) == (380, pytest.approx(30.4))


def test_it_says_what_it_can_do(tiny: Service) -> None:
    said = tiny.get("/v1/metadata").json()
    assert {"path": "/audio/{name}", "method": "GET"}.items() <= {
        k: v for e in said["endpoints"] if e["path"].startswith("/audio") for k, v in e.items()
    }.items()
    assert said["models"] == ["heartmula-3b-happy-new-year", "heartmula-3b-rl", "heartmula-3b"]
    assert GENERATIONS in tiny.get("/openapi.json").json()["paths"]


def test_a_folder_that_is_not_whole_is_told_by_readyz(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with service("heartmula", tmp_path, ready=False, HEARTMULA_MODEL_PATH=str(bare)) as running:
        running.wait("state", "failed", WAIT_S)
        assert "no gen_config.json" in running.get("/readyz").json()["detail"]["message"]


def test_the_server_makes_a_song_of_a_plan_with_it(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", HEARTMULA_MODEL_PATH=str(folder), OMP_NUM_THREADS="1") as served:
        job = served.wait(served.order(model="heartmula-3b", format="flac"), s=WAIT_S * 2)
        assert job["state"] == "done", job
        song = served.client.get(job["song_url"]).json()
        assert (song["model"], song["licence"], song["duration_s"]) == ("heartmula-3b", "Apache-2.0", 10.0)
