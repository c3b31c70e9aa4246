"""How many threads a model's arithmetic takes: one setting for torch, its BLAS and the native kernels."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
from pathlib import Path

from tonewheel.errors import InvalidRequest
from tonewheel.settings import settings, threads_variable

_BLAS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# How long torch's idle threads look for more work (GNU OpenMP; some 15 ms unless told): they would hold the processors
# that the threads of the native kernels are to run on. About 1 ms.
_SPINS, _FEW_SPINS = "GOMP_SPINCOUNT", "20000"


def threads_of(model: str) -> int:
    """As set for this model (`TONEWHEEL_<MODEL>_THREADS`) or for all (`TONEWHEEL_THREADS`), else the processors this
    process may use: its affinity, and the container's share of their time (cgroup v2), rounded up. Raises
    InvalidRequest."""
    variable = threads_variable(model)
    own = os.environ.get(variable)
    if own is not None:
        if not own.isascii() or not own.isdigit() or not 1 <= int(own) <= 1024:
            raise InvalidRequest(f"the environment variable {variable}: {own!r} is no number from 1 to 1024")
        return int(own)
    if (chosen := settings().threads) is not None:
        return chosen
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max": no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        count = min(count, max(1, math.ceil(int(quota) / int(period))))
    return count


def limit_threads(model: str) -> None:
    """Tell the libraries, which read it when they are loaded: call it before torch is. torch then has so many threads
    (`torch.get_num_threads`), and the native kernels take as many as torch. What the user set for them by their own
    variables stays; where nothing is set for the model it stands for those of them that are not set, too, since torch
    would take the number of another."""
    said = threads_variable(model) in os.environ or settings().threads is not None
    own = None if said else next((os.environ[variable] for variable in _BLAS if variable in os.environ), None)
    for variable in _BLAS:
        os.environ.setdefault(variable, own or str(threads_of(model)))
    if importlib.util.find_spec("tonewheel_kernels") is not None:
        os.environ.setdefault(_SPINS, _FEW_SPINS)
