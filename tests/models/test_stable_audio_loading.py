"""A Stable Audio folder that is not whole is refused by name, before any work; nothing is made up, fetched or run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stable_audio_checkpoints import OPEN_FRAMES, OPEN_HOP, RATE, make_raw
from stable_audio_loaded import Loaded, ask, file_of, loaded, recording

from tonewheel.errors import InvalidRequest, ModelBroken, OutOfMemory, UnknownName, UnreadableAudio
from tonewheel.models import registry
from tonewheel.models.stable_audio.request import StableAudioRequest

OPEN, MEDIUM, BASE = "stable-audio-open", "stable-audio-3-medium", "stable-audio-3-medium-base"
WEIGHTS = "diffusion_pytorch_model.safetensors"
Checkpoints = Callable[[str], Path]


@pytest.fixture
def folder(stable_audio_checkpoint: Checkpoints, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stable_audio_checkpoint("open"), tmp_path / "model"))


@pytest.fixture
def third(stable_audio_checkpoint: Checkpoints, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stable_audio_checkpoint("sa3"), tmp_path / "model"))


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Loading is refused with ModelBroken: its message."""

    def message(folder: Path, model: str = OPEN, **env: str) -> str:
        with pytest.raises(ModelBroken) as told:
            loaded(folder, tmp_path / "data", model, **env)
        assert "\n" not in told.value.message
        return told.value.message

    return message


@pytest.fixture(scope="module")
def opened(stable_audio_checkpoint: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    model = loaded(stable_audio_checkpoint("open"), tmp_path_factory.mktemp("data"), OPEN)
    yield model
    model.release()


@pytest.fixture(scope="module")
def medium(stable_audio_checkpoint: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    model = loaded(stable_audio_checkpoint("sa3"), tmp_path_factory.mktemp("data"), MEDIUM)
    yield model
    model.release()


def edit(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})


# ── folders ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "gone",
    ["model_index.json", "transformer", f"transformer/{WEIGHTS}", "transformer/config.json", f"vae/{WEIGHTS}",
     "text_encoder/model.safetensors", "projection_model/config.json", "scheduler/scheduler_config.json", "tokenizer"],
)  # fmt: skip
def test_a_missing_file_is_named(folder: Path, refused: Callable[..., str], gone: str) -> None:
    path = folder / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = refused(folder)
    assert Path(gone).name in said and str(folder) in said


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is no folder" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["transformer", "vae", "projection_model", "text_encoder"])
def test_a_missing_tensor_is_named_and_not_made_up(folder: Path, refused: Callable[..., str], part: str) -> None:
    file = next((folder / part).glob("*.safetensors"))
    name = sorted(load_file(file))[-1]
    edit(file, lambda tensors: tensors.pop(name))
    said = refused(folder)
    assert "missing" in said and part in said and name.rpartition(".")[2] in said


def test_a_tensor_of_another_shape_is_named(folder: Path, refused: Callable[..., str]) -> None:
    edit(folder / "transformer" / WEIGHTS, lambda tensors: tensors.update({"proj_in.weight": torch.zeros(3, 3)}))
    assert "proj_in.weight" in refused(folder)


def test_a_tensor_that_belongs_nowhere_is_named(third: Path, refused: Callable[..., str]) -> None:
    edit(third / "vae" / WEIGHTS, lambda tensors: tensors.update({"decoder.more": torch.zeros(3)}))
    assert "decoder.more" in refused(third, MEDIUM)


def test_a_file_that_was_cut_short_is_named(folder: Path, refused: Callable[..., str]) -> None:
    file = folder / "vae" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])
    assert str(file) in refused(folder)


def test_weights_that_are_not_numbers_never_become_a_song(folder: Path, tmp_path: Path) -> None:
    edit(folder / "transformer" / WEIGHTS, lambda tensors: tensors["proj_out.weight"].fill_(float("nan")))
    with pytest.raises(ModelBroken, match="is not finite"):
        loaded(folder, tmp_path / "data", OPEN)


def test_pickles_are_read_by_permission_only_and_never_run(
    stable_audio_checkpoint: Checkpoints, tmp_path: Path, refused: Callable[..., str]
) -> None:
    folder = Path(shutil.copytree(stable_audio_checkpoint("open-bin"), tmp_path / "model"))
    assert "TONEWHEEL_PICKLED_MODELS" in refused(folder)

    class Hostile:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"decoder.conv1.bias": Hostile()}))
    assert "vae" in refused(folder, TONEWHEEL_PICKLED_MODELS=OPEN)
    assert not (tmp_path / "ran").exists()


def test_another_pipeline_is_not_taken_for_this_one(
    stable_audio_checkpoint: Checkpoints, folder: Path, refused: Callable[..., str]
) -> None:
    assert "StableAudio3Pipeline" in refused(stable_audio_checkpoint("sa3"), OPEN)
    assert "StableAudioPipeline" in refused(stable_audio_checkpoint("open"), MEDIUM)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": ["os", "system"]}))
    assert "system" in refused(folder)


def test_the_base_model_and_the_distilled_one_are_told_apart(
    stable_audio_checkpoint: Checkpoints, refused: Callable[..., str]
) -> None:
    assert BASE in refused(stable_audio_checkpoint("sa3-base"), MEDIUM)
    assert f"may be {MEDIUM}" in refused(stable_audio_checkpoint("sa3"), BASE)


