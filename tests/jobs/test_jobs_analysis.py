"""What is heard in a song when it is made; and that a song is never lost because nobody could listen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from job_house import House

from tonewheel.fleet.client import Fleet
from tonewheel.jobs.craft import rhythm
from tonewheel.jobs.fleet_renderer import FleetRenderer
from tonewheel.settings import settings

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # its makers of checkpoints


def _analysis(house: House, *options: str) -> dict[str, Any]:
    house.worker(*options)
    job = house.ended(house.order())
    assert job.state == "done", job.error
    assert job.song_id is not None
    return house.library.get(job.song_id).analysis


def test_a_song_without_beats_or_tempo_says_so(sqlite_house: House) -> None:
    heard = _analysis(sqlite_house)  # a second of a tone
    assert heard["tempo"] is None
    assert heard["beats"] is None
    assert heard["key"] is not None
    assert "notes" not in heard


def test_a_model_that_tells_beats_is_asked_where_it_is_there(sqlite_house: House) -> None:
    heard = _analysis(sqlite_house, "--ears", "hears")
    assert heard["beats"]["model"] == "ears"
    assert heard["beats"]["beats"] == [0.25, 0.75]
    assert heard["beats"]["downbeats"] == [0.25]
    assert "markers" not in heard["beats"]


def test_a_model_that_cannot_listen_leaves_a_note_and_the_song(sqlite_house: House) -> None:
    heard = _analysis(sqlite_house, "--ears", "deaf")
    assert heard["key"] is not None
    assert heard["notes"] == ["ears could not listen: the ears do not fit"]


def test_a_fault_in_the_analysis_leaves_a_note_and_the_song(sqlite_house: House) -> None:
    heard = _analysis(sqlite_house, "--ears", "fault")
    assert heard["tempo"] is heard["beats"] is heard["key"] is None
    assert len(heard["notes"]) == 1
    assert heard["notes"][0].startswith("it could not be analysed: ")
    assert "a fault of ours" not in heard["notes"][0]  # places and texts of faults are for the log


def test_beat_this_is_asked_through_the_fleet_once_its_weights_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    import beat_this_checkpoints

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings.cache_clear()
    request.addfinalizer(settings.cache_clear)
    with Fleet(tmp_path / "data") as fleet:
        ears = FleetRenderer(fleet)
        assert ears.tracks() is None
        (tmp_path / "weights").mkdir()
        light = beat_this_checkpoints.network(beat_this_checkpoints.LIGHT)
        beat_this_checkpoints.save(tmp_path / "weights" / "small0.ckpt", light)
        monkeypatch.setenv("TONEWHEEL_BEAT_THIS_SMALL0_PATH", str(tmp_path / "weights"))
        assert ears.tracks() == "beat-this-small0"
        noise = np.random.default_rng(0).uniform(-0.2, 0.2, 48_000 * 2)
        soundfile.write(tmp_path / "song.flac", noise, 48_000)
        told = ears.track(tmp_path / "song.flac", deadline_s=300, cancelled=lambda: False)
        kept = rhythm("beat-this-small0", told)
    assert kept is not None
    assert kept["model"] == "beat-this-small0"
    assert len(kept["beats"]) == len(told["beats"]) > 0
