"""Whatever is sent, a service answers as documented and goes on."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import Service

TEXT = st.text(max_size=20)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), TEXT)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
FIELDS = ["narrative", "duration", "options", "seed", "client_job_id", "nothing"]
OPTIONS = ["style", "genre", "mood", "moods", "tempo", "key", "language", "lyrics", "title", "seed", "instrumental"]
SONG = st.dictionaries(st.sampled_from(["title", "tempo", "key", "sections", "lyrics", "verse_1", "seed"]), JSON)
BODY = st.dictionaries(st.sampled_from(FIELDS), JSON) | st.builds(
    lambda options, song, words: {"narrative": words, "options": options | ({"generatedSong": song} if song else {})},
    st.dictionaries(st.sampled_from(OPTIONS), JSON, max_size=3), SONG, st.text(min_size=1, max_size=40),
)  # fmt: skip
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def _documented(status: int, text: str) -> None:
    assert status in (200, 422), text
    if status == 422:
        detail = json.loads(text)["detail"]
        assert detail["message"]
        assert "\n" not in detail["message"]


@QUICK
@given(body=BODY | JSON)
def test_no_json_value_is_a_fault(jen1: Service, body: Any) -> None:
    answer = jen1.client.post("/generate", content=json.dumps(body).encode("utf-8", "replace"))
    _documented(answer.status_code, answer.text)


@QUICK
@given(content=st.binary(max_size=60))
def test_no_bytes_are_a_fault(jen1: Service, content: bytes) -> None:
    answer = jen1.client.post("/generate", content=content)
    assert answer.status_code == 422
    _documented(answer.status_code, answer.text)
