"""The error body of a service as one of our errors again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tonewheel.errors import (
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotFound,
    NotReady,
    OutOfMemory,
    ServiceBusy,
    TonewheelError,
    TooLarge,
    Unauthorized,
    Unavailable,
)

# What an error of a server that does not speak our shape means.
_BY_STATUS: dict[int, type[TonewheelError]] = {
    400: InvalidRequest, 401: Unauthorized, 403: Forbidden, 404: NotFound, 413: TooLarge, 422: InvalidRequest,
    429: ServiceBusy, 502: Unavailable, 503: NotReady, 504: DeadlineExceeded, 507: OutOfMemory,
}  # fmt: skip
_MAX_MESSAGE = 2000


class ServiceFault(TonewheelError):
    """A fault inside a service: something of its own that we have no name for."""

    type = "service_fault"


def from_answer(status: int, body: Any, *, retry_after_s: float = 1.0) -> TonewheelError:
    """The error that a service told by `status` and `body` (`{"detail": {type, message, param?, retryable}}`)."""
    detail = body.get("detail", body) if isinstance(body, dict) else body
    if not isinstance(detail, dict):
        detail = {"message": detail if isinstance(detail, str) else _foreign(detail)}
    message = str(detail.get("message") or detail.get("error") or f"the service answered {status}")[:_MAX_MESSAGE]
    kind = _by_type().get(str(detail.get("type"))) or _BY_STATUS.get(status, ServiceFault)
    error = kind.__new__(kind)  # some have further arguments, which the body does not tell
    TonewheelError.__init__(error, message, param=_text(detail.get("param")))
    if isinstance(error, ServiceBusy):
        error.retry_after_s = retry_after_s
    if isinstance(detail.get("retryable"), bool):
        error.retryable = detail["retryable"]
    elif kind is ServiceFault:
        error.retryable = status >= 500
    return error


@lru_cache(maxsize=1)
def _by_type() -> dict[str, type[TonewheelError]]:
    found = {kind.type: kind for kind in _kinds(TonewheelError)}
    found["internal"] = ServiceFault  # a fault of theirs; `error_id` finds it in their log
    return found


def _kinds(root: type[TonewheelError]) -> Iterator[type[TonewheelError]]:
    for kind in root.__subclasses__():
        yield from _kinds(kind)
        if kind.__module__ == TonewheelError.__module__:  # the parent last: it wins its own type
            yield kind


def _foreign(detail: Any) -> str | None:
    """FastAPI's own list of validation errors as one line."""
    if not (isinstance(detail, list) and detail and isinstance(detail[0], dict)):
        return None
    first = detail[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part != "body")
    return f"{place}: {first.get('msg')}" if place else _text(first.get("msg"))


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:200]
