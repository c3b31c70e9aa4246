"""A real worker process with the models of this machine: `python composing_worker.py DATA_DIR`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tonewheel.jobs.worker import Worker, WorkerSettings


def main() -> None:
    worker = Worker(WorkerSettings(data_dir=Path(sys.argv[1]), dead_after_s=2.0, min_free_bytes=0))
    told = {"pid": worker.identity.pid, "slots": worker.slots}
    worker.run(on_ready=lambda: print(json.dumps(told), flush=True))


if __name__ == "__main__":
    main()
