"""How fast this machine reads memory now: the floor of a step that must read all its weights once.

    python bench/bandwidth.py [MB ...]

Several readers, the fastest counts: libc's `memchr` in as many threads as the kernels use (it looks for a byte that is
not there, with the processor's widest loads), and torch's sum. Memory is in huge pages where the system gives them, as
the kernels' weights are. A block that is smaller than the last cache may be read from there, as weights are.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import torch

_PAGE = 2 << 20


def seconds_to_read(count: int, threads: int, device: torch.device | None = None, repeat: int = 7) -> float:
    """The shortest time in which `count` bytes were read."""
    if device is not None and device.type == "cuda":
        return _on_cuda(count, device, repeat)
    memory = mmap.mmap(-1, -(-count // _PAGE) * _PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    block = torch.frombuffer(memory, dtype=torch.uint8)[:count]
    block.fill_(1)
    search = ctypes.CDLL(None).memchr
    search.restype = ctypes.c_void_p
    search.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    bounds = [count * n // threads for n in range(threads + 1)]
    floats = block[: count // 4 * 4].view(torch.float32)

    def read(n: int) -> None:
        if search(block.data_ptr() + bounds[n], 2, bounds[n + 1] - bounds[n]) is not None:
            raise RuntimeError("a byte was found that is not there")

    best = float("inf")
    with ThreadPoolExecutor(threads) as crew:
        list(crew.map(read, range(threads)))  # threads are there, pages are mapped
        for _ in range(repeat):
            began = time.perf_counter()
            list(crew.map(read, range(threads)))
            best = min(best, time.perf_counter() - began)
    for _ in range(repeat):
        began = time.perf_counter()
        floats.sum()
        best = min(best, time.perf_counter() - began)
    return best


def _on_cuda(count: int, device: torch.device, repeat: int) -> float:
    block = torch.ones(count // 2, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        block.sum()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    for size in [float(n) for n in sys.argv[1:]] or [100, 200, 370, 1440]:
        took = seconds_to_read(round(size * 1e6), torch.get_num_threads())
        print(
            f"{size:6.0f} MB in {1e3 * took:6.1f} ms: {size / 1e3 / took:6.1f} GB/s, {torch.get_num_threads()} threads"
        )
