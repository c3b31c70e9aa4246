"""One setting for the threads of a model process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tonewheel.errors import InvalidRequest
from tonewheel.settings import settings
from tonewheel.threads import limit_threads, threads_of


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TONEWHEEL_THREADS", "TONEWHEEL_MUSICGEN_SMALL_THREADS"):
        monkeypatch.delenv(name, raising=False)
    settings.cache_clear()


def test_a_model_takes_the_processors_it_may_use_and_no_more() -> None:
    assert 1 <= threads_of("musicgen-small") <= len(os.sched_getaffinity(0))


def test_one_setting_limits_all_models_and_one_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWHEEL_THREADS", "3")
    monkeypatch.setenv("TONEWHEEL_MUSICGEN_SMALL_THREADS", "1")
    settings.cache_clear()
    assert threads_of("clap") == 3
    assert threads_of("musicgen-small") == 1


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1025", ""])
def test_a_number_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("TONEWHEEL_MUSICGEN_SMALL_THREADS", wrong)
    with pytest.raises(InvalidRequest, match="TONEWHEEL_MUSICGEN_SMALL_THREADS"):
        threads_of("musicgen-small")


def test_what_the_user_set_for_a_library_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("TONEWHEEL_THREADS", "2")
    settings.cache_clear()
    limit_threads("musicgen-small")
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("5", "2")


def test_a_library_s_own_variable_alone_holds_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TONEWHEEL_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that it is put back: deleting what is not there would not be
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings.cache_clear()
    limit_threads("musicgen-small")
    assert (os.environ["MKL_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]) == ("1", "1")


def test_torch_and_the_native_kernels_have_as_many() -> None:
    program = (
        "from tonewheel.threads import limit_threads; limit_threads('musicgen-small')\n"
        "import torch; print(torch.get_num_threads())\n"
        "from tonewheel.engine.kernels import best_kernels\n"
        "k = best_kernels(torch.device('cpu'), 'float32'); print(getattr(k, 'threads', torch.get_num_threads()))\n"
    )
    environment = {n: v for n, v in os.environ.items() if not n.endswith("_NUM_THREADS")} | {
        "TONEWHEEL_THREADS": "1"
    }  # torch takes no more than there are cores
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert told.stdout.split() == ["1", "1"]
