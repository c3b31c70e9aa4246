"""Memory of devices: what this machine tells, and what drivers tell that are not here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tonewheel.fleet import memory
from tonewheel.fleet.memory import Device


def test_the_ram_of_this_machine_is_read_as_a_whole() -> None:
    device = memory.cpu()
    assert device.total_bytes is not None and device.free_bytes is not None
    assert 0 < device.free_bytes < device.total_bytes <= psutil.virtual_memory().total


def test_memory_of_a_process_counts_its_helpers() -> None:
    program = "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    child = subprocess.Popen(
        [sys.executable, "-c", program + "; print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        alone = psutil.Process(child.pid).memory_info().rss
        together = memory.process_bytes(child.pid)
        assert together is not None and together > alone
    finally:
        for process in (*psutil.Process(child.pid).children(), psutil.Process(child.pid)):
            process.kill()
        child.wait()
    assert memory.process_bytes(child.pid) is None


def test_a_helper_that_ends_while_memory_is_counted_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    helper = subprocess.Popen([sys.executable, "-c", ""])
    ended = psutil.Process(helper.pid)
    helper.wait()
    monkeypatch.setattr(psutil.Process, "children", lambda *_, **__: [ended])
    assert (memory.process_bytes(os.getpid()) or 0) > 1_000_000


def test_a_limit_of_the_container_is_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("memory.max", "1000000000"), ("memory.current", "700000000")):
        (tmp_path / name).write_text(value)
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 100000000\n")
    monkeypatch.setattr(memory, "_group_folders", lambda: [tmp_path])
    device = memory.cpu()
    assert (device.total_bytes, device.free_bytes, device.source) == (10**9, 4 * 10**8, "container limit")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.cpu().source == "system"


class FakeNVML:
    """The calls of pynvml that are used, with two GPUs that are not there."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return int(uuid[-1])

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, _handle: int) -> bytes:
        return b"Fake H200"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if handle == 1:
            raise self.NVMLError
        return SimpleNamespace(total=100, free=40)

    def nvmlDeviceGetComputeRunningProcesses(self, _handle: int) -> list[Any]:
        return [SimpleNamespace(pid=os.getpid(), usedGpuMemory=25), SimpleNamespace(pid=1, usedGpuMemory=None)]


def test_nvidia_memory_is_the_drivers_count_and_unknown_where_it_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_nvml", FakeNVML)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = (d for d in memory.read_devices() if d.kind == "cuda")
    assert first == Device("cuda", "Fake H200", 100, 40, id="GPU-0", index=0, source="NVML")
    assert (second.label, second.free_bytes, second.used_bytes) == ("cuda:1", None, None)
    assert memory.process_device_bytes(os.getpid(), first) == 25
    assert memory.process_device_bytes(1, first) is None


@pytest.mark.parametrize(("allowed", "seen"), [("1", [1]), ("GPU-0", [0]), ("", []), ("0,1", [0, 1]), ("7", [])])
def test_only_gpus_the_user_lets_us_see_are_used(
    monkeypatch: pytest.MonkeyPatch, allowed: str, seen: list[int]
) -> None:
    monkeypatch.setattr(memory, "_nvml", FakeNVML)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert [d.index for d in memory.read_devices() if d.kind == "cuda"] == seen


def test_amd_memory_comes_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = tmp_path / "card1" / "device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text("1000\n")
    (card / "mem_info_vram_used").write_text("300\n")
    (tmp_path / "card0" / "device").mkdir(parents=True)  # a display without memory of its own
    monkeypatch.setattr(memory, "_SYS_CARDS", tmp_path)
    (device,) = (d for d in memory.read_devices() if d.kind == "rocm")
    assert (device.label, device.total_bytes, device.free_bytes) == ("rocm:0", 1000, 700)


def test_sizes_are_written_for_people() -> None:
    sizes = [memory.readable(n) for n in (None, 900, 5_000_000, 1_500_000_000, -2_000_000)]
    assert sizes == ["unknown", "1 kB", "5 MB", "1.5 GB", "-2 MB"]
