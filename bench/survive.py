"""What is promised of accepted work, tried on real servers: kill -9, a restarted PostgreSQL, a full disk, many jobs.

Each row counts how often a promise was kept; the exit code is 1 when one was not, and standard error says which.

    python bench/survive.py [--quick] [--json] [--only kills,postgres,disk,many,cancel,health]

The small disk is a tmpfs (needs root); PostgreSQL is started here (apt install postgresql).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from report import Row, arguments, show
from trials import cancel, disk, health, kills, many, postgres
from trials.common import Trial

TRIALS: dict[str, Callable[[Trial], None]] = {
    "kills": kills.run, "postgres": postgres.run, "disk": disk.run, "many": many.run, "cancel": cancel.run,
    "health": health.run,
}  # fmt: skip


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default=",".join(TRIALS), help=f"comma-separated: {', '.join(TRIALS)}")


def main() -> int:
    args = arguments(__doc__, _options)
    names = args.only.split(",")
    if unknown := set(names) - set(TRIALS):
        raise SystemExit(f"unknown trial {', '.join(sorted(unknown))}: there are {', '.join(TRIALS)}")
    rows: list[Row] = []
    wrong: list[str] = []
    for name in names:
        with tempfile.TemporaryDirectory(prefix=f"tonewheel-{name}-", ignore_cleanup_errors=True) as folder:
            trial = Trial(Path(folder), quick=args.quick, rows=rows, wrong=wrong)
            TRIALS[name](trial)
    show(rows, args.json)
    for line in wrong:
        print(f"NOT KEPT: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
