"""AudioLDM 2 held to diffusers' own pipeline, called by hand on the same tiny checkpoints."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audioldm2_loaded import model_of

from tonewheel.errors import Cancelled, OutOfMemory, RenderFault
from tonewheel.models.audioldm2 import FAMILY
from tonewheel.models.audioldm2.request import NEGATIVE, Audioldm2Request, from_plan
from tonewheel.models.base import Progress, Result, RunContext
from tonewheel.models.diffusion.sound import sub_seed
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import PlanRequest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

LIMIT_S = 120.0
CLOSE = 1e-4
SHORT = {"duration": 1.0, "num_inference_steps": 10, "seed": 11}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def model(audioldm2_checkpoint: Callable[[str], Path], data: Path) -> Iterator[Any]:
    torch.set_num_threads(1)
    loaded = model_of(audioldm2_checkpoint("old"), data)
    yield loaded
    loaded.release()


@pytest.fixture(scope="module")
def by_hand(audioldm2_checkpoint: Callable[[str], Path]) -> Callable[..., Any]:
    """diffusers' pipeline on the same weights, in the layout that it can load."""
    from diffusers import AudioLDM2Pipeline
    from transformers import GPT2LMHeadModel

    folder = audioldm2_checkpoint("plain")
    language = GPT2LMHeadModel.from_pretrained(folder / "language_model")
    pipeline = AudioLDM2Pipeline.from_pretrained(folder, language_model=language, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)

    def call(prompt: str, seeds: list[int], **options: Any) -> Any:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        settings = {"audio_length_in_s": 1.0, "num_inference_steps": 10, "guidance_scale": 3.5} | options
        return pipeline(prompt, generator=generators, num_waveforms_per_prompt=len(seeds), **settings).audios

    return call


def asked(prompt: str = "a slow drum", **fields: Any) -> Audioldm2Request:
    return Audioldm2Request(**{"prompt": prompt, **SHORT, **fields})


def waves(result: Result) -> list[Any]:
    return [one["audio_base64"].samples[:, 0] for one in result.fields["waveforms"]]


def seeds_of(seed: int, count: int) -> list[int]:
    return [sub_seed(seed, n) for n in range(count)]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


# ── as the pipeline has it ──


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("negative", [None, "noise", ""])
def test_waveforms_are_those_of_the_pipeline(model: Any, by_hand: Any, count: int, negative: str | None) -> None:
    more = {} if negative is None else {"negative_prompt": negative}
    made = waves(model.run(asked(num_waveforms_per_prompt=count, **more), RunContext()))
    wanted = by_hand("a slow drum", seeds_of(11, count), negative_prompt=NEGATIVE if negative is None else negative)
    assert len(made) == count
    np.testing.assert_allclose(np.stack(made), wanted, atol=CLOSE)
    assert np.abs(wanted).max() > 0.1, "a silent checkpoint proves nothing"


def test_without_guidance_there_is_no_negative_prompt(model: Any, by_hand: Any) -> None:
    result = model.run(asked(guidance_scale=1.0, negative_prompt="noise"), RunContext())
    np.testing.assert_allclose(waves(result)[0], by_hand("a slow drum", [11], guidance_scale=1.0)[0], atol=CLOSE)
    assert any("guidance_scale above 1" in note for note in result.fields["notes"])


@pytest.mark.parametrize("name", ["plain", "bin", "old-bin"])
def test_every_layout_holds_the_same_model(
    model: Any, audioldm2_checkpoint: Callable[[str], Path], data: Path, name: str
) -> None:
    other = model_of(audioldm2_checkpoint(name), data, TONEWHEEL_PICKLED_MODELS="audioldm2")
    try:
        (wanted,), (made,) = (waves(m.run(asked(), RunContext())) for m in (model, other))
    finally:
        other.release()
    np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("seconds", [1.23456, 1.2499, 1.24])  # diffusers alone makes 20 ms too little of the second
def test_a_length_between_frames_is_kept_to_the_sample(model: Any, seconds: float) -> None:
    assert len(model.run(asked(duration=seconds), RunContext()).audio.samples) == round(seconds * 16_000)


