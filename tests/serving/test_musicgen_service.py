"""MusicGen as a service: the contract over real HTTP, on a tiny checkpoint of the official layout."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from processes import Service, error_of, events, service

from tonewheel.audio.tags import read_tags

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("models", "gateway")]
import musicgen_checkpoints  # the maker of checkpoints
from served import serving

WAIT_S = 300.0  # for work that others on this machine slow down
# float32 with and without native kernels, with which it would be int8
ENV = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TONEWHEEL_MUSICGEN_DTYPE": "float32"}
# Unconditional and greedy: one row, no draw, so that a long piece takes seconds.
QUICK = {"guidance_scale": 1, "do_sample": False}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"musicgen-{name}"
        if not folder.exists():
            musicgen_checkpoints.make(folder, musicgen_checkpoints.RECIPES[name])
        return folder

    return made


@pytest.fixture(scope="module")
def small(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = ENV | {
        "TONEWHEEL_MUSICGEN_SMALL_PATH": str(checkpoint("mono-old")),
        "TONEWHEEL_PICKLED_MODELS": "musicgen-small",
    }
    with service("musicgen", tmp_path_factory.mktemp("log"), ready=False, **env) as running:
        running.client.timeout = httpx.Timeout(WAIT_S)
        running.wait("state", "ready", WAIT_S)
        yield running


@pytest.fixture(scope="module")
def melody(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = ENV | {"TONEWHEEL_MUSICGEN_MELODY_PATH": str(checkpoint("melody")), "TONEWHEEL_MUSICGEN_CACHE_MB": "1"}
    with service("musicgen-melody", tmp_path_factory.mktemp("log"), ready=False, **env) as running:
        running.client.timeout = httpx.Timeout(WAIT_S)
        running.wait("state", "ready", WAIT_S)
        yield running


def wave_of(encoded: str) -> tuple[np.ndarray[Any, Any], int]:
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)), always_2d=True)
    return samples, rate


def file_of(seconds: float, rate: int = 44_100, channels: int = 2, level: float = 0.3) -> str:
    times = np.arange(int(seconds * rate)) / rate
    sound = np.sin(2 * np.pi * 330 * times) * level
    data = io.BytesIO()
    soundfile.write(data, np.tile(sound[:, None], channels), rate, format="FLAC")
    return base64.b64encode(data.getvalue()).decode()


def made(running: Service, **body: Any) -> dict[str, Any]:
    answer = running.post(body=body)
    assert answer.status_code == 200, answer.text[:500]
    return dict(answer.json())


# ── the contract ────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_the_contract_is_answered(small: Service) -> None:
    answer = made(small, prompt="warm lo-fi", duration=0.5, seed=7, client_job_id="job:1")
    samples, rate = wave_of(answer["audio_base64"])
    assert (rate, samples.shape) == (32_000, (16_000, 1))
    assert {k: answer[k] for k in ("sample_rate", "duration", "num_samples", "channels", "prompt", "seed")} == {
        "sample_rate": 32_000, "duration": 0.5, "num_samples": 16_000, "channels": 1, "prompt": "warm lo-fi", "seed": 7,
    }  # fmt: skip
    told = answer["metadata"]
    assert (told["model"], told["seed"], told["client_job_id"]) == ("musicgen-small", 7, "job:1")
    assert (told["device"], told["dtype"], told["duration_s"]) == ("cpu", "float32", 0.5)
    assert answer["notes"] == [] and "variations" not in answer
    info = soundfile.info(io.BytesIO(base64.b64decode(answer["audio_base64"])))
    assert (info.format, info.subtype) == ("WAV", "PCM_16")


def test_the_same_request_and_seed_give_the_same_bytes_and_another_seed_others(small: Service) -> None:
    asked = {"prompt": "a b", "duration": 1.2, "seed": 5}
    with ThreadPoolExecutor(4) as pool:  # in company, too
        first, again, other, _ = pool.map(
            lambda more: made(small, **asked | more), [{}, {}, {"seed": 6}, {"duration": 2}]
        )
    assert first["audio_base64"] == again["audio_base64"] == made(small, **asked)["audio_base64"]
    assert first["audio_base64"] != other["audio_base64"]


def test_a_seed_that_was_not_given_is_told_and_gives_the_music_again(small: Service) -> None:
    answer = made(small, prompt="a", duration=0.5)
    assert made(small, prompt="a", duration=0.5, seed=answer["seed"])["audio_base64"] == answer["audio_base64"]


@pytest.mark.parametrize("accept", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
def test_every_file_carries_its_licence(small: Service, accept: str) -> None:
    answer = small.post(body={"prompt": "rain", "duration": 0.5, "seed": 3}, headers={"accept": accept})
    assert answer.headers["content-type"] == accept
    tags = read_tags(answer.content)
    assert (tags.license, tags.title) == ("CC-BY-NC-4.0", "rain")
    assert (tags.extra["tonewheel_seed"], tags.extra["tonewheel_model"]) == ("3", "musicgen-small")


def test_lengths_are_exact_to_the_sample_whatever_is_made_beside_them(small: Service) -> None:
    lengths = (0.5, 0.51, 29.99, 30, 31, 75)
    with ThreadPoolExecutor(len(lengths)) as pool:
        answers = list(pool.map(lambda s: made(small, duration=s, seed=1, **QUICK), lengths))
    for seconds, answer in zip(lengths, answers, strict=True):
        samples, _ = wave_of(answer["audio_base64"])
        assert len(samples) == answer["num_samples"] == round(seconds * 32_000)
        assert answer["duration"] == pytest.approx(seconds, abs=1 / 32_000)
        assert np.abs(samples[-16_000:]).max() > 0.01  # the last half second sounds, too


@pytest.mark.parametrize(
    "settings",
    [
        {"guidance_scale": 1}, {"guidance_scale": 15}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1}, {"temperature": 0.01},
        {"prompt": ""}, {"prompt": "日本語の歌"}, {"prompt": None}, {"negative_prompt": "noise"}, {"do_sample": False},
        {"prompt": "", "negative_prompt": "noise", "top_k": 1000, "temperature": 2},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_at_its_ends_makes_music(small: Service, settings: dict[str, Any]) -> None:
    answer = made(small, **{"prompt": "slow", "duration": 0.5, "seed": 2} | settings)
    samples, _ = wave_of(answer["audio_base64"])
    assert len(samples) == 16_000 and samples.std() > 0.001


def test_drawing_the_likeliest_only_is_what_greedy_makes(small: Service) -> None:
    greedy = made(small, prompt="slow", duration=0.5, seed=2, do_sample=False)["audio_base64"]
    for settings in ({"top_p": 0}, {"top_k": 1}, {"temperature": 0.01, "top_k": 2}):
        assert made(small, prompt="slow", duration=0.5, seed=2, **settings)["audio_base64"] == greedy


def test_a_prompt_of_ten_thousand_characters_is_cut_and_said_so(small: Service) -> None:
    answer = made(small, prompt="a b " * 2500, duration=0.5)
    assert answer["notes"] == ["prompt was cut after 512 tokens, 9489 were left out"]
    detail = error_of(small.post(body={"prompt": "x" * 10_001}), 422, "invalid_request")
    assert detail["param"] == "prompt" and "10000" in detail["message"].replace(",", "")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"duration": 0.49}, "duration"), ({"duration": 301}, "duration"), ({"duration": True}, "duration"),
        ({"temperature": 0}, "temperature"), ({"top_k": -1}, "top_k"), ({"top_p": 1.01}, "top_p"),
        ({"guidance_scale": 0.5}, "guidance_scale"), ({"num_variations": 9}, "num_variations"), ({"seed": -1}, "seed"),
        ({"continue_from": "%%%"}, "continue_from"), ({"continue_from": "bm90IGF1ZGlv"}, "continue_from"),
        ({"continue_from": file_of(0.05)}, "continue_from"), ({"client_job_id": "a b"}, "client_job_id"),
        ({"melody": file_of(1)}, "melody"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_422_and_names_the_field(small: Service, body: dict[str, Any], param: str) -> None:
    answer = small.post(body=body)
    assert answer.status_code == 422, answer.text[:300]
    detail = error_of(answer, 422, answer.json()["detail"]["type"])
    assert detail["param"] == param and not detail["retryable"]


def test_variations_are_as_many_answers_with_seeds_of_their_own(small: Service) -> None:
    answer = made(small, prompt="a", duration=0.6, seed=5, num_variations=3)
    several = answer["variations"]
    assert len({v["audio_base64"] for v in several}) == len({v["seed"] for v in several}) == 3
    assert several[0]["audio_base64"] == answer["audio_base64"] and several[0]["seed"] == 5
    for variation in several:
        data = base64.b64decode(variation["audio_base64"])
        assert read_tags(data).license == "CC-BY-NC-4.0"
        assert variation["num_samples"] == len(wave_of(variation["audio_base64"])[0]) == 19_200
    alone = made(small, prompt="a", duration=0.6, seed=several[2]["seed"])
    assert alone["audio_base64"] == several[2]["audio_base64"]


def test_music_goes_on_from_a_file_of_any_rate(small: Service) -> None:
    answer = made(small, prompt="a", duration=1, seed=5, continue_from=file_of(2.5, rate=44_100, channels=2))
    samples, _ = wave_of(answer["audio_base64"])
    assert len(samples) == answer["num_samples"] == 112_000
    times = np.arange(80_000 - 640) / 32_000
    assert np.abs(samples[: 80_000 - 640, 0] - np.sin(2 * np.pi * 330 * times) * 0.3)[1000:-1000].max() < 0.01
    assert samples[80_000:].std() > 0.001


# ── melody, and memory ──────────────────────────────────────────────────────────────────────────


def test_a_melody_of_any_rate_is_followed_and_a_silent_one_refused(melody: Service) -> None:
    asked = {"prompt": "a", "duration": 0.5, "seed": 5}
    plain = made(melody, **asked)["audio_base64"]
    followed = [made(melody, **asked, melody=file_of(2, rate=r))["audio_base64"] for r in (44_100, 32_000)]
    assert followed[0] == followed[1] != plain
    detail = error_of(melody.post(body=asked | {"melody": file_of(2, level=0.0)}), 422, "invalid_request")
    assert "silent" in detail["message"] and detail["param"] == "melody"


def test_a_request_that_memory_can_never_hold_is_507_and_the_others_go_on(melody: Service) -> None:
    detail = error_of(melody.post(body={"duration": 30}), 507, "out_of_memory")
    assert "MiB" in detail["message"]
    assert made(melody, duration=0.5)["num_samples"] == 16_000


# ── streaming, cancelling, being busy ───────────────────────────────────────────────────────────


def test_audio_leaves_before_the_music_is_whole_and_is_the_same(small: Service) -> None:
    heard: list[dict[str, Any]] = []
    order: list[str] = []
    result: dict[str, Any] = {}
    body = {"prompt": "a", "duration": 4.3, "seed": 5}
    with small.client.stream("POST", "/predict/stream", json=body) as response:
        for name, data in events(response):
            order.append(name)
            if name == "audio":
                heard.append(data)
            if name == "result":
                result = data
    assert [d["index"] for d in heard] == list(range(len(heard))) and len(heard) >= 4
    joined = b"".join(base64.b64decode(d["audio_base64"]) for d in heard)
    whole, _ = wave_of(result["audio_base64"])
    assert len(joined) == 2 * len(whole) == 2 * 137_600
    assert len(base64.b64decode(heard[0]["audio_base64"])) == 2 * 21 * 640  # of the first 25 frames, half a second
    samples = np.frombuffer(joined, "<i2")[:, None] / 32_768
    assert np.abs(samples - whole).max() < 4 / 32_768  # the file is dithered, the pieces are not
    assert order.index("audio") < len(order) - 1 - order[::-1].index("progress") < order.index("result")


def test_a_player_gets_the_music_as_a_wav_while_it_is_made(small: Service) -> None:
    asked, accept = {"prompt": "a", "duration": 3.3, "seed": 5}, {"accept": "audio/wav"}
    with small.client.stream("POST", "/predict/stream", json=asked, headers=accept) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "audio/wav")
        assert "content-length" not in response.headers
        live = response.read()
    assert read_tags(live).license == "CC-BY-NC-4.0" and read_tags(live).extra["tonewheel_seed"] == "5"
    samples, rate = soundfile.read(io.BytesIO(live), always_2d=True)
    whole, _ = wave_of(made(small, **asked)["audio_base64"])
    assert rate == 32_000 and samples.shape == whole.shape == (105_600, 1)
    assert np.abs(samples - whole).max() < 4 / 32_768
    with small.client.stream("POST", "/predict/stream", json={"duration": 300}, headers=accept) as response:
        pieces = response.iter_bytes(1000)  # held: letting go of it would close the connection
        assert next(pieces).startswith(b"RIFF")  # five minutes would take a minute at least
        assert small.get("/health").json()["busy"] == 1
    small.wait("busy", 0, WAIT_S)
    error_of(small.post("/predict/stream", {"duration": 0}, headers=accept), 422, "invalid_request")


def test_a_client_that_leaves_frees_its_slot(small: Service) -> None:
    small.wait("busy", 0, WAIT_S)
    with small.client.stream("POST", "/predict/stream", json={"duration": 300, "seed": 1}) as response:
        told = events(response)  # held: letting go of it would close the connection
        assert any(name == "audio" for name, _ in told)
        assert small.get("/health").json()["busy"] == 1
    small.wait("busy", 0, WAIT_S)


def test_nine_at_once_are_one_too_many(small: Service) -> None:
    small.wait("busy", 0, WAIT_S)
    leave = threading.Event()

    def occupy(_: int) -> None:
        with small.client.stream("POST", "/predict/stream", json={"duration": 300, **QUICK}) as response:
            assert response.status_code == 200
            for _name, _data in events(response):
                if leave.is_set():
                    return

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(occupy, n) for n in range(8)]
        small.wait("busy", 8, WAIT_S)
        began = time.monotonic()
        refused = small.post(body={"duration": 0.5})
        took = time.monotonic() - began
        leave.set()
        for each in work:
            each.result(WAIT_S)
    error_of(refused, 503, "busy")
    assert int(refused.headers["retry-after"]) >= 1 and took < 60
    small.wait("busy", 0, WAIT_S)
    assert made(small, duration=0.5)["num_samples"] == 16_000


# ── through the gateway ─────────────────────────────────────────────────────────────────────────


def test_the_gateway_passes_the_music_on_while_it_is_made_and_makes_songs_of_it(small: Service, tmp_path: Path) -> None:
    with serving(tmp_path / "data", TONEWHEEL_MUSICGEN_URL=small.about["url"]) as served:
        live = {"json": {"duration": 300}, "headers": {"accept": "audio/wav"}}
        with served.client.stream("POST", "/services/musicgen/predict/stream", **live) as response:
            pieces = response.iter_bytes(1000)
            assert next(pieces).startswith(b"RIFF")
            assert small.get("/health").json()["busy"] == 1
        small.wait("busy", 0, WAIT_S)
        job = served.wait(served.order(model="musicgen-small", format="flac", options={"top_k": 20}))
        assert job["state"] == "done", job
        song = served.client.get(job["song_url"]).json()
        assert (song["model"], song["licence"], song["duration_s"]) == ("musicgen-small", "CC-BY-NC-4.0", 10.0)
        tags = read_tags(served.client.get(song["audio_url"]).content)
        assert (tags.license, tags.extra["tonewheel_seed"]) == ("CC-BY-NC-4.0", "3")


# ── through the command line and the fleet ──────────────────────────────────────────────────────


def tonewheel(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TONEWHEEL_", "OTEL_"))}
    return subprocess.run(
        [sys.executable, "-m", "tonewheel.cli.main", *arguments], capture_output=True, text=True, timeout=500,
        env=clean | ENV | {"COLUMNS": "200"} | env, check=False,
    )  # fmt: skip


def test_nothing_is_served_or_made_without_a_recorded_yes(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    env = {
        "TONEWHEEL_DATA_DIR": str(tmp_path / "data"),
        "TONEWHEEL_MUSICGEN_STEREO_SMALL_PATH": str(checkpoint("stereo")),
    }
    for command in (
        ("service", "musicgen-stereo-small", "--port", "0"),
        ("generate", "a", "--model", "musicgen-stereo-small", "-o", str(tmp_path / "x.wav")),
    ):
        refused = tonewheel(*command, **env)
        assert refused.returncode == 2 and "--accept-license" in refused.stderr and "CC-BY-NC-4.0" in refused.stderr
    agreed = tonewheel("pull", "musicgen-stereo-small", "--accept-license", **env)
    assert agreed.returncode == 0, agreed.stderr
    target = tmp_path / "x.flac"
    done = tonewheel(
        "generate",
        "a b",
        "--model",
        "musicgen-stereo-small",
        "-d",
        "0.7",
        "--seed",
        "4",
        "--json",
        "-o",
        str(target),
        **env,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["seed"], told["duration_s"], told["license"], told["channels"]) == (4, 0.7, "CC-BY-NC-4.0", 2)
    info = soundfile.info(target)
    assert (info.frames, info.samplerate, info.channels, info.format) == (22_400, 32_000, 2, "FLAC")
    assert read_tags(target).license == "CC-BY-NC-4.0"
    assert tonewheel("generate", "a", "-o", str(target), **env).returncode == 2  # it exists


def test_a_song_of_a_plan_is_rendered_checked_and_finished(small: Service, tmp_path: Path) -> None:
    song = tmp_path / "song.mp3"
    env = {"TONEWHEEL_DATA_DIR": str(tmp_path / "data"), "TONEWHEEL_MUSICGEN_URL": small.about["url"]}
    done = tonewheel("song", "Neon rain", "--model", "musicgen", "-d", "10", "--seed", "4", "-o", str(song), **env)
    assert done.returncode == 0, done.stderr
    tags = read_tags(song)
    assert (tags.license, tags.extra["tonewheel_model"]) == ("CC-BY-NC-4.0", "musicgen-small")
    assert tags.title and tags.extra["tonewheel_plan"]
    assert soundfile.info(song).duration == pytest.approx(10, abs=0.1)
