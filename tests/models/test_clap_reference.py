"""Our CLAP against transformers' own ClapModel on the same folder: the same numbers, in every layout."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tonewheel.models.base import Metadata, RunContext
from tonewheel.models.clap import FAMILY
from tonewheel.models.clap.contract import ClapRequest, ClapResponse
from tonewheel.models.clap.labels import GENRES, sentences
from tonewheel.settings import settings

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

RATE = 48_000
LAYOUTS = ("unfused", "unfused-old", "unfused-bin", "fused", "fused-old")
CARD = {"unfused": "clap-htsat-unfused", "fused": "clap-htsat-fused"}


class Reference:
    """transformers, used as its documentation says."""

    def __init__(self, folder: Path) -> None:
        from transformers import ClapModel, ClapProcessor

        self.model = ClapModel.from_pretrained(folder, local_files_only=True).eval()
        self.processor = ClapProcessor.from_pretrained(folder, local_files_only=True)

    @torch.inference_mode()
    def audio(self, samples: np.ndarray) -> np.ndarray:
        inputs = self.processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
        return self.model.get_audio_features(**inputs).pooler_output[0].numpy()

    @torch.inference_mode()
    def text(self, text: str) -> np.ndarray:
        return (
            self.model.get_text_features(**self.processor.tokenizer(text, return_tensors="pt")).pooler_output[0].numpy()
        )

    @torch.inference_mode()
    def probabilities(self, samples: np.ndarray, texts: list[str]) -> np.ndarray:
        """Softmax of 100 × cosine by the model's own forward."""
        words = self.processor.tokenizer(texts, padding=True, return_tensors="pt")
        sound = self.processor.feature_extractor(samples, sampling_rate=RATE, return_tensors="pt")
        out = self.model(**words, **sound)
        return (100 * out.audio_embeds @ out.text_embeds.T).softmax(-1)[0].numpy()


