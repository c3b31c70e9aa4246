"""What a model made is in the answer, whichever way its family says so."""

from __future__ import annotations

import numpy as np

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
