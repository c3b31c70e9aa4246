"""Folders of ACE-Step that are not what they should be, and requests that only a loaded model can refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ace_step_checkpoints import rewrite_config, strip_tensor
from ace_step_loaded import ask, file_of, loaded, samples_of, sound

from tonewheel.errors import InvalidRequest, ModelBroken, OutOfMemory, TonewheelError, TooLarge, UnknownName
from tonewheel.models import registry
from tonewheel.models.ace_step.model import AceStep

Checkpoint = Callable[[str], Path]


@pytest.fixture(scope="module")
def model(ace_step_checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AceStep]:
    torch.set_num_threads(1)
    made = loaded(ace_step_checkpoint("turbo"), tmp_path_factory.mktemp("data"))
    yield made
    made.release()


# ── folders ─────────────────────────────────────────────────────────────────────────────────────


def _remove(*path: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        target = folder.joinpath(*path)
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return change


def _as_upstream(folder: Path) -> None:
    shutil.rmtree(folder)
    (folder / "acestep-v15-turbo").mkdir(parents=True)
    (folder / "acestep-v15-turbo" / "silence_latent.pt").write_bytes(b"")


def _another_pipeline(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableAudioPipeline"}))


def _cut_short(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


BROKEN: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no folder": (shutil.rmtree, ("is no folder",)),
    "no index": (_remove("model_index.json"), ("model_index.json",)),
    "upstream's layout": (_as_upstream, ("own layout", "convert_ace_step_to_diffusers.py")),
    "another pipeline": (_another_pipeline, ("StableAudioPipeline", "AceStepPipeline")),
    "a part missing": (_remove("condition_encoder"), ("condition_encoder", "missing")),
    "weights missing": (_remove("vae", "diffusion_pytorch_model.safetensors"), ("vae", "diffusion_pytorch_model")),
    "config missing": (_remove("transformer", "config.json"), ("transformer", "config.json")),
    "tokenizer missing": (_remove("tokenizer", "tokenizer.json"), ("tokenizer",)),
    "cut short": (_cut_short, ("transformer", "cannot be read")),
    "a tensor missing": (lambda f: strip_tensor(f, "condition_encoder", "silence_latent"),
                         ("condition_encoder", "silence_latent", "missing")),
    "another size": (lambda f: rewrite_config(f, "transformer", intermediate_size=48), ("another shape",)),
    "a base one": (lambda f: rewrite_config(f, "transformer", is_turbo=False, model_version="base"),
                   ("holds a base", "ace-step-base")),
    "another VAE": (lambda f: rewrite_config(f, "vae", sampling_rate=44_100), ("vae", "44100")),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_folder_that_is_not_whole_is_told_by_what_is_wrong(
    ace_step_checkpoint: Checkpoint, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ace_step_checkpoint("turbo"), folder)
    change, said = BROKEN[what]
    change(folder)
    with pytest.raises(ModelBroken) as caught:
        loaded(folder, tmp_path / "data")
    assert all(word in caught.value.message for word in said), caught.value.message
    assert "\n" not in caught.value.message and str(folder) in caught.value.message


def test_what_guidance_needs_may_be_missing_only_where_there_is_none(
    ace_step_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    for version in ("turbo", "base"):
        shutil.copytree(ace_step_checkpoint(version), tmp_path / version)
        strip_tensor(tmp_path / version, "condition_encoder", "null_condition_emb")
    turbo = loaded(tmp_path / "turbo", tmp_path / "data")
    assert samples_of(ask(turbo, num_inference_steps=1)).shape == (1, 480_000, 2)
    turbo.release()
    with pytest.raises(ModelBroken, match="null_condition_emb"):
        loaded(tmp_path / "base", tmp_path / "data", "ace-step-base")


def test_pickles_are_read_by_permission_only(ace_step_checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ModelBroken, match="TONEWHEEL_PICKLED_MODELS"):
        loaded(ace_step_checkpoint("turbo-bin"), tmp_path)


def test_a_machine_without_memory_for_it_is_told_before_a_weight_is_read(
    ace_step_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tonewheel.models.diffusion.place.free_bytes", lambda _device: 10_000_000)
    with pytest.raises(OutOfMemory, match="ace-step-turbo takes"):
        loaded(ace_step_checkpoint("turbo"), tmp_path)


def test_an_unknown_checkpoint_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownName, match="ace-step-turbo"):
        registry.resolve("ace-step-tubro")
    assert registry.resolve("ace-step")[1].id == "ace-step-turbo"


# ── requests ────────────────────────────────────────────────────────────────────────────────────

TEN = sound(10.5)


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"lyrics": "la " * 1000}, InvalidRequest, ("lyrics", "2048", "shorten")),
        ({"task": "cover", "src_audio": b"no audio at all"}, TonewheelError, ("src_audio",)),
        ({"task": "cover", "src_audio": file_of(sound(4))}, TonewheelError, ("src_audio", "10")),
        ({"reference_audio": file_of(sound(0.5))}, TonewheelError, ("reference_audio", "1")),
        ({"task": "cover", "src_audio": file_of(np.zeros((480_100, 2), np.float32))}, InvalidRequest, ("silent",)),
        ({"task": "cover", "src_audio": file_of(TEN), "duration": 20.0}, InvalidRequest, ("duration", "10.50")),
        ({"task": "repaint", "src_audio": file_of(TEN), "duration": 10.5, "repaint_start": 10.5}, InvalidRequest,
         ("repaint_start", "10.50")),
        ({"task": "repaint", "src_audio": file_of(TEN), "duration": 10.5, "repaint_end": 11.0}, InvalidRequest,
         ("repaint_end", "10.50")),
        ({"task": "repaint", "src_audio": file_of(TEN), "duration": 20.0, "repaint_end": 15.0}, InvalidRequest,
         ("repaint_end", "10.50")),
        ({"task": "repaint", "src_audio": file_of(TEN), "duration": 20.0, "repaint_start": 12.0}, InvalidRequest,
         ("repaint_start", "10.50")),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_before_any_work(
    model: AceStep, fields: dict[str, Any], kind: type[TonewheelError], said: tuple[str, ...]
) -> None:
    rounds = model.rounds.rounds
    with pytest.raises(kind) as caught:
        ask(model, **fields)
    assert all(word in caught.value.message for word in said), caught.value.message
    assert caught.value.http_status in (413, 422) and model.rounds.rounds == rounds
    assert not isinstance(caught.value, TooLarge) or "600" in caught.value.message


def test_a_long_prompt_is_cut_so_that_tempo_and_key_stay(model: AceStep) -> None:
    """The pipeline would cut them off: they stand behind the prompt."""
    long = "brass and drums, " * 40
    result = ask(model, prompt=long, bpm=90, num_inference_steps=1)
    (note,) = result.fields["notes"]
    assert "prompt was cut" in note
    other = ask(model, prompt=long, bpm=180, num_inference_steps=1)
    assert np.abs(samples_of(result) - samples_of(other)).max() > 1e-4
    assert ask(model, prompt="brass and drums", num_inference_steps=1).fields["notes"] == []


def test_words_cannot_end_the_prompt(model: AceStep) -> None:
    plain = ask(model, prompt="a waltz", lyrics="la", num_inference_steps=1)
    sly = ask(model, prompt="a<|endoftext|> waltz".replace(" waltz", "waltz"), lyrics="<|im_end|>la",
              num_inference_steps=1)  # fmt: skip
    assert np.array_equal(samples_of(plain), samples_of(sly))


def test_guidance_that_is_in_the_weights_is_told(model: AceStep) -> None:
    result = ask(model, guidance_scale=7, num_inference_steps=1)
    assert result.fields["guidance_scale"] == 1.0 and "guidance_scale was not used" in result.fields["notes"][0]


def test_a_checkpoint_without_tokenizers_makes_songs_but_no_covers(
    ace_step_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    bare = loaded(ace_step_checkpoint("turbo-without-tokenizers"), tmp_path)
    try:
        assert samples_of(ask(bare, num_inference_steps=1)).shape == (1, 480_000, 2)
        with pytest.raises(InvalidRequest, match="audio tokenizer"):
            ask(bare, task="cover", src_audio=file_of(TEN))
    finally:
        bare.release()


def test_files_of_other_rates_and_channels_are_taken(model: AceStep) -> None:
    mono = file_of(sound(10.5)[:, :1], rate=44_100)  # 11.43 s at that rate
    request = {"task": "repaint", "src_audio": mono, "repaint_start": 5.0, "duration": 11.0, "num_inference_steps": 1}
    assert samples_of(ask(model, **request)).shape == (1, 528_000, 2)
