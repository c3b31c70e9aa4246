"""Ours against the authors' own: the same checkpoint, the same logits, the same beats, at every length."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import beat_this_checkpoints as checkpoints
import beat_this_reference as reference
import numpy as np
import pytest
import torch
from torch import Tensor

from tonewheel.models.beat_this import peaks
from tonewheel.models.beat_this.checkpoint import load_network
from tonewheel.models.beat_this.frames import logits_of
from tonewheel.models.beat_this.frontend import LogMel
from tonewheel.models.beat_this.network import BeatThis, Shape


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("beat_this")
    return {
        "tiny": checkpoints.save(folder / "tiny.ckpt"),
        "light": checkpoints.save(folder / "light.ckpt", checkpoints.network(checkpoints.LIGHT)),
    }


def _clicks(seconds: float) -> Tensor:
    """Bursts of noise twice a second, every fourth louder."""
    count = round(seconds * 22_050)
    place = np.arange(count) / 22_050 * 2
    level = np.exp(-20 * (place % 1)) * np.where(place.astype(int) % 4 == 0, 0.5, 0.2)
    noise = np.random.default_rng(1).standard_normal(count)
    return torch.from_numpy((noise * level).astype(np.float32))


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [("tiny", 0.2), ("tiny", 1), ("tiny", 30), ("light", 29), ("light", 29.77), ("light", 30), ("light", 31),
     ("light", 75), ("light", 600)],
)  # fmt: skip
def test_logits_and_beats_are_those_of_the_reference(made: dict[str, Path], kind: str, seconds: float) -> None:
    frames = LogMel()(_clicks(seconds))
    theirs = reference.logits(reference.load(made[kind]), frames)
    ours = logits_of(load_network(made[kind]), frames)
    assert ours.std() > 0.5  # or nothing would be compared
    assert (ours - theirs).abs().max() < 1e-4
    beats, downbeats = peaks.pick(ours)
    assert len(beats) > seconds / 2
    for found, expected in zip((beats, downbeats), reference.pick(theirs), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "shape",
    [Shape(transformer_dim=64, n_layers=2, head_dim=16, stem_dim=32, ff_mult=2),
     replace(checkpoints.TINY, sum_head=False),
     Shape(transformer_dim=128)],
    ids=["wider", "no sum head", "small0"],
)  # fmt: skip
def test_other_sizes_read_from_the_hyperparameters_give_the_same(tmp_path: Path, shape: Shape) -> None:
    path = checkpoints.save(tmp_path / "other.ckpt", checkpoints.network(shape))
    frames = LogMel()(_clicks(2))
    ours = logits_of(load_network(path), frames)
    assert (ours - reference.logits(reference.load(path), frames)).abs().max() < 1e-4


def test_what_the_reference_saves_is_what_ours_reads(tmp_path: Path, made: dict[str, Path]) -> None:
    network = reference.load(made["tiny"])
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    path = checkpoints.save(tmp_path / "theirs.ckpt", state_dict=state)
    ours, again = load_network(path).state_dict(), load_network(made["tiny"]).state_dict()
    assert ours.keys() == again.keys()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


def test_published_sizes_have_the_parameters_their_authors_name() -> None:
    assert sum(p.numel() for p in BeatThis().parameters()) == pytest.approx(20.25e6, rel=1e-3)
    assert sum(p.numel() for p in BeatThis(Shape(transformer_dim=128)).parameters()) == pytest.approx(2.1e6, rel=1e-2)


def test_peaks_are_merged_snapped_and_unique_as_in_the_reference() -> None:
    generator = torch.Generator().manual_seed(5)
    for _ in range(50):
        # Few distinct values: many equal neighbours.
        logits = torch.randint(-2, 3, (300, 2), generator=generator).float()
        for found, expected in zip(peaks.pick(logits), reference.pick(logits), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_no_beat_is_no_error() -> None:
    beats, downbeats = peaks.pick(torch.full((100, 2), -3.0))
    assert len(beats) == len(downbeats) == 0
    beats, downbeats = peaks.pick(torch.full((100, 2), float("nan")))
    assert len(beats) == len(downbeats) == 0


def test_the_mel_is_that_of_the_recipe() -> None:
    """Against transformers' own filters and spectrogram (float64), built by the recipe's numbers."""
    from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

    filters = mel_filter_bank(513, 128, 30, 11_000, 22_050, norm=None, mel_scale="slaney")
    for seconds in (0.2, 1, 61):
        samples = _clicks(seconds)
        theirs = spectrogram(
            samples.double().numpy(), window_function(1024), 1024, 441, power=1.0, center=True, pad_mode="reflect",
            mel_filters=filters, mel_floor=0.0,
        )  # fmt: skip
        expected = np.log1p(1000 * theirs.T / 32)
        ours = LogMel()(samples).numpy()
        assert ours.shape == expected.shape == (1 + len(samples) // 441, 128)
        assert np.abs(ours - expected).max() < 1e-4
