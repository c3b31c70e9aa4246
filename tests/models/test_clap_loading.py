"""A CLAP folder that is not whole is refused by name; nothing is made up, fetched or run."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tonewheel.errors import InvalidRequest, ModelBroken, NotPulled
from tonewheel.models.clap.contract import ClapRequest
from tonewheel.models.clap.windows import Windows, joined

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
np = pytest.importorskip("numpy")

NAME = "clap-htsat-unfused"


@pytest.fixture
def folder(clap_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(clap_checkpoint("unfused-old"), tmp_path / "model"))


def load(folder: Path, **options: bool) -> object:
    from tonewheel.models.clap.checkpoint import load

    return load(folder, NAME, **options)


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_a_missing_tensor_is_named_and_not_made_up(folder: Path) -> None:
    edit(folder, lambda tensors: tensors.pop("audio_projection.linear1.weight"))
    with pytest.raises(ModelBroken, match=r"are missing: audio_projection\.linear1\.weight"):
        load(folder)


def test_a_tensor_that_belongs_nowhere_is_named(folder: Path) -> None:
    edit(folder, lambda tensors: tensors.update({"audio_model.extra.weight": torch.zeros(3)}))
    with pytest.raises(ModelBroken, match=r"belong to no part of CLAP: audio_model\.extra\.weight"):
        load(folder)


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    edit(folder, lambda tensors: tensors.update({"audio_projection.linear1.bias": torch.zeros(3)}))
    with pytest.raises(ModelBroken, match=r"audio_projection\.linear1\.bias"):
        load(folder)


def test_numbers_that_are_none_are_refused(folder: Path) -> None:
    edit(folder, lambda tensors: tensors["audio_projection.linear1.bias"].fill_(float("nan")))
    with pytest.raises(ModelBroken, match="no numbers"):
        load(folder)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["model.safetensors"], "no weights"),
        (["preprocessor_config.json"], "preprocessor_config"),
        (["tokenizer.json", "vocab.json"], "no tokenizer"),
    ],
)
def test_a_missing_file_is_named(folder: Path, gone: list[str], said: str) -> None:
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(ModelBroken, match=said):
        load(folder)


def test_an_empty_place_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotPulled, match=f"tonewheel pull {NAME}"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("config", ["", "{", "[]", json.dumps({"model_type": "bert"}), json.dumps({})])
def test_another_models_folder_is_refused(folder: Path, config: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelBroken):
        load(folder)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        load(folder)


def test_a_pickle_needs_permission_and_runs_nothing(clap_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clap_checkpoint("unfused-bin"), tmp_path / "model"))
    with pytest.raises(ModelBroken, match="TONEWHEEL_PICKLED_MODELS"):
        load(folder)
    assert load(folder, allow_pickle=True)
    mark = tmp_path / "it ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (mark,))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        load(folder, allow_pickle=True)
    assert not mark.exists()


@pytest.mark.parametrize(("samples", "count"), [(1, 1), (99, 1), (100, 1), (101, 2), (200, 2), (250, 3), (1000, 10)])
def test_windows_cover_every_sample_and_are_full(samples: int, count: int) -> None:
    wave = np.arange(samples, dtype=np.float32)
    windows = Windows(wave, 100, 10)
    assert len(windows) == count
    assert {float(v) for w in windows for v in w} == set(wave.tolist())
    assert all(len(w) == min(100, samples) for w in windows)
    assert windows.duration_s == samples / 10


def test_joined_embeddings_have_length_one() -> None:
    assert float(np.linalg.norm(joined(np.eye(4, dtype=np.float32)))) == pytest.approx(1)
    assert joined(np.zeros((2, 4), np.float32)).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "audio"),
        ({"audio": b"x", "tasks": ["similarity"]}, "audio_b"),
        ({"audio": b"x", "tasks": ["zero_shot"]}, "text_candidates"),
        ({"audio": b"x", "batch": [b"x"]}, "batch"),
        ({"texts": ["a"], "tasks": ["genre"]}, "audio"),
        ({"texts": ["a"], "text": "b"}, "audio"),
    ],
)
def test_what_a_task_needs_must_be_there(body: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ClapRequest.model_validate(body)
    assert caught.value.param == param


def test_a_task_asked_twice_is_done_once() -> None:
    assert ClapRequest.model_validate({"audio": b"x", "tasks": ["mood", "mood", "genre"]}).tasks == ["mood", "genre"]
    assert ClapRequest.model_validate({"audio": b"x"}).tasks == ["embeddings"]
