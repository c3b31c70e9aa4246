"""The addresses of the server, one file a subject. Each binds `router`."""

from __future__ import annotations

from starlette.requests import Request

from tonewheel.gateway.backend import Backend
from tonewheel.serving.edge import CALLER
from tonewheel.serving.work import Caller


def backend_of(request: Request) -> Backend:
    found: Backend = request.app.state.backend
    return found


def caller_of(request: Request) -> Caller:
    """The ids of this request."""
    found: Caller = request.scope[CALLER]
    return found
