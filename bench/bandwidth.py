"""How fast this machine reads memory now: the floor of a step that must read all its weights once.

    python bench/bandwidth.py [MB ...]

Two readers, the fastest counts: libc's `memchr` in as many threads as the kernels use (it looks for a byte that is not
there, with the widest loads of the processor), and torch's product of a matrix with a vector. Memory is in huge pages
where the system gives them, as are the weights of the kernels. A block that is smaller than the last cache may be read
from there, as weights are.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_PAGE = 2 << 20
_ROW = 4096  # bytes


def seconds_to_read(count: int, threads: int, device: torch.device | None = None, within: float = 2.0) -> float:
    """The shortest time in which `count` bytes were read, of all times within so many seconds (two at least)."""
    if device is not None and device.type == "cuda":
        return _on_cuda(count, device, within)
    memory = mmap.mmap(-1, -(-count // _PAGE) * _PAGE)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    block = torch.frombuffer(memory, dtype=torch.uint8)[:count]
    block.fill_(1)
    search = ctypes.CDLL(None).memchr
    search.restype = ctypes.c_void_p
    search.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    bounds = [count * n // threads for n in range(threads + 1)]
    matrix = block[: count // _ROW * _ROW].view(torch.float32).view(-1, _ROW // 4)
    vector = torch.ones(_ROW // 4)

    def read(n: int) -> None:
        if search(block.data_ptr() + bounds[n], 2, bounds[n + 1] - bounds[n]) is not None:
            raise RuntimeError("a byte was found that is not there")

    with ThreadPoolExecutor(threads) as crew:
        found = _shortest(lambda: list(crew.map(read, range(threads))), within / 2)
    return min(found, _shortest(lambda: torch.mv(matrix, vector), within / 2))


def _shortest(work: Callable[[], object], within: float) -> float:
    work()  # threads are there, pages are mapped
    times: list[float] = []
    while len(times) < 2 or sum(times) < within:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def _on_cuda(count: int, device: torch.device, within: float) -> float:
    block = torch.ones(count // 2, device=device, dtype=torch.bfloat16)

    def read() -> None:
        block.sum()
        torch.cuda.synchronize()

    return _shortest(read, within)


if __name__ == "__main__":
    for size in [float(n) for n in sys.argv[1:]] or [100, 200, 370, 1440]:
        took = seconds_to_read(round(size * 1e6), torch.get_num_threads())
        speed = f"{size / 1e3 / took:6.1f} GB/s, {torch.get_num_threads()} threads"
        print(f"{size:6.0f} MB in {1e3 * took:6.1f} ms: {speed}", flush=True)
