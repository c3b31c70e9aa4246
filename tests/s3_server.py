"""A real S3 server for tests (moto) and buckets in it; skipped, with the reason, where it is not installed."""

from __future__ import annotations

import hashlib
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from tonewheel.s3 import Bucket, Keys, sign

KEYS = Keys("test", "test-secret")


def serve_s3() -> Iterator[str]:
    """The address of a server that lives until the generator is closed."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("no S3 server to test against (pip install 'moto[server]')")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 30
    while True:
        try:
            httpx.get(url, timeout=1.0)
            break
        except httpx.HTTPError:
            assert time.monotonic() < until, "moto did not start"
            time.sleep(0.1)
    yield url
    process.terminate()
    process.wait(10)


def new_bucket(url: str, name: str) -> Bucket:
    """An empty bucket on the server at `url`."""
    address = f"{url}/{name}"
    headers = sign("PUT", address, {}, hashlib.sha256(b"").hexdigest(), datetime.now(UTC), KEYS, "us-east-1")
    assert httpx.put(address, headers=headers).is_success
    return Bucket(name, KEYS, endpoint=url)
