"""HeartTranscriptor on tiny random Whispers: what transformers writes of the same recording, of any length."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import torch
import whisper_checkpoints
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from tonewheel.errors import Cancelled, InvalidRequest, ModelBroken, NotPulled
from tonewheel.models.base import Progress, RunContext
from tonewheel.models.heart_transcriptor import FAMILY
from tonewheel.models.heart_transcriptor import model as transcribing
from tonewheel.models.heart_transcriptor.checkpoint import Whisper, load
from tonewheel.models.heart_transcriptor.contract import TranscriptionRequest
from tonewheel.models.heart_transcriptor.frontend import LogMel
from tonewheel.models.heart_transcriptor.memory import Shape, memory_bytes
from tonewheel.models.heart_transcriptor.model import Transcriptor

RATE = 16_000
CARD = FAMILY.cards[0]
PATH = "TONEWHEEL_HEART_TRANSCRIPTOR_PATH"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whisper_checkpoints.make(tmp_path_factory.mktemp("whisper") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Transcriptor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PATH, str(folder))
        made = FAMILY.create(CARD)
        made.load(RunContext())
        assert isinstance(made, Transcriptor)
        yield made
    made.release()


def song(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """A voice of sorts: a gliding tone that swells, and noise."""
    t = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(len(t))
    tone = np.sin(2 * np.pi * (200 + 100 * np.sin(t)) * t) * (0.6 + 0.4 * np.sin(3 * t))
    return (0.3 * tone + 0.05 * noise).astype(np.float32)


# ── the same as transformers ──


@pytest.mark.parametrize("seconds", [0.1, 29.995, 30.0, 47.313, 121.0])
def test_spectra_are_the_feature_extractor_s_at_every_length(folder: Path, seconds: float) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    samples = song(seconds)
    padding = "max_length" if seconds < 30 else "longest"
    wanted = extractor(samples, sampling_rate=RATE, truncation=False, padding=padding, return_tensors="pt")
    found = LogMel(extractor)(samples)
    assert found.shape == wanted["input_features"].shape
    torch.testing.assert_close(found, wanted["input_features"], atol=2e-5, rtol=0)


def reference(folder: Path, samples: NDArray[np.float32], language: str | None) -> list[tuple[float, float, str]]:
    """What transformers' own classes write, with the settings of HeartTranscriptor's authors."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    network = WhisperForConditionalGeneration.from_pretrained(folder)
    processor = WhisperProcessor.from_pretrained(folder)
    inputs = processor.feature_extractor(
        samples, sampling_rate=RATE, truncation=False, padding="longest" if len(samples) > 30 * RATE else "max_length",
        return_tensors="pt", return_attention_mask=True,
    )  # fmt: skip
    torch.manual_seed(0)
    told = network.generate(
        **inputs, language=language, task="transcribe", return_timestamps=True, return_segments=True,
        max_new_tokens=256, num_beams=2, temperature=(0.0, 0.1, 0.2, 0.4), compression_ratio_threshold=1.8,
        logprob_threshold=-1.0, no_speech_threshold=0.4, condition_on_prev_tokens=False,
    )["segments"][0]  # fmt: skip
    words = (processor.tokenizer.decode(s["tokens"], skip_special_tokens=True).strip() for s in told)
    limit = len(samples) / RATE
    times = ((round(float(s["start"]), 2), round(min(float(s["end"]), limit), 2)) for s in told)
    return [(start, end, text) for (start, end), text in zip(times, words, strict=True) if text and start < limit]


@pytest.mark.parametrize(("seconds", "language"), [(5, None), (30, None), (75.3, None), (75.3, "ja")])
def test_words_and_times_are_those_of_transformers(
    model: Transcriptor, folder: Path, seconds: float, language: str | None
) -> None:
    samples = song(seconds)
    heard = model.transcribe(samples, language)
    found = [(s["start_s"], s["end_s"], s["text"]) for s in heard["segments"]]
    assert found == reference(folder, samples, language) and found
    assert heard["text"] == "\n".join(text for *_, text in found)
    assert heard["language"] in whisper_checkpoints.LANGUAGES and heard["language"] == (language or heard["language"])
    assert found[-1][1] > seconds - 30  # nothing is lost at the end


