"""CLAP's audio tower made faster says what transformers' own says."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import ClapAudioConfig, ClapConfig, ClapModel, ClapTextConfig

from tonewheel.models.clap.tower import Stage, quicken


def network(**audio: Any) -> Any:
    """A tiny ClapModel in the published shape: windows that fit, every second block shifted, fours merged."""
    sizes: dict[str, Any] = {
        "hidden_size": 64, "patch_embeds_hidden_size": 16, "depths": [2, 2, 2], "num_attention_heads": [2, 4, 4],
        "num_hidden_layers": 3, "spec_size": 256, "window_size": 8,
    }  # fmt: skip
    text = ClapTextConfig(
        vocab_size=99,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        projection_dim=24,
    )
    config = ClapConfig(text_config=text, audio_config=ClapAudioConfig(**sizes | audio), projection_dim=24)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(11)
        model: Any = ClapModel(config)
        for name, weight in model.named_parameters():  # of about unit gain: nothing is idle, so nothing hides a mistake
            if weight.ndim > 1:
                weight.normal_(0, 2.0 if "relative_position" in name else weight[0].numel() ** -0.5)
    return model.eval().requires_grad_(False)


def embeddings(model: Any, mels: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.get_audio_features(input_features=mels).pooler_output


def mels(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 1001, 64, generator=torch.Generator().manual_seed(3)) * 20 - 40


def stages(model: Any) -> list[bool]:
    return [isinstance(stage, Stage) for stage in model.audio_model.audio_encoder.layers]


@pytest.mark.parametrize("products", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_size_of_a_batch_has_the_librarys_embeddings(products: bool, count: int) -> None:
    theirs = network()
    ours = copy.deepcopy(theirs)
    quicken(ours, products=products)
    assert stages(ours) == [True, True, True]
    assert (embeddings(ours, mels(count)) - embeddings(theirs, mels(count))).abs().max() < 1e-5


@pytest.mark.parametrize("window", [4, 16])
def test_windows_of_other_sizes_have_the_librarys_embeddings(window: int) -> None:
    theirs = network(window_size=window)
    ours = copy.deepcopy(theirs)
    quicken(ours, products=False)
    assert stages(ours) == [True, True, True]  # a window as large as the last grid is not shifted
    assert (embeddings(ours, mels(2)) - embeddings(theirs, mels(2))).abs().max() < 1e-5


def test_windows_that_do_not_fit_are_left_to_the_library() -> None:
    theirs = network(window_size=7)
    ours = copy.deepcopy(theirs)
    quicken(ours, products=False)
    assert stages(ours) == [False, False, False]
    assert torch.equal(embeddings(ours, mels(1)), embeddings(theirs, mels(1)))