def test_a_variation_is_made_again_alone(model: Any) -> None:
    three = model.run(asked(num_waveforms_per_prompt=3), RunContext()).fields["waveforms"]
    again = model.run(asked(seed=three[2]["seed"]), RunContext())
    np.testing.assert_allclose(waves(again)[0], three[2]["audio_base64"].samples[:, 0], atol=CLOSE)


def test_a_long_prompt_is_cut_and_told(model: Any) -> None:
    notes = model.run(asked("so many words " * 60), RunContext()).fields["notes"]
    assert any(note.startswith("prompt is longer") for note in notes)


# ── together ──


def together(model: Any, requests: list[Audioldm2Request], contexts: list[RunContext]) -> list[Any]:
    """All in one round: they wait until what went before them is stopped."""
    before, plug = model.rounds.rounds, RunContext()
    outs: list[Any] = [None] * len(requests)

    def run(number: int) -> None:
        try:
            outs[number] = model.run(requests[number], contexts[number])
        except Exception as error:
            outs[number] = error

    def run_plug() -> None:
        with pytest.raises(Cancelled):
            model.run(asked("plug", num_inference_steps=500, guidance_scale=2.0, duration=5.0), plug)

    threads = [threading.Thread(target=run_plug)]
    threads[0].start()
    until(lambda: model.rounds.busy)
    for number in range(len(requests)):
        threads.append(threading.Thread(target=run, args=(number,)))
        threads[-1].start()
    until(lambda: len(model.rounds._waiting) == len(requests))
    plug.cancel()
    for thread in threads:
        thread.join(LIMIT_S)
    assert model.rounds.rounds == before + 1
    return outs


PROMPTS = ["a drum", "a very long description of a very slow piano in a large room, with rain", "wind"]


def test_different_prompts_together_are_as_one_by_one(model: Any) -> None:
    requests = [asked(prompt, seed=n, negative_prompt=f"noise {n}" * n) for n, prompt in enumerate(PROMPTS)]
    made = together(model, requests, [RunContext() for _ in requests])
    for request, result in zip(requests, made, strict=True):
        np.testing.assert_allclose(waves(result)[0], waves(model.run(request, RunContext()))[0], atol=CLOSE)


def test_one_who_leaves_does_not_stop_the_others(model: Any) -> None:
    leaver = RunContext(on_progress=lambda p: leaver.cancel() if p.stage == "denoise" else None)
    requests = [asked(prompt, seed=n) for n, prompt in enumerate(PROMPTS)]
    made = together(model, requests, [RunContext(), leaver, RunContext()])
    assert isinstance(made[1], Cancelled)
    for n in (0, 2):
        np.testing.assert_allclose(waves(made[n])[0], waves(model.run(requests[n], RunContext()))[0], atol=CLOSE)


# ── stopping ──


def stopped_at(model: Any, is_it: Callable[[list[Progress]], bool]) -> list[Progress]:
    """What was told of a request that was cancelled when `is_it` said so."""
    told: list[Progress] = []

    def hear(progress: Progress) -> None:
        told.append(progress)
        if is_it(told):
            context.cancel("enough")

    context = RunContext(on_progress=hear)
    with pytest.raises(Cancelled, match="enough"):
        model.run(asked(num_inference_steps=20, num_waveforms_per_prompt=2), context)
    return told


def _steps(told: list[Progress]) -> int:
    return sum(p.stage == "denoise" for p in told)


def living_tensors() -> int:
    gc.collect()
    return sum(1 for found in gc.get_objects() if issubclass(type(found), torch.Tensor))