@pytest.mark.parametrize(
    ("kind", "model", "converter"),
    [("open", OPEN, "convert_stable_audio.py"), ("sa3", MEDIUM, "convert_stable_audio_3_to_diffusers.py")],
)
def test_stabilitys_own_layout_is_recognised_and_its_converter_named(
    tmp_path: Path, refused: Callable[..., str], kind: Any, model: str, converter: str
) -> None:
    folder = make_raw(tmp_path / "raw", kind)
    said = refused(folder, model)
    assert f"scripts/{converter}" in said and "model_config.json" in said
    (folder / "model_config.json").unlink()
    assert converter not in refused(folder, model)  # some other file of weights


def test_an_unknown_checkpoint_is_told_with_its_nearest() -> None:
    with pytest.raises(UnknownName, match=OPEN):
        registry.resolve("stable-audio-open-1.0")
    assert registry.resolve("stable-audio")[1].id == OPEN


def test_too_little_memory_is_told_before_any_weight_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tonewheel.models.diffusion.place.free_bytes", lambda _device: 10_000_000)
    monkeypatch.setattr("tonewheel.models.diffusion.checkpoint.Checkpoint.load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(OutOfMemory, match=r"GB"):
        loaded(folder, tmp_path / "data", OPEN)


# ── requests that only the loaded model can refuse ──────────────────────────────────────────────


def test_a_waveform_for_which_memory_is_short_is_refused(opened: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "row_bytes", lambda _recipe: 1 << 60)
    with pytest.raises(OutOfMemory, match="ask for less audio"):
        opened.validate(StableAudioRequest(prompt="rain", duration=1))


def test_no_checkpoint_makes_more_than_it_can(opened: Loaded, medium: Loaded) -> None:
    longest = OPEN_FRAMES * OPEN_HOP / RATE
    opened.validate(StableAudioRequest(prompt="rain", duration=longest))
    with pytest.raises(InvalidRequest, match=r"makes 1 to 3\.01859 s") as refused:
        opened.validate(StableAudioRequest(prompt="rain", duration=longest + 0.01))
    assert refused.value.param == "duration"
    medium.validate(StableAudioRequest(prompt="rain", duration=380))


def test_open_is_held_to_the_47_seconds_of_its_contract(stable_audio_checkpoint: Checkpoints, tmp_path: Path) -> None:
    model = loaded(stable_audio_checkpoint("open-47"), tmp_path / "data", OPEN)
    try:
        model.validate(StableAudioRequest(prompt="rain", duration=47))
        with pytest.raises(InvalidRequest, match="1 to 47 s"):
            model.validate(StableAudioRequest(prompt="rain", duration=47.01))
    finally:
        model.release()


@pytest.mark.parametrize("name", ["init_audio", "inpaint_audio"])
def test_open_takes_no_recordings(opened: Loaded, name: str) -> None:
    with pytest.raises(InvalidRequest, match="Stable Audio 3 does") as refused:
        ask(opened, **{name: file_of(recording(1.0))})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("fields", "said", "param"),
    [
        ({"init_audio": 2.0, "inpaint_audio": 2.0}, "not both", "inpaint_audio"),
        ({"init_audio": 0.5}, "lasts 0.5 s", "init_audio"),
        ({"inpaint_audio": 2.0, "inpaint_start": 0.5, "inpaint_end": 0.5}, "nothing to be made anew", "inpaint_start"),
        ({"inpaint_audio": 2.0, "inpaint_start": 1.5, "inpaint_end": 0.5}, "nothing to be made anew", "inpaint_start"),
        ({"inpaint_audio": 2.0, "inpaint_start": 3.0}, "nothing to be made anew", "inpaint_start"),
        ({"inpaint_audio": 2.0}, "nothing to be made anew", "inpaint_start"),
        ({"inpaint_audio": 2.0, "inpaint_end": 3.0, "duration": 2.5}, "but duration is 2.5 s", "inpaint_end"),
        ({"inpaint_audio": 2.0, "inpaint_start": 2.5, "duration": 4.0}, "from there to the end", "inpaint_end"),
        ({"inpaint_audio": 2.0, "inpaint_start": 1.0, "inpaint_end": 1.5, "duration": 4.0}, "the end", "inpaint_end"),
    ],
)  # fmt: skip
def test_recordings_that_cannot_be_used_are_refused(
    medium: Loaded, fields: dict[str, float], said: str, param: str
) -> None:
    given = {name: file_of(recording(value)) if name.endswith("audio") else value for name, value in fields.items()}
    with pytest.raises(InvalidRequest, match=said) as refused:
        ask(medium, **({"duration": None} | given))
    assert refused.value.param == param


def test_what_is_no_sound_is_refused(medium: Loaded) -> None:
    with pytest.raises(UnreadableAudio) as refused:
        ask(medium, init_audio=b"no sound at all")
    assert refused.value.param == "init_audio"


def test_what_was_not_used_is_told(opened: Loaded, medium: Loaded) -> None:
    words = "wide and slow " * 40
    (cut,) = ask(opened, prompt=words).fields["notes"]
    assert cut.startswith("prompt was cut after 128 tokens")
    (unused,) = ask(opened, negative_prompt="hiss", guidance_scale=1).fields["notes"]
    assert "negative_prompt was not used" in unused
    edited = ask(medium, init_audio=file_of(recording(1.2)), duration=None, guidance_scale=4, negative_prompt="hiss")
    assert {note.partition(" ")[0] for note in edited.fields["notes"]} == {"guidance_scale", "negative_prompt"}
    assert ask(medium, prompt=words).fields["notes"][0].startswith("prompt was cut after 256 tokens")
