"""Memory of each device as a whole, other people's processes included.

NVIDIA: NVML (the driver's own count). ROCm: the kernel's figures in /sys. Apple: RAM, which its GPU
shares. CPU: RAM that can be had without swapping, within the limit of the container. Where nothing can
be read, `free_bytes` is None: then nothing is refused, and the answer says so.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import psutil

Kind = Literal["cpu", "cuda", "rocm", "mps"]

_SYS_CARDS = Path("/sys/class/drm")
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Device:
    """One device and its memory now, in bytes; None = this machine does not tell.

    `id` is what a process is given to run there (a GPU's UUID), "" for the CPU.
    """

    kind: Kind
    name: str
    total_bytes: int | None
    free_bytes: int | None
    id: str = ""
    index: int = 0
    source: str = ""

    @property
    def used_bytes(self) -> int | None:
        if self.total_bytes is None or self.free_bytes is None:
            return None
        return self.total_bytes - self.free_bytes

    @property
    def label(self) -> str:
        return self.kind if self.kind in ("cpu", "mps") else f"{self.kind}:{self.index}"


ReadDevices = Callable[[], list[Device]]


def read_devices() -> list[Device]:
    """Every device of this machine, the CPU first; takes about a millisecond."""
    return [cpu(), *_cuda(), *_rocm(), *_mps()]


def cpu() -> Device:
    """RAM: what the system can give without swapping, and no more than the container may still take."""
    memory = psutil.virtual_memory()
    total, free, source = memory.total, memory.available, "system"
    limit = _container_limit()
    if limit is not None and limit[0] < total:
        total, free, source = limit[0], min(free, limit[1]), "container limit"
    return Device("cpu", platform.processor() or platform.machine() or "CPU", total, max(0, free), source=source)


def process_bytes(pid: int) -> int | None:
    """Resident memory of a process and its children, None when it is gone or may not be read."""
    try:
        root = psutil.Process(pid)
        found, children = int(root.memory_info().rss), root.children(recursive=True)
    except psutil.Error:
        return None
    for child in children:
        with contextlib.suppress(psutil.Error):  # one that has just ended holds nothing
            found += child.memory_info().rss
    return found


def process_device_bytes(pid: int, device: Device) -> int | None:
    """Memory of `device` that one process holds, None where the driver does not tell (as in containers)."""
    if device.kind in ("cpu", "mps"):
        return process_bytes(pid)
    nvml = _nvml()
    if device.kind != "cuda" or nvml is None:
        return None
    with contextlib.suppress(nvml.NVMLError):
        handle = nvml.nvmlDeviceGetHandleByUUID(device.id)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == pid and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
    return None


def readable(count: int | None) -> str:
    """`1.5 GB`; `unknown` for None."""
    if count is None:
        return "unknown"
    if abs(count) >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if abs(count) >= 1e6 else f"{count / 1e3:.0f} kB"


# ── the container's limit (cgroup v2, then v1) ──────────────────────────────────────────────────


def _container_limit() -> tuple[int, int] | None:
    """(limit, what is left of it) of the tightest group this process is in; None = no limit."""
    found = [(limit, limit - used) for limit, used in _groups()]
    return min(found, key=lambda pair: pair[1]) if found else None


def _groups() -> Iterator[tuple[int, int]]:
    for folder in _group_folders():
        limit = _number(folder / "memory.max", folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current", folder / "memory.usage_in_bytes")
        if limit is not None and used is not None and limit < 1 << 60:  # v1 writes a huge number for none
            # The page cache of files is counted as used and given back when memory is short.
            yield limit, max(0, used - _reclaimable(folder))


def _group_folders() -> Iterator[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _CGROUPS if controllers == "" else _CGROUPS / "memory"
        folder = root / path.lstrip("/")
        while True:  # each parent may be tighter
            yield folder
            if folder == root or root not in folder.parents:
                break
            folder = folder.parent


def _reclaimable(folder: Path) -> int:
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    except (OSError, ValueError):
        pass
    return 0


def _number(*paths: Path) -> int | None:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            return int(path.read_text())
    return None


# ── graphics ────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1)
def _nvml() -> Any:
    """The NVML binding, opened once; None where there is no NVIDIA driver."""
    try:
        import pynvml  # type: ignore[import-untyped]  # noqa: PLC0415  (an NVIDIA machine only)

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, a driver of another version: all mean "not here"
        return None
    return pynvml


def _cuda() -> list[Device]:
    nvml = _nvml()
    if nvml is None:
        return []
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        if not _visible(index, uuid, os.environ.get("CUDA_VISIBLE_DEVICES")):
            continue
        name = _text(nvml.nvmlDeviceGetName(handle))
        total: int | None
        free: int | None
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            total, free = int(memory.total), int(memory.free)
        except nvml.NVMLError:  # chips whose memory is the system's tell nothing
            total, free = None, None
        found.append(Device("cuda", name, total, free, id=uuid, index=index, source="NVML"))
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _visible(index: int, uuid: str, allowed: str | None) -> bool:
    """Whether CUDA_VISIBLE_DEVICES, as the user set it, lets this GPU be used."""
    if allowed is None:
        return True
    names = [name.strip() for name in allowed.split(",")]
    return any(name == str(index) or (name.startswith("GPU-") and uuid.startswith(name)) for name in names)


def _rocm() -> list[Device]:
    found: list[Device] = []
    for folder in sorted(_SYS_CARDS.glob("card[0-9]*/device")):
        total, used = _number(folder / "mem_info_vram_total"), _number(folder / "mem_info_vram_used")
        if total is None or used is None:
            continue
        index = len(found)
        found.append(
            Device("rocm", "AMD GPU", total, max(0, total - used), id=str(index), index=index, source="amdgpu in /sys")
        )
    return found


def _mps() -> list[Device]:
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    ram = cpu()
    return [Device("mps", "Apple GPU", ram.total_bytes, ram.free_bytes, source="unified memory")]
