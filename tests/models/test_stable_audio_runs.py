"""Stable Audio at work: progress, cancelling anywhere, company, and nothing left behind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_audio_loaded import Loaded, ask, loaded, model_of, seeds, waveforms

from tonewheel.errors import Cancelled
from tonewheel.models.base import Progress, RunContext

WAIT_S = 60.0
NAMES = ("open", "sa3")
LONG = {"num_inference_steps": 20, "duration": 2.0, "num_waveforms_per_prompt": 2}

FRESH = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from test_stable_audio_runs import LONG, digest
from stable_audio_loaded import ask, loaded, model_of
for name, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    print(name, digest(ask(loaded(Path(folder), Path(folder).parent / "fresh", model_of(name)), **LONG)))
"""


def digest(result: Any) -> str:
    """Of every bit of every waveform."""
    return hashlib.sha256(b"".join(samples.tobytes() for samples in waveforms(result))).hexdigest()


@pytest.fixture(scope="module")
def fresh(stable_audio_checkpoint: Callable[[str], Path]) -> dict[str, str]:
    """What a process that has made nothing before makes of LONG."""
    folders = [str(part) for name in NAMES for part in (name, stable_audio_checkpoint(name))]
    ran = subprocess.run(
        [sys.executable, "-c", FRESH, *folders], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return dict(line.split() for line in ran.stdout.splitlines())


@pytest.fixture(scope="module")
def models(
    stable_audio_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Loaded]]:
    torch.set_num_threads(1)
    made = {n: loaded(stable_audio_checkpoint(n), tmp_path_factory.mktemp("data"), model_of(n)) for n in NAMES}
    yield made
    for model in made.values():
        model.release()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", ["the first step", "the middle", "decoding"])
def test_a_cancelled_run_stops_there_and_leaves_nothing_behind(
    models: dict[str, Loaded], fresh: dict[str, str], name: str, when: str
) -> None:
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        heard.append(progress)
        steps = sum(1 for p in heard if p.stage == "denoise")
        reached = {"the first step": steps == 1, "the middle": steps == 10, "decoding": progress.stage == "decode"}
        if reached[when]:
            context.cancel()

    context = RunContext(on_progress=hear)
    latents: list[weakref.ref[torch.Tensor]] = []
    step = type(models[name].pipeline.scheduler).step

    def stepped(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = step(self, *args, **kwargs)
        latents.append(weakref.ref(out.prev_sample))
        return out

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(type(models[name].pipeline.scheduler), "step", stepped)
        ask(models[name], context, **LONG)
    done = sum(1 for p in heard if p.stage == "denoise")
    assert done == {"the first step": 1, "the middle": 10, "decoding": 20}[when]
    assert len(latents) == done  # and not a step more
    assert not any(latent() is not None for latent in latents)
    assert digest(ask(models[name], **LONG)) == fresh[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_told_with_the_time_that_is_left(models: dict[str, Loaded], name: str) -> None:
    heard: list[Progress] = []
    ask(models[name], RunContext(on_progress=heard.append), **LONG)
    stages = [p.stage for p in heard]
    assert stages.count("denoise") == 20 and "decode" in stages
    assert [p.fraction for p in heard] == sorted(p.fraction for p in heard)
    assert all(p.eta_s is not None and p.eta_s >= 0 for p in heard if p.stage == "denoise")


@pytest.mark.parametrize("name", NAMES)
def test_the_same_request_gives_the_same_bits_and_another_seed_others(models: dict[str, Loaded], name: str) -> None:
    one, again, other = (ask(models[name], seed=seed, num_inference_steps=10) for seed in (5, 5, 6))
    assert digest(one) == digest(again) != digest(other)
    drawn = ask(models[name], seed=None)
    assert digest(ask(models[name], seed=drawn.seed)) == digest(drawn)


@pytest.mark.parametrize("name", NAMES)
def test_requests_with_equal_settings_share_a_round_and_come_out_as_alone(models: dict[str, Loaded], name: str) -> None:
    model, words = models[name], ("rain on a roof", "a bell", "wind and a very long line of words")
    alone = [waveforms(ask(model, prompt=text, seed=n))[0] for n, text in enumerate(words)]
    before, begun, together = model.rounds.rounds, threading.Event(), threading.Event()

    def hold(progress: Progress) -> None:
        if progress.stage == "denoise":
            begun.set()
            together.wait(WAIT_S)  # in the thread that renders

    blocker = threading.Thread(target=lambda: ask(model, RunContext(on_progress=hold), num_inference_steps=11))
    found: dict[int, Any] = {}
    waiting = [
        threading.Thread(target=lambda n=n, text=text: found.update({n: ask(model, prompt=text, seed=n)}))
        for n, text in enumerate(words)
    ]
    blocker.start()
    assert begun.wait(WAIT_S)
    for thread in waiting:
        thread.start()
    until = threading.Event()
    for _ in range(600):
        if len(model.rounds._waiting) == len(words):
            break
        until.wait(0.1)
    together.set()
    for thread in (blocker, *waiting):
        thread.join(WAIT_S)
    assert model.rounds.rounds == before + 2  # the one that held them up, and one for all three
    for n, samples in enumerate(alone):
        assert float(np.abs(waveforms(found[n])[0] - samples).max()) < 1e-4


def test_what_was_made_is_told_in_the_answer_and_in_the_tags(models: dict[str, Loaded]) -> None:
    made = ask(models["open"], negative_prompt="hiss", num_waveforms_per_prompt=3, client_job_id="a:b")
    fields = made.fields
    assert (fields["sample_rate"], fields["channels"], fields["num_samples"]) == (44_100, 2, 44_100)
    assert (fields["num_inference_steps"], fields["guidance_scale"], fields["seed"]) == (10, 7.0, 3)
    assert (fields["prompt"], fields["negative_prompt"]) == ("warm drums", "hiss")
    assert fields["license"] == "Stability AI Community License"
    assert fields["audio_base64"] is fields["waveforms"][0]["audio_base64"] is made.audio
    for one in fields["waveforms"]:
        tags = one["audio_base64"].tags
        assert tags.license == "Stability AI Community License"
        assert tags.extra["tonewheel_seed"] == str(one["seed"]) and tags.extra["tonewheel_negative_prompt"] == "hiss"
        assert tags.extra["tonewheel_model"] == "stable-audio-open"
    assert len(set(seeds(made))) == 3
