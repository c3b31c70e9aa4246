"""`python -m tonewheel.serving NAME …`: what `tonewheel service` runs, without the command line's other rooms."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tonewheel import logs
from tonewheel.errors import TonewheelError


def main() -> int:
    """Serve one model; the options are those of `tonewheel service`."""
    from tonewheel.serving.server import ServiceOptions, run_service  # noqa: PLC0415  (a wrong option stays quick)

    parser = argparse.ArgumentParser(prog="python -m tonewheel.serving", description="Serve one model over HTTP.")
    parser.add_argument("name")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--uds", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--public-without-key", action="store_true")
    logs.set_up()
    try:
        return run_service(ServiceOptions(**vars(parser.parse_args())))
    except TonewheelError as error:
        print(f"tonewheel: {error.message}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
