"""From the files of every official layout to samples: what transformers' `generate` makes, ours makes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import musicgen_reference as reference
import numpy as np
import pytest
import soundfile
import torch
from musicgen_checkpoints import RECIPES

from tonewheel.models import registry
from tonewheel.models.base import Audio, RunContext
from tonewheel.models.musicgen.model import Musicgen
from tonewheel.models.musicgen.request import MusicgenRequest
from tonewheel.settings import settings

PROMPT = "lo-fi with a slow beat"
CARDS = {"mono": "musicgen-small", "stereo": "musicgen-stereo-small", "melody": "musicgen-melody"}
Load = Callable[[str], Musicgen]


@pytest.fixture(scope="module")
def loaded(musicgen_checkpoint: Callable[[str], Path]) -> Iterator[Load]:
    """`loaded("mono-old")`: the model of that checkpoint, as the service loads it."""
    models: dict[str, Musicgen] = {}
    patch = pytest.MonkeyPatch()
    patch.setenv("TONEWHEEL_PICKLED_MODELS", ",".join(CARDS.values()))
    patch.setenv("TONEWHEEL_MUSICGEN_DTYPE", "float32")  # what transformers computes in, native kernels or not
    settings.cache_clear()

    def load(name: str) -> Musicgen:
        if name not in models:
            card = registry.card(CARDS[RECIPES[name].kind])
            variable = f"TONEWHEEL_{card.id.upper().replace('-', '_')}_PATH"
            with pytest.MonkeyPatch.context() as own:
                own.setenv(variable, str(musicgen_checkpoint(name)))
                models[name] = Musicgen(card)
                models[name].load(RunContext())
        return models[name]

    yield load
    for model in models.values():
        model.release()
    patch.undo()
    settings.cache_clear()


def made(model: Musicgen, **request: Any) -> np.ndarray[Any, Any]:
    """Samples [n, channels]."""
    order = model.validate(MusicgenRequest(**{"prompt": PROMPT, "duration": 1.0, "do_sample": False} | request))
    audio = model.run(order, RunContext()).audio
    assert audio is not None
    return audio.samples


def theirs(folder: Path, seconds: float, scale: float, **more: Any) -> np.ndarray[Any, Any]:
    """What transformers generates: tokenizer, text encoder, decoder and codec of its own."""
    from transformers import AutoTokenizer

    model = reference.reference(folder)
    tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)([PROMPT], return_tensors="pt")
    lag = max(
        k // 2 if model.decoder.config.audio_channels == 2 else k for k in range(model.decoder.config.num_codebooks)
    )
    with torch.inference_mode():
        wave = model.generate(
            **tokens, **more, do_sample=False, guidance_scale=scale, max_new_tokens=round(seconds * 50) + lag
        )
    return np.asarray(wave[0].T)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("name", ["mono", "stereo", "melody"])
def test_the_waveform_is_that_of_transformers(
    loaded: Load, musicgen_checkpoint: Callable[[str], Path], name: str, scale: float
) -> None:
    ours, wanted = made(loaded(name), guidance_scale=scale), theirs(musicgen_checkpoint(name), 1.0, scale)
    assert ours.shape == wanted.shape == (32_000, 2 if name == "stereo" else 1)
    assert np.abs(ours - wanted).max() < 1e-5  # as loud as 0.3; measured 2e-7
    assert wanted.std() > 0.01


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"mono", "stereo", "melody"}))
def test_every_official_layout_loads_to_the_same_music(
    loaded: Load, musicgen_checkpoint: Callable[[str], Path], name: str
) -> None:
    ours, wanted = made(loaded(name), duration=0.5), theirs(musicgen_checkpoint(name), 0.5, 3.0)
    assert np.abs(ours - wanted).max() < 1e-5
    assert loaded(name).dtype == "float32"  # half-precision files, too: a CPU is quicker with whole ones


def test_a_melody_is_heard_as_transformers_hears_it(loaded: Load, musicgen_checkpoint: Callable[[str], Path]) -> None:
    times = np.arange(64_000) / 32_000
    tune = np.concatenate([np.sin(2 * np.pi * f * times) for f in (261.63, 329.63, 392.0)]).astype(np.float32) * 0.5
    file = io.BytesIO()
    soundfile.write(file, tune, 32_000, format="WAV", subtype="FLOAT")
    ours = made(loaded("melody"), melody=file.getvalue())
    features = chroma_by_torch(torch.from_numpy(tune))
    wanted = theirs(musicgen_checkpoint("melody"), 1.0, 3.0, input_features=features[None])
    assert np.abs(ours - wanted).max() < 1e-5
    assert np.abs(ours - made(loaded("melody"))).max() > 0.01


def chroma_by_torch(wave: torch.Tensor) -> torch.Tensor:
    """The steps of transformers' feature extractor (which itself needs torchaudio), in torch: [frames, 12]."""
    from transformers.audio_utils import chroma_filter_bank

    filters = torch.from_numpy(chroma_filter_bank(num_frequency_bins=16_384, num_chroma=12, sampling_rate=32_000))
    spectrum = torch.stft(
        wave, 16_384, 4096, window=torch.hann_window(16_384), center=True, pad_mode="reflect", return_complex=True
    )
    classes = torch.einsum("cf,ft->ct", filters.float(), spectrum.abs().square() / 16_384)
    return torch.nn.functional.one_hot(classes.argmax(0), 12).float()


def test_continuing_a_file_is_what_transformers_does(loaded: Load, musicgen_checkpoint: Callable[[str], Path]) -> None:
    given = (np.random.default_rng(0).standard_normal(32_000) * 0.2).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, given, 32_000, format="WAV", subtype="FLOAT")
    ours = made(loaded("mono"), continue_from=file.getvalue())
    wave = torch.from_numpy(given)[None, None]
    mask = torch.ones(1, 32_000, dtype=torch.int64)
    wanted = theirs(musicgen_checkpoint("mono"), 1.0, 3.0, input_values=wave, padding_mask=mask)
    assert len(ours) == len(wanted) == 64_000
    assert np.abs(ours[32_000:] - wanted[32_000:]).max() < 1e-5
    assert np.array_equal(ours[: 32_000 - 640, 0], given[:-640])  # what was sent stays as it was


def test_streamed_pieces_are_the_whole(loaded: Load) -> None:
    heard: list[Audio] = []
    request = MusicgenRequest(prompt=PROMPT, duration=3.3, seed=4)
    model = loaded("stereo")
    result = model.run(model.validate(request), RunContext(on_audio=heard.append))
    assert result.audio is not None
    assert np.array_equal(np.concatenate([chunk.samples for chunk in heard]), result.audio.samples)
    assert 0 < len(heard[0].samples) <= 32_000
    assert len(heard) >= 3