class Ours:
    """Our model, loaded as the service loads it."""

    def __init__(self, folder: Path, card: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(f"TONEWHEEL_{card.upper().replace('-', '_')}_PATH", str(folder))
        monkeypatch.setenv("TONEWHEEL_PICKLED_MODELS", card)
        settings.cache_clear()
        self.model = FAMILY.create(next(c for c in FAMILY.cards if c.id == card))
        self.model.load(RunContext())

    def ask(self, **fields: Any) -> dict[str, Any]:
        request = self.model.validate(ClapRequest.model_validate(fields))
        answer = dict(self.model.run(request, RunContext()).fields)
        told = Metadata(trace_id="", span_id="", request_id="", model="", elapsed_s=0, device="", dtype="")
        ClapResponse.model_validate(answer | {"metadata": told})
        return answer


Pair = tuple[Reference, Ours]


@pytest.fixture(scope="module")
def loaded(clap_checkpoint: Callable[[str], Path]) -> Iterator[Callable[[str], Pair]]:
    """Both, of a layout; loaded once."""
    pairs: dict[str, Pair] = {}

    def pair_of(layout: str) -> Pair:
        if layout not in pairs:
            folder = clap_checkpoint(layout)
            with pytest.MonkeyPatch.context() as patch:
                ours = Ours(folder, CARD[layout.partition("-")[0]], patch)
            settings.cache_clear()
            pairs[layout] = Reference(folder), ours
        return pairs[layout]

    yield pair_of
    for _, ours in pairs.values():
        ours.model.release()


@pytest.fixture(params=LAYOUTS)
def pair(request: pytest.FixtureRequest, loaded: Callable[[str], Pair]) -> Pair:
    return loaded(request.param)


@pytest.fixture(params=["unfused-old", "fused"])
def kind(request: pytest.FixtureRequest, loaded: Callable[[str], Pair]) -> Pair:
    """One of each kind, for what does not depend on the layout."""
    return loaded(request.param)


def music(seconds: float, seed: int = 3) -> np.ndarray:
    """A chord under noise that comes and goes, mono 48 kHz; quiet bands beside loud ones."""
    t = np.arange(round(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6)) / 8
    noise = 0.05 * np.random.default_rng(seed).standard_normal(len(t)) * (np.sin(2 * np.pi * 1.7 * t) > 0)
    return (chord * np.exp(-((t * 2) % 1)) + noise).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.mark.parametrize("seconds", [0.1, 4.9, 10.0])
def test_embeddings_are_the_librarys(pair: Pair, seconds: float) -> None:
    reference, ours = pair
    samples = music(seconds)
    mine = np.array(ours.ask(audio=wav(samples))["embeddings"])
    assert mine.shape == (512,)
    np.testing.assert_allclose(mine, reference.audio(samples), atol=1e-5)


def test_silence_and_a_pure_tone_too(kind: Pair) -> None:
    reference, ours = kind
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    for samples in (np.zeros(RATE, np.float32), tone):
        mine = np.array(ours.ask(audio=wav(samples))["embeddings"])
        np.testing.assert_allclose(mine, reference.audio(samples), atol=1e-5)


def test_text_embeddings_are_the_librarys(pair: Pair) -> None:
    reference, ours = pair
    texts = ["a dog", "slow piano music in an empty hall, recorded from afar", "ä 雨"]
    mine = ours.ask(texts=texts)["text_embeddings"]
    for text, embedding in zip(texts, mine, strict=True):  # read together, each as it is alone
        np.testing.assert_allclose(np.array(embedding), reference.text(text), atol=1e-5)


def test_zero_shot_probabilities_are_the_librarys(kind: Pair) -> None:
    reference, ours = kind
    samples, texts = music(3.0), ["a drum", "rain on a roof", "a choir of many people singing"]
    mine = ours.ask(audio=wav(samples), tasks=["zero_shot", "genre"], text_candidates=texts)
    expected = dict(zip(texts, reference.probabilities(samples, texts), strict=True))
    found = {p["label"]: p["score"] for p in mine["zero_shot"]["predictions"]}
    # 1e-5 of a cosine is 1e-3 of a logit of the contract's softmax, and so of a score.
    assert found == pytest.approx(expected, abs=2e-4)
    assert mine["zero_shot"]["top_label"] == max(expected, key=lambda label: expected[label])
    genres = dict(zip(GENRES, reference.probabilities(samples, sentences(GENRES)), strict=True))
    assert {p["label"]: p["score"] for p in mine["genre"]["predictions"]} == pytest.approx(genres, abs=2e-4)


def test_longer_recordings_are_the_mean_of_their_windows(kind: Pair) -> None:
    reference, ours = kind
    samples = music(23.5)
    windows = [samples[: 10 * RATE], samples[10 * RATE : 20 * RATE], samples[-10 * RATE :]]
    mean = np.mean([reference.audio(w) for w in windows], axis=0)
    first, again = ours.ask(audio=wav(samples)), ours.ask(audio=wav(samples))
    assert first["windows"] == 3
    assert first["duration"] == pytest.approx(23.5)
    np.testing.assert_allclose(np.array(first["embeddings"]), mean / np.linalg.norm(mean), atol=1e-5)
    assert first["embeddings"] == again["embeddings"]  # never a random excerpt


def test_a_file_in_company_is_heard_as_it_is_alone(kind: Pair) -> None:
    _, ours = kind
    files = [wav(music(s, seed)) for seed, s in enumerate((0.5, 12.0, 3.0))]
    together = ours.ask(batch=files, tasks=["embeddings", "mood"])["results"]
    for file, heard in zip(files, together, strict=True):
        alone = ours.ask(audio=file, tasks=["embeddings", "mood"])
        np.testing.assert_allclose(np.array(heard["embeddings"]), np.array(alone["embeddings"]), atol=1e-5)
        assert heard["mood"]["top_label"] == alone["mood"]["top_label"]


def test_stereo_is_mixed_down_and_other_rates_are_resampled(kind: Pair) -> None:
    from tonewheel.audio.resample import resample

    reference, ours = kind
    left, right = music(2.0, 1), music(2.0, 2)
    stereo = ours.ask(audio=wav(np.stack([left, right], axis=1)))
    np.testing.assert_allclose(np.array(stereo["embeddings"]), reference.audio((left + right) / 2), atol=1e-5)
    slow = wav(music(2.0)[: RATE // 2], 22_050)
    at_48 = resample(music(2.0)[: RATE // 2, None], 22_050, RATE)[:, 0]
    np.testing.assert_allclose(np.array(ours.ask(audio=slow)["embeddings"]), reference.audio(at_48), atol=1e-5)


def test_short_numbers_hear_nearly_the_same(clap_checkpoint: Callable[[str], Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONEWHEEL_CLAP_DTYPE", "bfloat16")
        ours = Ours(clap_checkpoint("unfused"), CARD["unfused"], patch)
    settings.cache_clear()
    reference = Reference(clap_checkpoint("unfused"))
    mine = np.array(ours.ask(audio=wav(music(4.9)))["embeddings"])
    assert float(mine @ reference.audio(music(4.9))) > 0.999
    assert ours.model.dtype == "bfloat16"
    ours.model.release()
