"""What is heard in a song when it is made; and that a song is never lost because nobody could listen."""

from __future__ import annotations

from typing import Any

from job_house import House


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