def test_the_text_is_that_of_the_recognition_pipeline(
    model: Transcriptor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without second attempts, which are drawn: the pipeline takes a random number of its own before them.
    monkeypatch.setitem(transcribing._AS_PUBLISHED, "temperature", 0.0)
    from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor, pipeline

    processor = AutoProcessor.from_pretrained(folder)
    hears = pipeline(
        "automatic-speech-recognition", model=AutoModelForSpeechSeq2Seq.from_pretrained(folder),
        tokenizer=processor.tokenizer, feature_extractor=processor.feature_extractor,
    )  # fmt: skip
    samples = song(30)
    said = hears(
        {"raw": samples, "sampling_rate": RATE}, return_timestamps=True,
        generate_kwargs={
            "language": "en", "task": "transcribe", "max_new_tokens": 256, "num_beams": 2,
            "temperature": 0.0, "compression_ratio_threshold": 1.8, "logprob_threshold": -1.0,
            "no_speech_threshold": 0.4, "condition_on_prev_tokens": False,
        },
    )  # fmt: skip
    heard = model.transcribe(samples, "en")
    # It also tells what begins after the end of the recording; that nothing sounds there is known here.
    assert re.sub(r"\s", "", said["text"]).startswith(heard["text"].replace("\n", ""))
    assert len(heard["text"]) > 2


def test_the_same_recording_has_the_same_words_whatever_was_drawn_before(model: Transcriptor) -> None:
    samples = song(40, seed=3)
    first = model.transcribe(samples)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert model.transcribe(samples) == first
    assert torch.equal(torch.get_rng_state(), state)  # and draws nothing from anybody else's numbers


# ── silence, cancelling, memory ──


@pytest.mark.parametrize("samples", [np.zeros(50 * RATE), np.full(RATE, 1e-4)], ids=["zeros", "hum at -80 dBFS"])
def test_silence_has_no_words_and_no_language(model: Transcriptor, samples: NDArray[np.float64]) -> None:
    said = model.transcribe(samples.astype(np.float32))
    assert said == {"text": "", "language": None, "segments": []}


def test_no_words_are_heard_where_there_is_silence(model: Transcriptor) -> None:
    alone, silence = model.transcribe(song(30)), np.zeros(40 * RATE, np.float32)
    said = model.transcribe(np.concatenate([silence, song(30), silence]))
    assert said["segments"] and all(s["end_s"] > 39 and s["start_s"] < 71 for s in said["segments"])
    assert said["language"] in whisper_checkpoints.LANGUAGES and alone["segments"]
    gap = model.transcribe(np.concatenate([song(2), silence, song(2)]), "en")
    assert not [s for s in gap["segments"] if s["start_s"] > 2.1 and s["end_s"] < 41.9]


def test_it_stops_soon_when_it_is_told_to_and_tells_how_far_it_is(model: Transcriptor) -> None:
    told: list[Progress] = []
    asked = 0

    class Impatient(RunContext):
        def check_cancelled(self) -> None:
            nonlocal asked
            asked += 1
            if asked == 12:
                self.cancel()
            super().check_cancelled()

    with pytest.raises(Cancelled):
        model.transcribe(song(90), context=Impatient())
    assert asked == 12  # at the very next token
    model.transcribe(song(75.3), context=RunContext(on_progress=told.append))
    fractions = [p.fraction for p in told]
    assert len(told) >= 3 and fractions == sorted(fractions) and fractions[-1] < 1


def test_what_a_window_s_tokens_scored_is_not_kept_until_the_end(folder: Path) -> None:
    loaded = load(folder, CARD.id, device="cpu", dtype=torch.float32)
    spectra = LogMel(loaded.extractor)(song(75))
    said = loaded.network.generate(
        spectra, attention_mask=torch.ones(1, spectra.shape[-1], dtype=torch.long), return_timestamps=True,
        return_segments=True, logprob_threshold=-1.0, no_speech_threshold=0.4, temperature=(0.0, 0.1), language="en",
        task="transcribe", max_new_tokens=64,
    )  # fmt: skip
    assert said["segments"][0] and all(segment["result"] == {} for segment in said["segments"][0])


def test_memory_is_reckoned_from_the_shapes_of_the_checkpoint(
    model: Transcriptor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = json.loads((folder / "config.json").read_text())
    shape = Shape(**{name: config[name] for name in Shape.__dataclass_fields__})
    network = model._network
    assert isinstance(network, Whisper)
    assert shape.parameters == sum(p.numel() for p in network.parameters())
    assert Shape().parameters == pytest.approx(763.9e6, rel=1e-3)  # Whisper medium, as its authors count it
    monkeypatch.setenv(PATH, str(folder))
    small = memory_bytes(CARD, None)
    assert memory_bytes(CARD, TranscriptionRequest(audio="QUJD")) > small  # type: ignore[arg-type]
    monkeypatch.setenv(PATH, "/nowhere")
    assert memory_bytes(CARD, None) > small + 3e9


# ── what is refused ──


def test_a_language_it_does_not_know_is_refused_with_those_it_does(model: Transcriptor) -> None:
    with pytest.raises(InvalidRequest, match=r"xx is not known.*known: en, es, ja, ko, zh"):
        model.validate(TranscriptionRequest(audio="QUJD", language="xx"))  # type: ignore[arg-type]
    assert model.validate(TranscriptionRequest(audio="QUJD", language="EN")).language == "en"  # type: ignore[arg-type]


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _tensors(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})

    return rewrite


def _said(name: str, **changes: Any) -> Callable[[Path], None]:
    return lambda folder: whisper_checkpoints.rewrite_json(folder / name, **changes)


ONE = "model.encoder.layers.0.fc1.weight"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("model.safetensors"), "has no weights"),
        (_without("preprocessor_config.json"), "neither preprocessor_config.json nor"),
        (_without("tokenizer.json"), "neither tokenizer.json nor vocab.json"),
        (_said("config.json", model_type="clap"), "is not a Whisper: its config.json is that of clap"),
        (_said("generation_config.json", no_timestamps_token_id=None), "does not say no_timestamps_token_id"),
        (_said("preprocessor_config.json", sampling_rate=8000), "hears 8000 Hz"),
        (_tensors(lambda t: t.pop(ONE)), f"are missing: {ONE}"),
        (_tensors(lambda t: t.update({ONE: t[ONE][:-1].clone()})), f"have another shape: {ONE}"),
        (_tensors(lambda t: t.update({"model.extra": torch.zeros(1)})), "belong to no part of Whisper: model.extra"),
        (_tensors(lambda t: t[ONE].fill_(float("nan"))), f"{ONE} holds numbers that are not finite"),
    ],
)  # fmt: skip
def test_a_broken_folder_is_refused_by_what_is_wrong(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], words: str
) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    spoil(broken)
    monkeypatch.setenv(PATH, str(broken))
    with pytest.raises(ModelBroken, match=re.escape(words)):
        FAMILY.create(CARD).load(RunContext())


def test_an_empty_place_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, str(tmp_path))
    with pytest.raises(NotPulled, match="tonewheel pull heart-transcriptor"):
        FAMILY.create(CARD).load(RunContext())
