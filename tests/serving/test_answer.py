"""What a model made is in the answer, whichever way its family says so."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from tonewheel.models.base import Audio, Result
from tonewheel.serving.answer import encode_files

TONE = Audio(np.zeros((800, 1), np.float32), 8000)


def test_the_main_audio_is_in_the_fields_even_where_a_family_names_it_nowhere() -> None:
    fields, audio = encode_files(Result({"title": "x"}, TONE), None, lambda _: None)
    assert audio is not None and fields == {"title": "x", "audio_base64": audio}


def test_audio_a_family_names_is_told_once_under_that_name() -> None:
    fields, audio = encode_files(Result({"wav": TONE}, TONE), None, lambda _: None)
    assert fields == {"wav": audio}


def test_without_audio_nothing_is_added() -> None:
    assert encode_files(Result({"n": 1}), None, lambda _: None) == ({"n": 1}, None)


def test_what_is_worked_on_further_is_made_quieter_where_it_would_be_clipped() -> None:
    loud = np.sin(np.linspace(0, 300, 8000, dtype=np.float32))[:, None] * np.float32(1.7)
    for samples, scale in ((loud, 1.7), (loud / 4, 1.0)):
        made = Result({}, Audio(samples, 8000))
        _, file = encode_files(made, "flac", lambda _: None, bits=24)
        assert file is not None
        heard, _ = soundfile.read(io.BytesIO(file.data), dtype="float32", always_2d=True)
        assert np.abs(heard - samples / scale).max() < 1e-6
    _, file = encode_files(Result({}, Audio(loud, 8000)), "flac", lambda _: None)
    assert file is not None
    heard, _ = soundfile.read(io.BytesIO(file.data), dtype="float32", always_2d=True)
    assert np.abs(heard - loud.clip(-1, 1)).max() < 1e-3, "what a client gets is at the level it was made"
