"""`python -m tonewheel.gateway`: the gateway's process, as `tonewheel serve` starts it."""

from __future__ import annotations

import argparse
import logging
import socket
import sys

from tonewheel import logs
from tonewheel.errors import TonewheelError


def main() -> int:
    """Serve until SIGTERM. The exit code is 0 after a graceful end, 2 when it may not be served like that."""
    parser = argparse.ArgumentParser(prog="python -m tonewheel.gateway", description="The public HTTP API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--fd", type=int, help="A socket that listens already, inherited from the parent.")
    given = parser.parse_args()
    logs.set_up()
    for name in ("httpx", "uvicorn.error"):  # one tells the URLs of services elsewhere, the other what we tell
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        from tonewheel.gateway.process import run_gateway  # noqa: PLC0415  (a wrong option stays quick)
        from tonewheel.serving.address import tcp_socket  # noqa: PLC0415

        listening = socket.socket(fileno=given.fd) if given.fd is not None else tcp_socket(given.host, given.port)
        return run_gateway(given.host, listening)
    except TonewheelError as error:
        print(f"tonewheel: {error.message}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
