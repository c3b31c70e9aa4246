"""HeartMuLa in one process: songs that end by themselves, are given up at any frame, or follow one another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import heartmula_checkpoints as checkpoints
import numpy as np
import psutil
import pytest
import torch

from tonewheel.errors import Cancelled
from tonewheel.models import registry
from tonewheel.models.base import Audio, Result, RunContext
from tonewheel.models.heartmula.model import Heartmula
from tonewheel.models.heartmula.request import HeartmulaRequest
from tonewheel.settings import settings

WAIT_S = 120.0


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[checkpoints.Recipe], Heartmula]]:
    made: list[Heartmula] = []

    def loaded(recipe: checkpoints.Recipe) -> Heartmula:
        folder = checkpoints.make(tmp_path_factory.mktemp("heartmula"), recipe)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TONEWHEEL_HEARTMULA_3B_PATH", str(folder))
            patch.setenv("HEARTMULA_DEVICE", "cpu")
            settings.cache_clear()
            model = registry.families()["heartmula"].create(registry.card("heartmula-3b"))
            model.load(RunContext())
            settings.cache_clear()
        assert isinstance(model, Heartmula)
        made.append(model)
        return model

    yield loaded
    for model in made:
        model.release()


@pytest.fixture(scope="module")
def model(load: Callable[[checkpoints.Recipe], Heartmula]) -> Heartmula:
    """One whose codec takes one step and tells samples that stand still: what is looked at here is around it."""
    return brisk(load(checkpoints.Recipe()))


def brisk(made: Heartmula) -> Heartmula:
    made._codec.steps = 1
    made._codec.wave.decode = lambda latents, **_: latents[:, :2].T.repeat_interleave(1920, dim=1)  # type: ignore[method-assign]
    return made


def ask(model: Heartmula, context: RunContext | None = None, **fields: Any) -> Result:
    request = model.validate(HeartmulaRequest.model_validate({"prompt": "calm piano", **fields}))
    return model.run(request, context or RunContext())


def stopping_after(steps: int) -> RunContext:
    """Gives up once it was told of progress so many times."""
    told = 0

    def stop(_progress: object) -> None:
        nonlocal told
        told += 1
        if told > steps:
            context.cancel("enough")

    context = RunContext(on_progress=stop)
    return context


def idle(model: Heartmula) -> bool:
    """Wait until no song holds a slot."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        counts = model._engine.counts()
        if not counts.running and not counts.waiting:
            return True
        pause.wait(0.02)
    return False


def test_a_song_may_end_by_itself_and_is_as_long_as_its_codes(load: Callable[[checkpoints.Recipe], Heartmula]) -> None:
    made = brisk(load(checkpoints.Recipe(ends=True)))
    found = [ask(made, duration=2.0, seed=seed).fields for seed in range(3)]
    assert "by itself" in {fields["ended"] for fields in found}
    for fields in found:
        assert fields["num_samples"] == fields["frames"] * 3840
        assert (fields["ended"] == "by itself") == (fields["frames"] < 25)


def test_lengths_around_every_window_edge_are_real(model: Heartmula) -> None:
    for frames in (1, 373):  # those between are the codec's own tests
        fields = ask(model, duration=frames / 12.5, temperature=0, guidance_scale=1, seed=1).fields
        assert (fields["frames"], fields["duration"]) == (frames, pytest.approx(frames / 12.5))


def test_a_song_given_up_at_any_frame_frees_its_slot(model: Heartmula) -> None:
    for stop_after in range(6):
        with pytest.raises(Cancelled, match="enough"):
            ask(model, stopping_after(stop_after), duration=400, seed=1)
        assert idle(model)


def test_fifty_songs_in_a_row_leave_nothing_behind(model: Heartmula) -> None:
    """Guidance comes and goes between them, which crashes upstream."""

    def some(count: int) -> None:
        for n in range(count):
            scale = (1.0, 1.5, 0.0, 4.0)[n % 4]
            made = ask(model, duration=0.16 + 0.08 * (n % 3), seed=n, guidance_scale=scale, lyrics="la " * (n % 5))
            assert made.fields["frames"] == 2 + n % 3

    some(10)
    before, cache = psutil.Process().memory_info().rss, model._engine.counts().cache_bytes
    some(40)
    assert idle(model)
    assert model._engine.counts().cache_bytes == cache
    assert psutil.Process().memory_info().rss - before < 60e6, "each song leaves more than a megabyte behind"


def test_finished_windows_are_told_and_are_the_song(model: Heartmula) -> None:
    told: list[Audio] = []
    fields = ask(model, RunContext(on_audio=told.append), duration=30.4, seed=2, guidance_scale=1, temperature=0).fields
    assert [len(a.samples) for a in told] == [320 * 3840, 60 * 3840]
    np.testing.assert_array_equal(np.concatenate([a.samples for a in told]), fields["audio_base64"].samples)


def test_the_models_own_codes_reach_the_codec(model: Heartmula, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is heard are the codes drawn: the same request on the engine alone draws those that the codec is given."""
    from tonewheel.engine import GenerationRequest, Sampling
    from tonewheel.models.heartmula.model import _prompt

    seen: list[torch.Tensor] = []
    inner = model._codec.decode_window

    def watched(codes: torch.Tensor, *rest: Any) -> Any:
        seen.append(codes)
        return inner(codes, *rest)

    monkeypatch.setattr(model._codec, "decode_window", watched)
    ask(model, duration=0.8, seed=9)
    tokens = model.validate(HeartmulaRequest(prompt="calm piano")).tokens
    sampling = Sampling(temperature=1.0, top_k=50, guidance_scale=1.5, seed=9)
    drawn = model._engine.submit(GenerationRequest(_prompt(tokens), 10, sampling)).result(WAIT_S)
    assert torch.equal(seen[0][:, :10], drawn)
    assert torch.equal(seen[0][:, 10:20], drawn)  # repeated until the window is full


def test_a_text_that_names_a_file_is_a_text(model: Heartmula, tmp_path: Path) -> None:
    secret = tmp_path / "lyrics.txt"
    secret.write_text("do not sing this")
    fields = ask(model, lyrics=str(secret), tags=str(secret), duration=0.08, seed=1).fields
    assert (fields["lyrics"], fields["tags"]) == (str(secret), f"{secret},calm piano")
