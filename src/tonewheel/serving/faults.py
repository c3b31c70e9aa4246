"""Every error as one of ours, and as the one shape in which it leaves the service."""

from __future__ import annotations

import errno
import logging
import math
import secrets
from typing import Any

from tonewheel.errors import DiskFull, OutOfMemory, ServiceBusy, TonewheelError

log = logging.getLogger(__name__)


def as_tonewheel(error: BaseException, error_id: str | None = None) -> TonewheelError:
    """`error` itself when it has a message for users; otherwise the nearest of ours, without its details.

    `error_id` is written into the message of a fault that others pass on without the id beside it.
    """
    if isinstance(error, TonewheelError):
        return error
    # Torch's and CuPy's errors are known by name: the service must not import them.
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "CudaOutOfMemoryError"):
        return OutOfMemory("there was not enough memory for this request: ask for a shorter one, or try again later")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk is full: free some room and try again")
    return TonewheelError(f"an internal error: it was logged under the error id {error_id or 'given here'}")


def new_error_id() -> str:
    """What a real fault is found by in the log."""
    return secrets.token_hex(8)


def detail(error: TonewheelError, request_id: str, error_id: str | None = None) -> dict[str, Any]:
    """The `detail` of an error body. A real fault (500) gets an error id, `error_id` or a new one."""
    shape: dict[str, Any] = {"type": error.type, "message": error.told}
    if error.param is not None:
        shape["param"] = error.param
    shape |= {"retryable": error.retryable, "request_id": request_id}
    if error.http_status == 500:
        shape["error_id"] = error_id or new_error_id()
    return shape


def told(error: BaseException, request_id: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers for any error; a real fault is logged with its traceback, once, here."""
    ours = as_tonewheel(error)
    body = {"detail": detail(ours, request_id)}
    if ours.http_status == 500:
        log.error(
            "error id %s, request %s: %s", body["detail"]["error_id"], request_id, type(error).__name__, exc_info=error
        )
    headers = {}
    if isinstance(ours, ServiceBusy):
        headers["retry-after"] = str(max(1, math.ceil(ours.retry_after_s)))
    if ours.http_status == 401:
        headers["www-authenticate"] = "Bearer"
    return ours.http_status, body, headers
