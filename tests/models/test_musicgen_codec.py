"""EnCodec by chunks is EnCodec at once; chroma is what the melody says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from test_musicgen_reference import chroma_by_torch

from tonewheel.engine.kernels import best_kernels
from tonewheel.errors import InvalidRequest, OutOfMemory, RenderFault
from tonewheel.models.free_memory import told
from tonewheel.models.musicgen.checkpoint import Checkpoint
from tonewheel.models.musicgen.chroma import check_melody, chroma, stretch
from tonewheel.models.musicgen.codec import Codec, encodec

TOLERANCE = 2e-6  # of samples within ±1; measured 2e-7: sums in another order
FRAMES = 137
DEVICE = torch.device("cpu")


class Both(NamedTuple):
    ours: Codec
    theirs: Any  # transformers' model


@pytest.fixture(scope="module", params=["mono", "stereo-old"])
def both(request: pytest.FixtureRequest, musicgen_checkpoint: Callable[[str], Path]) -> Both:
    checkpoint = Checkpoint.open(musicgen_checkpoint(request.param))
    return Both(Codec(checkpoint, DEVICE), encodec(checkpoint))


@pytest.fixture(scope="module")
def codec(both: Both) -> Codec:
    return both.ours


def codes_for(codec: Codec, frames: int = FRAMES) -> torch.Tensor:
    return torch.randint(0, 64, (codec.codebooks, frames), generator=torch.manual_seed(5))


def at_once(both: Both, codes: torch.Tensor) -> np.ndarray[Any, Any]:
    """transformers' own decoder over the whole."""
    with torch.inference_mode():
        wave = both.theirs.decoder(both.ours.embedded(codes).transpose(1, 2))[:, 0]
    return np.asarray(wave.T)


@pytest.mark.parametrize("size", [1, 3, 7, 50, 100])
def test_joined_chunks_are_the_whole(both: Both, codec: Codec, size: int) -> None:
    codes = codes_for(codec)
    decoding = codec.begin()
    chunks = [decoding.push(codes[:, n : n + size]) for n in range(0, FRAMES, size)]
    joined = np.concatenate([*chunks, decoding.finish()])
    whole = at_once(both, codes)
    assert joined.shape == whole.shape == (FRAMES * 640, codec.channels)
    assert np.abs(joined - whole).max() < TOLERANCE
    assert whole.std() > 0.01


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
def test_pieces_shorter_than_the_context_are_exact_too(both: Both, codec: Codec, frames: int) -> None:
    codes = codes_for(codec, frames)
    decoding = codec.begin()
    chunks = [decoding.push(codes[:, n : n + 1]) for n in range(frames)]
    assert np.abs(np.concatenate([*chunks, decoding.finish()]) - at_once(both, codes)).max() < TOLERANCE


def test_a_chunk_waits_for_four_frames_only(codec: Codec) -> None:
    assert (codec.first_context, codec.rest_context, codec.lookahead) == ((3, 3), (1, 1), 4)
    assert len(codec.begin().push(codes_for(codec, 50))) == 46 * 640


def test_no_less_context_would_do(both: Both, codec: Codec) -> None:
    """The frames said to be needed are: leaving one out changes the samples."""
    codes = codes_for(codec, 40)
    whole = at_once(both, codes)
    for frame, samples in ((20 + codec.lookahead, slice(20 * 640, 21 * 640)), (21 + codec.lookahead, None)):
        other = codes.clone()
        other[:, frame] = (other[:, frame] + 17) % 64
        reached = np.abs(at_once(both, other) - whole)[20 * 640 : 21 * 640].max()
        assert (reached > 1e-4) == (samples is not None)


def test_frames_that_are_not_wanted_are_not_told(both: Both, codec: Codec) -> None:
    codes = codes_for(codec)
    decoding = codec.begin(skip=60)
    rest = np.concatenate([decoding.push(codes[:, :100]), decoding.push(codes[:, 100:]), decoding.finish()])
    assert np.abs(rest - at_once(both, codes)[60 * 640 :]).max() < TOLERANCE


def test_quick_products_stay_far_below_what_is_heard(
    both: Both, codec: Codec, musicgen_checkpoint: Callable[[str], Path]
) -> None:
    """With quantised kernels of the decoder, where they have products of many rows."""
    kernels = best_kernels(DEVICE, "int8")
    quick = Codec(
        Checkpoint.open(musicgen_checkpoint("mono" if codec.channels == 1 else "stereo-old")), DEVICE, kernels
    )
    codes = codes_for(codec)
    whole = at_once(both, codes)
    decoding = quick.begin()
    chunks = [decoding.push(codes[:, n : n + 50]) for n in range(0, FRAMES, 50)]
    error = np.concatenate([*chunks, decoding.finish()]) - whole
    assert 20 * np.log10(error.std() / whole.std()) < -80


def test_samples_become_codes_and_each_side_has_its_own(codec: Codec) -> None:
    noise = np.random.default_rng(3).standard_normal((6400 + 1, codec.channels)).astype(np.float32) * 0.2
    codes = codec.encode(noise)
    assert codes.shape == (codec.codebooks, 11)
    assert len(codes.unique()) > 5
    if codec.channels == 2:
        swapped = codec.encode(noise[:, ::-1].copy())
        assert torch.equal(swapped[0::2], codes[1::2]) and torch.equal(swapped[1::2], codes[0::2])


def test_a_cpu_without_memory_is_told_as_such() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert isinstance(told(caught.value), OutOfMemory)
    assert isinstance(told(RenderFault(f"a step of the model failed: {caught.value}")), OutOfMemory)
    other = RuntimeError("shapes do not match")
    assert told(other) is other


# ── melody ──────────────────────────────────────────────────────────────────────────────────────


def tune(seconds: float, *frequencies: float) -> np.ndarray[Any, Any]:
    times = np.arange(int(seconds / len(frequencies) * 32_000)) / 32_000
    return np.concatenate([np.sin(2 * np.pi * f * times) for f in frequencies]).astype(np.float32) * 0.4


def test_chroma_is_that_of_the_reference() -> None:
    rng = np.random.default_rng(1)
    wave = tune(9, 220.0, 311.1, 440.0, 523.3) + rng.standard_normal(288_000).astype(np.float32) * 0.02
    assert np.array_equal(chroma(wave, 235), chroma_by_torch(torch.from_numpy(wave)).numpy())


def test_chroma_says_which_note_sounds() -> None:
    heard = chroma(tune(3, 261.63, 440.0), 235).argmax(axis=1)
    assert heard[3] == 0 and heard[-4] == 9  # C, then A
    assert chroma(tune(31, 440.0), 235).shape == (235, 12)
    assert chroma(tune(0.2, 440.0), 235).shape == (5, 12)  # padded to one window


def test_a_melody_is_repeated_and_shifted_for_later_windows() -> None:
    wave = np.arange(32_000 * 40, dtype=np.float32)
    assert stretch(wave, 32_000 * 15)[0] == 32_000 * 15
    assert stretch(wave, 32_000 * 15)[32_000 * 25] == 0  # from the beginning again
    short = tune(3, 440.0)
    assert stretch(short, 0) is short
    assert len(stretch(short, 1)) == 32_000 * 30


@pytest.mark.parametrize(("wave", "said"), [(np.zeros(64_000, np.float32), "silent"), (tune(0.05, 440.0), "too short")])
def test_silence_is_no_melody(wave: np.ndarray[Any, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        check_melody(wave)
    assert caught.value.param == "melody"
