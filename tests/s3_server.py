"""A real S3 server for tests: moto in a process of its own, which checks every signature, and a door to it that a
test can shut."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
import botocore.exceptions

from ports import free_port
from tonewheel.buckets import Bucket, open_bucket
from tonewheel.settings import Settings

_BEFORE_KEYS_COUNT = 3  # requests that make the user whose keys count from then on


@dataclass
class S3Server:
    """Where it is, and the only keys it takes."""

    url: str
    access: str
    secret: str = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_REGION": "us-east-1",
        }  # fmt: skip

    def settings(self, **more: str) -> Settings:
        return Settings.model_validate(self.environment | more)

    def client(self) -> Any:
        """Another client than ours."""
        return _boto("s3", self.url, self.access, self.secret)

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"songs{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def open(self, url: str, **more: str) -> Bucket:
        return open_bucket(url, chosen=self.settings(**more))

    def keys(self, bucket: str) -> list[str]:
        """Every object there, as another client sees it."""
        return [o["Key"] for o in self.client().list_objects_v2(Bucket=bucket).get("Contents", [])]


@functools.cache
def s3_server() -> S3Server:
    """The server of this test run, started when the first test asks for it."""
    url = _start({"INITIAL_NO_AUTH_ACTION_COUNT": str(_BEFORE_KEYS_COUNT)})
    iam = _boto("iam", url, "nobody", "nothing")
    iam.create_user(UserName="tonewheel")
    made = iam.create_access_key(UserName="tonewheel")["AccessKey"]
    rule = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    iam.put_user_policy(UserName="tonewheel", PolicyName="all", PolicyDocument=policy)
    try:
        iam.list_users()
    except botocore.exceptions.ClientError:
        return S3Server(url, made["AccessKeyId"], made["SecretAccessKey"])
    raise AssertionError("the server does not check keys")


@functools.cache
def public_server() -> S3Server:
    """One that asks for no keys."""
    return S3Server(_start({}), "any", "any")


def _start(more: dict[str, str]) -> str:
    """A server that ends with this process."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | more)
    atexit.register(process.kill)
    until = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return f"http://127.0.0.1:{port}"
        assert process.poll() is None, "moto ended: is it installed?"
        assert time.monotonic() < until, "moto did not start"
        time.sleep(0.05)


def _boto(service: str, url: str, access: str, secret: str) -> Any:
    return boto3.client(
        service, endpoint_url=url, aws_access_key_id=access, aws_secret_access_key=secret, region_name="us-east-1"
    )


class Door:
    """A way to a server that can be shut: what is on it breaks off, and nobody answers until it is opened."""

    def __init__(self, to: str) -> None:
        self._to = ("127.0.0.1", int(to.rpartition(":")[2]))
        self._listening: socket.socket | None = None
        self._ways: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port = free_port()
        self.passed = 0  # connections
        self._left: int | None = None  # bytes of answers still let through; None = any number
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def shut_after(self, answered: int) -> None:
        """Shut by itself when so many bytes more of answers have gone through, and not one besides."""
        with self._lock:
            self._left = answered

    def shut(self) -> None:
        with self._lock:
            self._left = None
            listening, self._listening = self._listening, None
            ways, self._ways = self._ways, []
        if listening is not None:  # else it is shut already
            _end(listening)
        for way in ways:
            _end(way)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                here, _ = listening.accept()
                there = socket.create_connection(self._to)
            except OSError:
                return
            with self._lock:
                open_still = self._listening is listening
                self._ways += [here, there] if open_still else []
                self.passed += open_still
            if not open_still:  # shut while it came in
                _end(here)
                _end(there)
                return
            for source, target, let in ((here, there, None), (there, here, self._let)):
                threading.Thread(target=_carry, args=(source, target, let), daemon=True).start()

    def _let(self, data: bytes) -> bytes:
        """What of an answer may go through."""
        with self._lock:
            if self._left is None:
                return data
            data = data[: self._left]
            self._left -= len(data)
            enough = self._left == 0
        if enough:
            self.shut()
        return data


def _carry(source: socket.socket, target: socket.socket, let: Callable[[bytes], bytes] | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(let(data) if let else data)
    _end(source)
    _end(target)


def _end(way: socket.socket) -> None:
    with contextlib.suppress(OSError):
        way.shutdown(socket.SHUT_RDWR)
    way.close()
