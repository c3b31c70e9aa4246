"""A helper process: does the computing of jobs, so that the worker can kill it and never waits for it.

    python -m tonewheel.jobs.child

One JSON object a line. In: `{"task": NAME, "args": {…}}`, one at a time. Out: any number of
`{"progress": [stage, fraction]}`, then `{"result": {…}}` or `{"error": {…}}`. When the worker goes away
(end of input), so does the helper, in the middle of whatever it does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from typing import Any, TextIO

_NICE = 5  # health checks of the server come first


def main() -> None:
    """Serve tasks until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not speak into the protocol
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    while True:
        _serve(json.loads(tasks.get()), out)


def _read(tasks: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        if line.endswith("\n"):  # else the worker was killed while it wrote
            tasks.put(line)
    os._exit(0)


def _serve(message: dict[str, Any], out: TextIO) -> None:
    from tonewheel.errors import TonewheelError  # noqa: PLC0415  (after the reader runs)
    from tonewheel.jobs.craft import TASKS  # noqa: PLC0415
    from tonewheel.jobs.types import JobError  # noqa: PLC0415

    def say(what: dict[str, Any]) -> None:
        try:
            out.write(json.dumps(what) + "\n")
            out.flush()
        except BrokenPipeError:  # the worker went away and the end of its input is not read yet
            os._exit(0)

    try:
        result = TASKS[message["task"]](message["args"], lambda stage, share: say({"progress": [stage, share]}))
    except TonewheelError as e:
        say({"error": JobError.of(e).model_dump()})
    except MemoryError:
        say({"error": {"type": "out_of_memory", "message": "not enough memory for this song", "http_status": 507}})
    except Exception as e:  # the worker decides what becomes of it
        import traceback  # noqa: PLC0415

        traceback.print_exc()
        say({"error": {"type": "internal", "message": f"{message['task']} failed: {type(e).__name__}: {e}"}})
    else:
        say({"result": result})


if __name__ == "__main__":
    main()
