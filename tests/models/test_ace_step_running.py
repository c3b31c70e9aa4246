"""ACE-Step songs that are given up, fail, or wait: what is left behind, and what their neighbours get."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ace_step_loaded import ask, loaded, samples_of

from tonewheel.errors import Cancelled, OutOfMemory, RenderFault
from tonewheel.models.ace_step.model import AceStep
from tonewheel.models.ace_step.request import AceStepRequest
from tonewheel.models.base import Progress, RunContext

WAIT_S = 120.0
SONG = {"prompt": "a small band", "lyrics": "la la", "bpm": 90, "duration": 10.0, "seed": 3, "num_inference_steps": 6}
# What a process that never did anything else makes of it.
FRESH = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import hashlib, torch
torch.set_num_threads(1)
from ace_step_loaded import ask, loaded, samples_of
model = loaded(Path(sys.argv[2]), Path(sys.argv[3]))
print(hashlib.sha256(samples_of(ask(model, **{song})).tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def model(ace_step_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[AceStep]:
    torch.set_num_threads(1)
    made = loaded(ace_step_checkpoint("turbo"), tmp_path_factory.mktemp("data"))
    yield made
    made.release()


@pytest.fixture(scope="module")
def fresh(ace_step_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of SONG, made by a process of its own."""
    here, folder = Path(__file__).parent, ace_step_checkpoint("turbo")
    done = subprocess.run(
        [sys.executable, "-c", FRESH.replace("{song}", repr(SONG)), here, folder, tmp_path_factory.mktemp("fresh")],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[-1]


def hash_of(samples: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(samples.tobytes()).hexdigest()


def given_up(when: Callable[[Progress], bool]) -> RunContext:
    """A context that cancels itself at the first progress of which `when` holds."""
    context: RunContext

    def hear(progress: Progress) -> None:
        if when(progress):
            context.cancel()

    context = RunContext(on_progress=hear)
    return context


class Steps:
    """Counts denoising steps as they are told."""

    def __init__(self, until: int) -> None:
        self.until, self.seen = until, 0

    def __call__(self, progress: Progress) -> bool:
        self.seen += progress.stage == "denoise"
        return self.seen >= self.until


def test_a_song_given_up_at_any_point_leaves_nothing_behind(model: AceStep, fresh: str) -> None:
    whens: dict[str, Callable[[Progress], bool]] = {
        "the first step": Steps(1),
        "the middle": Steps(3),
        "decoding": lambda progress: progress.stage == "decode",
    }
    for name, when in whens.items():
        rounds = model.rounds.rounds
        with pytest.raises(Cancelled):
            ask(model, given_up(when), **SONG)
        assert model.rounds.rounds == rounds, f"the round ran on after {name}"
        if isinstance(when, Steps):
            assert when.seen == when.until, f"{when.seen} steps were told after {name}"
        assert hash_of(samples_of(ask(model, **SONG))) == fresh, name


def test_songs_with_other_words_that_wait_together_are_rendered_together(model: AceStep) -> None:
    """And each is what it would be alone, whoever of them is given up."""
    prompts = ["one", "two is a longer one", "three"]
    asked = [model.validate(AceStepRequest.model_validate(SONG | {"prompt": p, "seed": n}))
             for n, p in enumerate(prompts)]  # fmt: skip
    alone = [model.run(one, RunContext()).audio for one in asked]
    begun, hold = threading.Event(), threading.Event()
    made: dict[int, Any] = {}

    def held(progress: Progress) -> None:
        if progress.stage == "denoise":  # told from the thread that renders
            begun.set()
            hold.wait(WAIT_S)

    def run(number: int, context: RunContext) -> None:
        made[number] = model.run(asked[number], context).audio

    other = model.validate(AceStepRequest.model_validate(SONG | {"num_inference_steps": 2}))
    blocker = threading.Thread(target=lambda: model.run(other, RunContext(on_progress=held)))
    blocker.start()
    assert begun.wait(WAIT_S)
    waiting = [threading.Thread(target=run, args=(n, RunContext())) for n in range(3)]
    for thread in waiting:
        thread.start()
    _until(lambda: len(model.rounds._waiting) >= 3)
    rounds = model.rounds.rounds
    hold.set()
    for thread in [blocker, *waiting]:
        thread.join(WAIT_S)
    assert model.rounds.rounds - rounds == 2  # the one that was held, and one for all three
    for number, audio in enumerate(alone):
        assert audio is not None
        np.testing.assert_allclose(made[number].samples, audio.samples, atol=1e-4)


def _until(true: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if true():
            return
        waited.wait(0.02)
    raise AssertionError("it never came to be")


def test_a_song_decoded_in_pieces_tells_of_each(model: AceStep) -> None:
    told: list[float] = []
    context = RunContext(on_progress=lambda p: told.append(p.fraction) if p.stage == "decode" else None)
    ask(model, context, **SONG | {"duration": 32.0, "num_inference_steps": 1})  # 800 latents: three pieces
    assert told == sorted(told) and len(told) > 20
    assert max(after - before for before, after in pairwise(told)) < 0.02


def test_what_is_no_sound_is_an_error(model: AceStep, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = model.pipeline.vae.decoder.forward
    for factor, said in ((float("nan"), "not finite"), (0.0, "silent")):
        with monkeypatch.context() as patch:
            patch.setattr(model.pipeline.vae.decoder, "forward", lambda z, f=factor: decoded(z) * f)
            with pytest.raises(RenderFault, match=said):
                ask(model, **SONG)


def test_a_song_without_room_is_refused_before_any_work(model: AceStep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_room", lambda: 1_000_000)
    rounds = model.rounds.rounds
    with pytest.raises(OutOfMemory, match="ask for less audio"):
        ask(model, **SONG)
    assert model.rounds.rounds == rounds
