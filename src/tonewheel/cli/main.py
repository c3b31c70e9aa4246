"""The `tonewheel` command: however it ends, a person sees one line, never a traceback."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Entry point: every error a user can meet is one line and an exit code."""
    try:
        # Even what the commands are made of comes in here: Ctrl-C may be as quick as that.
        from tonewheel.cli.app import app
        from tonewheel.cli.failures import interrupted, report
        from tonewheel.cli.streams import usable_streams
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    usable_streams()
    try:
        outcome = app(standalone_mode=False)
        if outcome == 128 + signal.SIGINT:  # typer turns Ctrl-C into this value, and `typer.Exit` into its code
            interrupted()
        if isinstance(outcome, int) and outcome:
            sys.exit(outcome)
    except SystemExit:
        raise
    except BaseException as error:  # the one place where everything ends
        if os.environ.get("TONEWHEEL_DEBUG"):
            raise
        sys.exit(report(error))


if __name__ == "__main__":
    main()
