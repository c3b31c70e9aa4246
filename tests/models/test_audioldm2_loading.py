"""A folder that is no whole checkpoint of AudioLDM 2 is refused, and what is wrong with it told by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audioldm2_loaded import model_of

from tonewheel.errors import ModelBroken

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def broken(folder: Path, tmp_path: Path, spoil: Callable[[Path], None], data: Path) -> str:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    spoil(copy)
    with pytest.raises(ModelBroken) as told:
        model_of(copy, data)
    return told.value.message


def _without(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(file)
        del tensors[name]
        save_file(tensors, file, metadata={"format": "pt"})

    return spoil


def _with_more(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "text_encoder_2" / "model.safetensors"
    save_file(load_file(file) | {"encoder.more": torch.zeros(3)}, file, metadata={"format": "pt"})


def _reshaped(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"decoder.conv_in.bias": torch.zeros(3)}, file, metadata={"format": "pt"})


def _of_another(folder: Path) -> None:
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "StableDiffusionPipeline"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "model_index.json").unlink(), ("model_index.json", "diffusers' layout")),
        (lambda f: (f / "model_index.json").write_text("{"), ("model_index.json cannot be read",)),
        (_of_another, ("StableDiffusionPipeline", "AudioLDM2Pipeline")),
        (lambda f: (f / "unet" / "config.json").unlink(), ("unet", "config.json is missing")),
        (
            lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
            ("vae", "diffusion_pytorch_model.safetensors", "missing"),
        ),
        (lambda f: _empty(f / "tokenizer_2"), ("tokenizer_2", "has no tokenizer.json")),
        (_without("conv_in.weight"), ("unet", "are missing: conv_in.weight")),
        (_with_more, ("text_encoder_2", "are not known: encoder.more")),
        (_reshaped, ("vae", "another shape", "decoder.conv_in.bias")),
        (
            lambda f: _cut(f / "vocoder" / "model.safetensors"),
            ("vocoder", "model.safetensors", "cannot be read"),
        ),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_told_by_name(
    audioldm2_checkpoint: Callable[[str], Path], tmp_path: Path, data: Path, spoil: Any, said: tuple[str, ...]
) -> None:
    message = broken(audioldm2_checkpoint("plain"), tmp_path, spoil, data)
    assert all(part in message for part in said), message


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:100])


def test_pickles_need_a_word(audioldm2_checkpoint: Callable[[str], Path], data: Path) -> None:
    with pytest.raises(ModelBroken, match="TONEWHEEL_PICKLED_MODELS"):
        model_of(audioldm2_checkpoint("old-bin"), data)


def test_a_folder_that_is_none(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ModelBroken, match="is no folder"):
        model_of(tmp_path / "nowhere", data)