def test_after_a_cancel_anywhere_nothing_is_left_and_the_next_is_as_in_a_fresh_process(
    model: Any, audioldm2_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    fresh = _in_a_fresh_process(audioldm2_checkpoint("old"), tmp_path)
    model.run(asked(), RunContext())
    before = living_tensors()
    for is_it in (
        lambda told: _steps(told) == 1,
        lambda told: _steps(told) == 10,
        lambda told: told[-1].stage == "decode" and told[-1].fraction > 0.82,
    ):
        told = stopped_at(model, is_it)
        assert _steps(told) <= 20 and is_it(told), "it went on after the cancel"
        assert living_tensors() <= before
        assert waves(model.run(asked(), RunContext()))[0].tobytes() == fresh


def _in_a_fresh_process(folder: Path, tmp_path: Path) -> bytes:
    program = (
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from tonewheel.models.audioldm2 import FAMILY\n"
        "from tonewheel.models.base import RunContext\n"
        "model = FAMILY.create(FAMILY.cards[0]); model.load(RunContext())\n"
        f"request = FAMILY.request(prompt='a slow drum', **{SHORT!r})\n"
        "open(sys.argv[1], 'wb').write(model.run(request, RunContext()).audio.samples.tobytes())\n"
    )
    environment = os.environ | {
        "TONEWHEEL_AUDIOLDM2_PATH": str(folder), "TONEWHEEL_DATA_DIR": str(tmp_path), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "wave")], check=True, env=environment, timeout=300)
    return (tmp_path / "wave").read_bytes()


def test_progress_tells_every_step_with_an_eta(model: Any) -> None:
    told: list[Progress] = []
    model.run(asked(), RunContext(on_progress=told.append))
    assert told[0].stage == "wait" and told[0].eta_s is not None and told[0].eta_s > 0, "measured at the warm-up"
    assert _steps(told) == 10
    assert all(p.eta_s is not None for p in told if p.stage == "denoise")
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions) and 0.85 < fractions[-1] <= 0.9


# ── what is wrong is told ──


def test_where_memory_is_short_nothing_is_begun(
    model: Any, audioldm2_checkpoint: Callable[[str], Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tonewheel.models.diffusion.place.free_bytes", lambda _device: 1 << 20)
    with pytest.raises(OutOfMemory, match=r"takes .* GB of memory and 0\.0 GB are free"):
        model_of(audioldm2_checkpoint("old"), data)
    monkeypatch.setattr("tonewheel.models.diffusion.model.free_bytes", lambda _device: 1 << 20)
    with pytest.raises(OutOfMemory, match="ask for less audio"):
        model.validate(asked(duration=30.0))


def test_what_is_no_sound_is_no_result(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, said in ((float("nan"), "not finite"), (0.0, "silent")):
        monkeypatch.setattr(
            model, "call", lambda _p, _r, rows, _g, value=value: np.full((len(rows), 16_000), value, np.float32)
        )
        with pytest.raises(RenderFault, match=said):
            model.run(asked(), RunContext())


# ── around it ──


def test_a_plan_is_a_description(model: Any) -> None:
    plan = make_plan(PlanRequest(narrative="rain over a harbour at night", duration_s=60, seed=1))
    request = from_plan(plan)
    assert request["duration"] == 30.0
    assert f"{plan.tempo:.0f} bpm" in request["prompt"]
    Audioldm2Request(**request)


def test_files_tell_where_they_come_from(model: Any) -> None:
    tags = model.run(asked(), RunContext()).audio.tags
    assert tags.license == "CC-BY-NC-SA-4.0"
    assert tags.extra["tonewheel_seed"] == "11"
    assert tags.extra["tonewheel_prompt"] == "a slow drum"
    assert tags.extra["tonewheel_negative_prompt"] == NEGATIVE
    assert tags.extra["tonewheel_model"] == "audioldm2"


def test_memory_is_reckoned_from_what_is_there(
    audioldm2_checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, large = FAMILY.cards[0], FAMILY.cards[1]
    published = FAMILY.memory_bytes(base, None)
    assert 4e9 < published < FAMILY.memory_bytes(large, None) < 9e9
    assert FAMILY.memory_bytes(base, asked(duration=30.0)) > FAMILY.memory_bytes(base, asked()) > published
    monkeypatch.setenv("TONEWHEEL_AUDIOLDM2_PATH", str(audioldm2_checkpoint("old")))
    assert FAMILY.memory_bytes(base, None) < 2e9
