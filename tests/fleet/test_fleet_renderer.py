"""Jobs render through the fleet: the real composer, in its own process."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import soundfile
from fleet_help import InBackground, wait_for

from tonewheel.audio.read import read
from tonewheel.errors import Cancelled, InvalidRequest
from tonewheel.fleet.client import Fleet
from tonewheel.jobs.fleet_renderer import FleetRenderer, request_body
from tonewheel.jobs.rendering import Renderer, RenderRequest
from tonewheel.songs import make_plan, plan_request

PLAN = make_plan(plan_request(narrative="A lamp above the sea", duration_s=10.0, seed=3))


def order(scratch: Path, **more: object) -> RenderRequest:
    return RenderRequest(model="composer", duration_s=10.0, seed=3, plan=PLAN, scratch=scratch, **more)  # type: ignore[arg-type]


def test_a_plan_becomes_a_song_in_files_with_its_midi_lyrics_and_stems(fleet: Fleet, tmp_path: Path) -> None:
    renderer: Renderer = FleetRenderer(fleet)
    told: list[tuple[str, float, float | None]] = []
    song = renderer.render(
        order(tmp_path, midi=True, lrc=True, stems=True), job_id="job-1", progress=lambda *news: told.append(news),
        deadline_s=600, cancelled=lambda: False,
    )  # fmt: skip
    assert isinstance(song.audio, Path) and song.audio.parent == tmp_path
    assert soundfile.info(song.audio).subtype == "PCM_24"  # who asks for audio/flac alone gets 16 bits
    assert abs(read(song.audio).samples.shape[0] / read(song.audio).rate - PLAN.duration_s) < 0.5
    assert song.midi is not None and song.midi.startswith(b"MThd")
    assert song.lrc is not None and song.stems and all(p.parent == tmp_path for p in song.stems.values())
    assert (song.seed, song.model, song.mastered, song.licence) == (3, "composer", True, "Apache-2.0")
    assert {"ready", "slot", "work", "render"} <= set(song.timings)
    assert song.details["device"] == "cpu" and song.details["style"]
    assert any(stage == "master" for stage, _, _ in told)


def test_an_order_says_how_long_its_model_stays(fleet: Fleet, tmp_path: Path) -> None:
    FleetRenderer(fleet).render(
        order(tmp_path, keep_alive="45m"), job_id="job-1", progress=_deaf, deadline_s=600, cancelled=lambda: False
    )
    used = fleet.records.of("composer").used()
    assert used is not None and used.keep_alive_s == 2700


def test_a_cancelled_render_stops_and_the_next_one_gets_the_slot(fleet: Fleet, tmp_path: Path) -> None:
    renderer = FleetRenderer(fleet)
    stop = threading.Event()
    long_plan = make_plan(plan_request(narrative="A long night at sea", duration_s=300.0, seed=3))
    request = RenderRequest(model="composer", duration_s=300.0, seed=3, plan=long_plan, scratch=tmp_path)
    work = InBackground(
        lambda: renderer.render(request, job_id="j", progress=_deaf, deadline_s=600, cancelled=stop.is_set)
    )
    assert wait_for(lambda: fleet.records.of("composer").accepted_at() > 0)
    stop.set()
    with pytest.raises(Cancelled):
        work.result()
    renderer.render(order(tmp_path), job_id="k", progress=_deaf, deadline_s=600, cancelled=lambda: False)


def test_models_that_make_sound_are_offered_with_their_slots(fleet: Fleet) -> None:
    slots = FleetRenderer(fleet).slots()
    assert slots["composer"] == 1 and slots["one"] == 1
    assert "jen1" not in slots  # it plans


def test_each_model_is_asked_in_the_words_it_has(tmp_path: Path) -> None:
    takes_prompts = {"prompt", "duration", "seed", "client_job_id"}
    body = request_body(order(tmp_path, options={"top_k": 5}), takes_prompts, "job")
    assert body["prompt"].startswith(PLAN.genre) and "lyrics" not in body and "plan" not in body
    assert (body["duration"], body["seed"], body["top_k"], body["client_job_id"]) == (10.0, 3, 5, "job")
    body = request_body(order(tmp_path), {"lyrics", "prompt"}, "job")
    assert body["lyrics"].startswith("[")
    with pytest.raises(InvalidRequest, match="prompt or lyrics"):
        request_body(RenderRequest(model="m", duration_s=5, seed=1), takes_prompts, "job")


def _deaf(_stage: str, _fraction: float, _eta_s: float | None) -> None:
    pass
