"""Which kernels this machine has, and which a model gets."""

from __future__ import annotations

import logging
from typing import get_args

import torch

from tonewheel.engine.kernels.offer import Keeper, Kernels, Precision
from tonewheel.engine.kernels.plain import PlainKernels
from tonewheel.engine.kernels.weight_only import WeightOnlyKernels
from tonewheel.errors import InvalidRequest

log = logging.getLogger(__name__)

_VERSION = "0.2.0"  # of tonewheel-kernels, which goes with this tonewheel
_HOW = "pip install ./kernels in a clone of Tonewheel builds them"
_told: set[str] = set()


def precisions() -> tuple[str, ...]:
    return get_args(Precision)


def native_or_why() -> tuple[list[str], str]:
    """Instruction sets of the native kernels, the one in use first; or none, and why."""
    try:
        import tonewheel_kernels  # noqa: PLC0415

        if tonewheel_kernels.__version__ != _VERSION:
            return [], f"of version {tonewheel_kernels.__version__}, and {_VERSION} is wanted: {_HOW}"
        chosen = tonewheel_kernels.chosen()
        return [chosen, *(name for name in tonewheel_kernels.available() if name != chosen)], ""
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "tonewheel_kernels"
        return [], f"not installed: {_HOW}" if missing else f"cannot be loaded: {error}"
    except ValueError as error:
        return [], str(error)


def best_kernels(device: torch.device, wanted: Precision | None = None, *, kept: Keeper | None = None) -> Kernels:
    """Kernels of the wanted precision; None: int8 on a CPU with native kernels, bfloat16 on CUDA, else float32.

    Where the native kernels are missing, int8 and int4 become float32 with one line of notice.
    """
    if wanted is not None and wanted not in precisions():
        raise InvalidRequest(f"precision {wanted!r} is not one of {', '.join(precisions())}", param="precision")
    if device.type != "cpu":
        if wanted == "int4":
            raise InvalidRequest("precision int4 runs on a CPU only: use int8 or bfloat16", param="precision")
        if wanted == "int8":
            return WeightOnlyKernels()
        return PlainKernels(wanted or ("bfloat16" if device.type == "cuda" else "float32"))
    found, why = native_or_why()
    if found and wanted in (None, "float32", "int8", "int4"):
        from tonewheel.engine.kernels.native import NativeKernels  # noqa: PLC0415

        return NativeKernels(wanted or "int8", kept=kept)
    if not found and wanted != "float32":
        _notice(f"the native kernels are {why}; decoding uses plain torch" + _instead(wanted))
    return PlainKernels("float32" if wanted in (None, "int8", "int4") else wanted)


def _instead(wanted: str | None) -> str:
    return f" in float32 instead of {wanted}" if wanted in ("int8", "int4") else ""


def _notice(line: str) -> None:
    if line not in _told:
        _told.add(line)
        log.warning(line)
