"""Where a pipeline runs, decided on figures: no GPU is needed to hold the decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

GB = 10**9
Where = Callable[..., Any]


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Iterator[Where]:
    """`where("cuda", gpu=8, main=32, need=6)` → the place of a model that takes `need` GB in float32."""
    from tonewheel.models.diffusion import place as module
    from tonewheel.settings import settings

    def find(device: str, *, gpu: float = 0, main: float = 32, need: float = 6, **environment: str) -> Any:
        for name, value in environment.items():
            monkeypatch.setenv(f"TONEWHEEL_DIFFUSION_{name.upper()}", value)
        settings.cache_clear()
        monkeypatch.setattr(module, "best_device", lambda: torch.device(device))
        monkeypatch.setattr(module, "free_bytes", lambda d: round((gpu if d.type == "cuda" else main) * GB))
        return module.place("hum", lambda number: round(need * GB * number / 4))

    yield find
    settings.cache_clear()


def test_a_cpu_has_float32_and_a_gpu_half_precision(where: Where) -> None:
    cpu, gpu = where("cpu"), where("cuda", gpu=8)
    assert (str(cpu.device), cpu.dtype, cpu.offload, cpu.name) == ("cpu", torch.float32, False, "cpu/float32")
    assert (str(gpu.device), gpu.dtype, gpu.offload, gpu.name) == ("cuda", torch.float16, False, "cuda/float16")
    assert where("cuda", gpu=8, dtype="bfloat16").dtype == torch.bfloat16
    assert where("cuda", gpu=8, dtype="float32").dtype == torch.float32


def test_where_the_gpu_is_too_small_parts_wait_in_main_memory_and_it_is_told(where: Where) -> None:
    place = where("cuda", gpu=2, need=6)
    assert place.offload and place.name == "cuda/float16/offloaded"
    assert "3.0 GB" in place.note and "2.0 GB free" in place.note
    assert where("cuda", gpu=8, offload="always").offload


def test_what_has_no_room_anywhere_is_refused_with_the_figures(where: Where) -> None:
    from tonewheel.errors import OutOfMemory

    with pytest.raises(OutOfMemory, match=r"takes 6\.0 GB of memory and 2\.0 GB are free"):
        where("cpu", main=2)
    with pytest.raises(OutOfMemory, match=r"the GPU has 2\.0 GB free and the main memory 1\.0 GB"):
        where("cuda", gpu=2, main=1)
    with pytest.raises(OutOfMemory, match="OFFLOAD=auto"):
        where("cuda", gpu=2, offload="never")
