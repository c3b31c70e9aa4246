"""The same codes and samples as HeartMuLa/heartlib, where that is installed beside (it needs pins of its own):

    TONEWHEEL_TEST_HEARTLIB=VENV/bin/python:HEARTLIB/src pytest tests/models/test_heartmula_heartlib.py

docs/heartmula.md says with which versions it was run last.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import heartmula_checkpoints as checkpoints
import heartmula_heartlib as theirs
import numpy as np
import pytest
import torch

from tonewheel.engine import Engine, GenerationRequest, Sampling
from tonewheel.engine.kernels import Kernels, PlainKernels
from tonewheel.models.heartmula.card import RELEASES
from tonewheel.models.heartmula.checkpoint import Checkpoint
from tonewheel.models.heartmula.codec import HeartCodec
from tonewheel.models.heartmula.language import HeartmulaLanguage, HeartmulaPrompt, LanguageShape
from tonewheel.models.heartmula.prompt import Texts

PLACE = os.environ.get("TONEWHEEL_TEST_HEARTLIB", "")
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(not PLACE, reason="heartlib is not installed beside (TONEWHEEL_TEST_HEARTLIB)")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = checkpoints.make(tmp_path_factory.mktemp("heartmula") / "tiny")
    return Checkpoint.open(folder, RELEASES["heartmula-3b"])


@pytest.fixture(scope="module")
def made(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    python, _, source = PLACE.partition(":")
    out = tmp_path_factory.mktemp("heartlib") / "made.npz"
    ran = subprocess.run(
        [python, Path(theirs.__file__), source, checkpoint.folder, out], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("kind", ["torch", "native"])
def test_greedy_codes_are_those_of_heartlib(checkpoint: Checkpoint, made: dict[str, np.ndarray], kind: str) -> None:
    kernels: Kernels = PlainKernels()
    if kind == "native":
        pytest.importorskip("tonewheel_kernels")
        from tonewheel.engine.kernels.native import NativeKernels

        kernels = NativeKernels("float32")
    shape = LanguageShape.of(checkpoint.language.config)
    tokens = Texts(checkpoint.tokenizer, checkpoint.ids, shape.text_vocabulary)(theirs.TAGS, theirs.LYRICS)
    prompt = HeartmulaPrompt(torch.tensor(tokens.tags), torch.tensor(tokens.lyrics))
    sampling = Sampling(guidance_scale=1.5, do_sample=False)
    with checkpoint.language.reader(CPU, torch.float32) as weights:
        language = HeartmulaLanguage(shape, weights, device=CPU, dtype=torch.float32, kernels=kernels)
    with Engine(language, 1) as engine:
        codes = engine.submit(GenerationRequest(prompt, theirs.FRAMES, sampling)).result(120)
    np.testing.assert_array_equal(codes.numpy(), made["codes"])


def test_samples_are_those_of_heartlib(checkpoint: Checkpoint, made: dict[str, np.ndarray]) -> None:
    with checkpoint.codec.reader(CPU, torch.float32) as weights:
        codec = HeartCodec(checkpoint.codec.config, weights, device=CPU)
    noise = iter(torch.from_numpy(made["noise"]))
    samples = codec.decode(torch.from_numpy(made["given"]), noise=lambda: next(noise)).T
    codec.close()
    assert samples.shape == made["samples"].shape
    difference = np.abs(samples - made["samples"])
    # A latent in the middle between two ninths may be rounded the other way: in few places, and nowhere else.
    assert np.quantile(difference, 0.99) < 2e-5
    assert 10 * np.log10(np.square(made["samples"]).sum() / np.square(difference).sum()) > 40
