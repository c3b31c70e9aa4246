"""Ids that say nothing: random, unguessable, safe in a URL and as a file name."""

from __future__ import annotations

import re
import secrets

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 22  # 62^22 is about 2^131


def new_id(kind: str) -> str:
    """Such as `job_4Xo0cWk9sZ2tGqLrNvY1eA`."""
    return f"{kind}_{''.join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))}"


def is_id(kind: str, text: str) -> bool:
    """Whether `text` could be an id of this kind; anything else need not be looked for."""
    return re.fullmatch(rf"{kind}_[0-9A-Za-z]{{{_LENGTH}}}", text) is not None
