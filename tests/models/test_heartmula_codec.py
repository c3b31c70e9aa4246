"""HeartCodec: codes to samples, against a second implementation; windows, lengths, chunks, neighbours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import heartmula_checkpoints as checkpoints
import heartmula_reference as reference
import numpy as np
import pytest
import torch
from torch import Tensor

from tonewheel.engine.kernels import best_kernels
from tonewheel.errors import Cancelled, ModelBroken
from tonewheel.models.heartmula.codec import HeartCodec, seeded_noise
from tonewheel.models.heartmula.wave import LOOKAHEAD, WaveShape, context
from tonewheel.models.heartmula.windows import HOP, WINDOW, count, frames_of, windows

LENGTHS = (1, 371, 372, 373, 424, 692, 744, 1064)  # around every edge of a window


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return checkpoints.codec_tensors(checkpoints.Recipe())


@pytest.fixture(scope="module")
def make(tensors: dict[str, Tensor]) -> Iterator[Callable[..., HeartCodec]]:
    made: list[HeartCodec] = []

    def weights(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
        return tensors[name].to(dtype)

    def codec(**options: Any) -> HeartCodec:
        made.append(HeartCodec(checkpoints.codec_config(), weights, device=torch.device("cpu"), **options))
        return made[-1]

    yield codec
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def codec(make: Callable[..., HeartCodec]) -> HeartCodec:
    return make()


@pytest.fixture(scope="module")
def brisk(make: Callable[..., HeartCodec]) -> HeartCodec:
    """One step instead of ten, and samples that stand still, where only windows and lengths matter."""
    made = make(steps=1, guidance=1.0)
    made.wave.decode = lambda latents, **_: latents[:, :2].T.repeat_interleave(1920, dim=1)  # type: ignore[method-assign]
    return made


def codes_of(frames: int, seed: int = 3) -> Tensor:
    return torch.randint(0, checkpoints.CODES, (8, frames), generator=torch.Generator().manual_seed(seed))


def signal_to_noise(heard: np.ndarray, wanted: np.ndarray) -> float:
    """In decibels."""
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - heard).sum()))


# ── the same as the reference ──


def test_latents_and_samples_are_those_of_a_second_implementation(
    codec: HeartCodec, tensors: dict[str, Tensor]
) -> None:
    codes, noise = codes_of(373), seeded_noise(5)
    noises = [noise(), noise()]
    wanted, waves, samples = reference.decode(tensors, checkpoints.HEADS, codes, iter(noises))
    assert len(wanted) == 2
    assert wanted[0].std() > 0.5, "latents must spread over many ninths, or a mistake would not show"

    before = None
    tiled = torch.cat([codes, codes], dim=1)
    for number, latents in enumerate(wanted):
        window = tiled[:, number * HOP : number * HOP + WINDOW]
        found = codec.latents(window[None], noises[number][None], [before])[0]
        assert (found - latents).abs().max() < 1e-5
        assert (codec.wave.decode(latents) - waves[number]).abs().max() < 2e-5
        before = latents[-2 * (WINDOW - HOP) :]

    heard = codec.decode(codes, seed=5)
    assert heard.shape == (373 * 3840, 2)
    assert 0.05 < samples.std() < 0.5
    # Not sample by sample: a latent within 1e-6 of the middle between two ninths is rounded the other way now and then.
    assert signal_to_noise(heard, samples.T.numpy()) > 40


def test_the_products_that_go_with_quantised_weights_keep_the_latents(
    codec: HeartCodec, make: Callable[..., HeartCodec]
) -> None:
    kernels = best_kernels(torch.device("cpu"), "int8")
    quick, codes, noise = make(kernels=kernels), codes_of(WINDOW), seeded_noise(5)()
    exact, found = (each.latents(codes[None], noise[None], [None])[0] for each in (codec, quick))
    off = (found - exact).abs().max()
    assert off < 1e-3 and (off > 0 or kernels.wide(torch.eye(4)) is None)


def test_half_precision_in_the_flow_alone_keeps_the_sound(codec: HeartCodec, make: Callable[..., HeartCodec]) -> None:
    codes, noise = codes_of(WINDOW)[None], seeded_noise(1)()[None]
    exact = codec.latents(codes, noise, [None]).numpy()
    half = make(dtype=torch.float16).latents(codes, noise, [None]).numpy()
    assert half.dtype == np.float32
    assert signal_to_noise(half, exact) > 35


# ── lengths ──


@pytest.mark.parametrize("frames", LENGTHS)
def test_every_code_is_heard(frames: int, brisk: HeartCodec) -> None:
    samples = brisk.decode(codes_of(frames), seed=1)
    assert samples.shape == (frames * 3840, 2)  # 12.5 a second at 48 kHz, to the sample
    assert np.isfinite(samples).all()
    assert np.square(samples[-3840:]).sum() > 0, "the last code is silent"


def test_windows_cover_every_code_and_no_window_is_for_nothing() -> None:
    for frames in range(1, 2000):
        cut = list(windows(frames))
        assert len(cut) == count(frames) and [w.last for w in cut] == [False] * (len(cut) - 1) + [True]
        assert [w.start for w in cut] == [HOP * n for n in range(len(cut))]
        assert cut[-1].needs >= frames > (cut[-1].start + WINDOW - HOP if cut[-1].number else 0)
    assert [count(n) for n in LENGTHS] == [1, 1, 1, 2, 2, 2, 3, 4]  # upstream has 1, 2, 3 for 424, 744, 1064


def test_a_short_song_is_repeated_until_its_window_is_full(brisk: HeartCodec) -> None:
    codes = codes_of(100)
    short = brisk.decode(codes, seed=2)
    long = brisk.decode(codes.repeat(1, 4)[:, :WINDOW], seed=2)
    np.testing.assert_array_equal(short, long[: len(short)])


@pytest.mark.parametrize(("seconds", "frames"), [(0.01, 1), (0.08, 1), (0.2, 2), (30.0, 375), (240.0, 3000)])
def test_seconds_are_rounded_to_frames(seconds: float, frames: int) -> None:
    assert frames_of(seconds) == frames


# ── streaming ──


def test_a_song_told_piece_by_piece_is_the_song_told_at_once(brisk: HeartCodec) -> None:
    codes = codes_of(744)
    whole = brisk.decode(codes, seed=4)
    decoding = brisk.begin(4)
    pieces, heard_after = [], {}
    for start in range(0, 744, 31):
        pieces.append(decoding.push(codes[:, start : start + 31]))
        if len(pieces[-1]):
            heard_after[start + 31] = len(pieces[-1])
    pieces.append(decoding.finish())
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    # One window behind: 372 codes and the one that says that it is not the last.
    assert heard_after == {403: HOP * 3840, 713: HOP * 3840}


def test_nothing_pushed_is_no_sound(brisk: HeartCodec) -> None:
    assert brisk.begin(1).finish().shape == (0, 2)


def test_a_wave_by_chunks_is_the_wave_in_one_piece(codec: HeartCodec) -> None:
    latents = torch.randn((130, 256), generator=torch.Generator().manual_seed(8))
    whole = codec.wave.decode(latents, chunk=130)
    for chunk in (7, 64, 129):
        assert (codec.wave.decode(latents, chunk=chunk) - whole).abs().max() < 2e-6


def test_the_context_stated_is_as_long_as_needed(codec: HeartCodec) -> None:
    """A latent is heard from two frames before it to as many after it as `context` says, and no further."""
    latents = torch.randn((150, 256), generator=torch.Generator().manual_seed(9))
    other = latents.clone()
    other[70] += 1
    heard = (codec.wave.decode(latents, chunk=150) != codec.wave.decode(other, chunk=150)).any(0).nonzero()[:, 0]
    assert heard.min() // 1920 == 70 - LOOKAHEAD
    assert 40 <= heard.max() // 1920 - 70 <= context()


# ── neighbours, giving up, strange codes ──


def test_a_window_among_others_is_the_window_alone(codec: HeartCodec) -> None:
    codes = torch.stack([codes_of(WINDOW, seed) for seed in range(3)])
    noise = torch.stack([seeded_noise(seed)() for seed in range(3)])
    contexts = [None, torch.randn((104, 256), generator=torch.Generator().manual_seed(1)), None]
    together = codec.latents(codes, noise, contexts)
    for n in range(3):
        alone = codec.latents(codes[n : n + 1], noise[n : n + 1], contexts[n : n + 1])[0]
        assert (together[n] - alone).abs().max() < 1e-5


def test_the_same_seed_gives_the_same_samples_and_another_others(brisk: HeartCodec) -> None:
    codes = codes_of(50)
    first = brisk.decode(codes, seed=1)
    np.testing.assert_array_equal(first, brisk.decode(codes, seed=1))
    assert not np.array_equal(first, brisk.decode(codes, seed=2))


def test_a_song_given_up_ends_between_two_steps_and_harms_no_other(make: Callable[..., HeartCodec]) -> None:
    patient = make(steps=100_000, guidance=1.0)  # minutes, if it were not given up
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Cancelled("enough")

    decoding = patient.begin(1, check=check)
    decoding.push(codes_of(20))
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(Cancelled):
        decoding.finish()
    patient.steps = 1
    assert patient.decode(codes_of(2)).shape == (2 * 3840, 2)  # its thread is free again


def test_codes_outside_the_codebook_do_not_reach_it(brisk: HeartCodec) -> None:
    codes = codes_of(5)
    codes[2, 3] = checkpoints.END
    assert np.isfinite(brisk.decode(codes)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"upsample_factors": [5, 4, 4, 4, 2]}, "upsample_factors"),
        ({"sample_rate": 44_100}, "sample_rate"),
        ({"init_channel": "wide"}, "init_channel"),
    ],
)
def test_a_decoder_built_otherwise_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelBroken, match=says):
        WaveShape.of(checkpoints.codec_config() | change)
