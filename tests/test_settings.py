"""Settings that cannot be what they are set to: told in one line, without what may be a secret."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tonewheel.errors import InvalidRequest
from tonewheel.settings import settings


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("TONEWHEEL_DRAIN_S", "secret", "write a number"),
        ("TONEWHEEL_QUEUE_LIMIT", "-1", "must be at least 0"),
        ("TONEWHEEL_PORT", "99999", "must be at most 65535"),
        ("HEARTMULA_DTYPE", "int3", "must be 'float32', 'float16', 'bfloat16', 'int8' or 'int4'"),
        ("TONEWHEEL_KEEP_ALIVE", "soon", "keep_alive 'soon' cannot be read: write 0"),
    ],
)
def test_a_wrong_setting_is_named_and_what_is_allowed_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidRequest) as wrong:
        settings()
    assert wrong.value.message.startswith(f"the environment variable {name}: {says}")
    assert "secret" not in wrong.value.message
