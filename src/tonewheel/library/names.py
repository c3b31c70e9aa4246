"""What stored files are called: contents by their SHA-256, work files `JOB/NAME`."""

from __future__ import annotations

import re

from tonewheel.errors import NotFound

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORK_NAME = re.compile(r"[A-Za-z0-9_]{1,64}/[A-Za-z0-9_-]{1,60}(\.[a-z0-9]{1,8})?")


def is_content_name(name: str) -> bool:
    return _SHA256.fullmatch(name) is not None


def check_content_name(sha256: str) -> str:
    """The name itself when it can be that of a content; otherwise raises NotFound."""
    if not is_content_name(sha256):
        raise NotFound("that is not the name of a stored file")
    return sha256


def check_work_name(name: str) -> str:
    """The name itself when it can be that of a work file, `JOB/NAME`; otherwise raises NotFound."""
    if not _WORK_NAME.fullmatch(name):
        raise NotFound("that is not the name of a work file")
    return name
