"""Every error a user can cause or meet.

Each class carries what the outside needs: `exit_code` for the command line (2 = the user's
mistake, 1 = a fault of the machine or of us), `http_status` for a service, a stable `type`
for programs, and whether trying again may help. The message says what was wrong, what is
allowed and what to do; it is one line, so that it can be shown as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TonewheelError(Exception):
    """Root of all errors with a message meant for the user."""

    type = "internal"
    exit_code = 1
    http_status = 500
    retryable = False

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.param = param

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def told(self) -> str:
        """The message for whoever asks over a network: without what is for the owner of this machine only."""
        return self.message


class InvalidRequest(TonewheelError):
    """Something the user gave cannot be used: a value, a text, a combination."""

    type = "invalid_request"
    exit_code = 2
    http_status = 422


class InvalidPlan(InvalidRequest):
    """A song plan contradicts itself or cannot be read."""

    type = "invalid_plan"


class UnknownName(InvalidRequest):
    """A name that is not in a closed list; the message offers the nearest ones."""

    type = "unknown_name"

    def __init__(self, kind: str, name: str, known: Iterable[str], *, param: str | None = None) -> None:
        self.known = sorted(known)
        self.nearest = nearest(name, self.known)
        shown = name if len(name) <= 60 else name[:57] + "..."
        if self.nearest:
            hint = f"did you mean {', '.join(self.nearest)}?"
        else:
            hint = f"known: {', '.join(self.known)}"
        super().__init__(f"unknown {kind} {shown!r}: {hint}", param=param)


class InvalidStyle(InvalidRequest):
    """A style file does not validate."""

    type = "invalid_style"


class UnreadableAudio(InvalidRequest):
    """A file is not audio that can be decoded, or holds nothing to work on."""

    type = "unreadable_audio"


class OutputRefused(InvalidRequest):
    """The target cannot be written as asked: it exists, is a folder, or may not be written."""

    type = "output_refused"


class DiskFull(TonewheelError):
    """No room left where the result was to go."""

    type = "disk_full"
    http_status = 507
    retryable = True


class MissingExtra(TonewheelError):
    """The work asks for an optional part that is not installed."""

    type = "missing_extra"
    exit_code = 2
    http_status = 501


class RenderFault(TonewheelError):
    """What was rendered failed its own checks: a fault of ours, never handed out as a success."""

    type = "render_fault"


class TooSlow(InvalidRequest):
    """The device would not be done with it before its deadline, by what was measured of it."""

    type = "too_slow"


class NotFound(TonewheelError):
    """There is nothing at that address or under that id."""

    type = "not_found"
    exit_code = 2
    http_status = 404


class MethodNotAllowed(TonewheelError):
    """The address exists, but not for that HTTP method."""

    type = "method_not_allowed"
    exit_code = 2
    http_status = 405


class Unauthorized(TonewheelError):
    """An API key is needed and was not given, or is not one of ours."""

    type = "unauthorized"
    exit_code = 2
    http_status = 401


class Forbidden(TonewheelError):
    """What was asked is not allowed from there or with that key."""

    type = "forbidden"
    exit_code = 2
    http_status = 403


class TooLarge(TonewheelError):
    """A body or an upload is larger than is taken."""

    type = "too_large"
    exit_code = 2
    http_status = 413


class ReadTimeout(TonewheelError):
    """The sender of a body stopped sending."""

    type = "read_timeout"
    http_status = 408
    retryable = True


class ServiceBusy(TonewheelError):
    """As many requests run as the model can hold. `retry_after_s` is what to wait before the next try."""

    type = "busy"
    http_status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, param: str | None = None) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class NotReady(ServiceBusy):
    """The model is loading, could not be loaded, or its process is about to end."""

    type = "not_ready"


class DeadlineExceeded(TonewheelError):
    """The work took longer than it may; it was stopped."""

    type = "deadline_exceeded"
    http_status = 504
    retryable = True


class Cancelled(TonewheelError):
    """The work was called off before it was done."""

    type = "cancelled"
    http_status = 499  # the client has gone: nginx's number, since HTTP has none
    retryable = True


class OutOfMemory(TonewheelError):
    """The device has not enough memory for the model or the request."""

    type = "out_of_memory"
    http_status = 507
    retryable = True


class BindRefused(InvalidRequest):
    """The address cannot be served: taken, not ours, or public without an API key."""

    type = "bind_refused"


class ModelBroken(TonewheelError):
    """A model family cannot be imported or describes itself wrongly."""

    type = "model_broken"


class Conflict(InvalidRequest):
    """What is asked contradicts what is there, such as an idempotency key used before with another body."""

    type = "conflict"
    http_status = 409


class QueueFull(ServiceBusy):
    """The queue takes no more jobs; `position` is where this one would have stood."""

    type = "queue_full"
    http_status = 429

    def __init__(self, message: str, *, retry_after_s: float, position: int) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.position = position


class Unavailable(ServiceBusy):
    """Something the work needs (a model's service, the database, the storage) does not answer now."""

    type = "unavailable"


class StorageRefused(TonewheelError):
    """The object storage does not let us: wrong keys, no such bucket, another region."""

    type = "storage_refused"
    exit_code = 2


class NotSupported(TonewheelError):
    """This machine lacks what the work needs: a newer SQLite, a driver."""

    type = "not_supported"
    http_status = 501


class _ModelEnded(ServiceBusy):
    """A model's process ended by itself. The message has its last words, which may name files and addresses of this
    machine; what is told over a network has not."""

    type = "model_ended"
    _said = ""

    def __init__(self, message: str, *, last_words: Iterable[str] = (), retry_after_s: float = 1.0) -> None:
        words = " | ".join(last_words)
        super().__init__(f"{message}; its last words: {words}" if words else message, retry_after_s=retry_after_s)
        self._said = " ".join(message.split())

    @property
    def told(self) -> str:
        return self._said or self.message  # one that was told by a service has none


class ModelFailed(_ModelEnded):
    """A model's process crashed too often; it is not started again for a while."""

    type = "model_failed"
    retryable = False


class ModelCrashed(_ModelEnded):
    """A model's process ended while it worked; it is started again at the next request."""

    type = "model_crashed"


class NotPulled(TonewheelError):
    """The weights of the model are not on this machine."""

    type = "not_pulled"
    exit_code = 2
    http_status = 409


class ConsentRequired(TonewheelError):
    """The weights restrict what may be done with them; one recorded yes is needed."""

    type = "consent_required"
    exit_code = 2
    http_status = 403


class PullFailed(TonewheelError):
    """The weights could not be fetched; what has arrived is kept and the next pull goes on from there."""

    type = "pull_failed"
    http_status = 502
    retryable = True


class WrongHash(PullFailed):
    """A file is not the one its card names: it was deleted."""

    type = "wrong_hash"
    retryable = False


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names most like `name`, best first; empty when none is close."""
    folded = {k.casefold(): k for k in known}
    hits = difflib.get_close_matches(name.casefold()[:80], list(folded), n=count, cutoff=0.5)
    return [folded[h] for h in hits]
