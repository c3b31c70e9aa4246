"""Asking the services of models by HTTP, in the event loop."""

from __future__ import annotations

import ssl
from functools import lru_cache

import httpx


def trust(url: str) -> ssl.SSLContext | bool:
    """`verify` of an httpx client for `url`. Certificates are read once, and for https only: each client would read
    its own, which holds the event loop up for 24 ms of computing a request."""
    return _authorities() if url.lower().startswith("https:") else False


@lru_cache(maxsize=1)
def _authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context()
