"""MusicGen's files: found, read, and when something is wrong named."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tonewheel.errors import ModelBroken
from tonewheel.models.musicgen.checkpoint import Checkpoint
from tonewheel.models.musicgen.codec import Codec
from tonewheel.models.musicgen.text import TextEncoder, load_tokenizer

CPU = torch.device("cpu")
Copy = Callable[[str], Path]


@pytest.fixture
def copy(musicgen_checkpoint: Callable[[str], Path], tmp_path: Path) -> Copy:
    """A copy of a checkpoint, to break."""
    return lambda name: Path(shutil.copytree(musicgen_checkpoint(name), tmp_path / name))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors (None = take out) of a single file; dots of names are written `__`."""
    file = folder / "model.safetensors"
    held = load_file(file)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del held[key]
        else:
            held[key] = tensor
    save_file(held, file)


def broken(folder: Path, **options: bool) -> str:
    with pytest.raises(ModelBroken) as caught:
        Checkpoint.open(folder, **options)
    return caught.value.message


def test_every_tensor_of_every_layout_is_found(musicgen_checkpoint: Callable[[str], Path]) -> None:
    names = {
        layout: Checkpoint.open(musicgen_checkpoint(layout), allow_pickle=True).names("decoder.")
        for layout in ("mono", "mono-old", "mono-sharded", "mono-sharded-bin", "mono-spiece")
    }
    assert len(names["mono"]) > 30
    assert all(found == names["mono"] for found in names.values())  # kept tables of positions are not needed


def test_shards_and_single_files_hold_the_same(musicgen_checkpoint: Callable[[str], Path]) -> None:
    for layout in ("mono-old", "mono-sharded", "mono-sharded-bin"):
        one = dict(Checkpoint.open(musicgen_checkpoint("mono")).tensors("decoder."))
        other = dict(Checkpoint.open(musicgen_checkpoint(layout), allow_pickle=True).tensors("decoder."))
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_tensors_become_the_type_asked_for_one_by_one(musicgen_checkpoint: Callable[[str], Path]) -> None:
    checkpoint = Checkpoint.open(musicgen_checkpoint("mono-half"))
    kinds = {t.dtype for _, t in checkpoint.tensors("decoder.", "enc_to_dec_proj.", dtype=torch.float32)}
    assert kinds == {torch.float32}
    with checkpoint.reader("enc_to_dec_proj.", device=CPU, dtype=torch.bfloat16) as reader:
        assert reader("enc_to_dec_proj.weight").dtype is torch.bfloat16
        assert reader.left == ["enc_to_dec_proj.bias"]
        with pytest.raises(ModelBroken, match=r"no tensor decoder\.nothing"):
            reader("decoder.nothing")


def test_pickles_are_read_only_when_allowed_and_run_nothing(copy: Copy, tmp_path: Path) -> None:
    folder = copy("mono-old")
    assert "pickles only" in broken(folder)

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "went off",)  # type: ignore[return-value]

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"decoder.x": Bomb()}))
    assert "cannot be read as tensors only" in broken(folder, allow_pickle=True)
    assert not (tmp_path / "went off").exists()


def test_what_is_no_musicgen_folder_is_told_so(copy: Copy, tmp_path: Path) -> None:
    assert "is no folder" in broken(tmp_path / "nowhere")
    assert "it has no config.json" in broken(tmp_path)
    folder = copy("mono")
    config = json.loads((folder / "config.json").read_text())
    for changes, said in (
        ({"model_type": "t5"}, "is that of t5"),
        ({"decoder": None}, "has no decoder"),
        ({"text_encoder": {"model_type": "bert"}}, "text encoder is bert"),
        ({"audio_encoder": {"model_type": "dac"}}, "audio codec is dac"),
        ({"audio_encoder": config["audio_encoder"] | {"sampling_rate": 24_000}}, "24000 Hz"),
        ({"audio_encoder": config["audio_encoder"] | {"normalize": True}}, "normalisation"),
        ({"audio_encoder": config["audio_encoder"] | {"codebook_size": 128}}, "other codebooks"),
    ):
        (folder / "config.json").write_text(json.dumps(config | changes))
        assert said in broken(folder)
    (folder / "config.json").write_text("{")
    assert "cannot be read" in broken(folder)


def test_missing_weights_are_named(copy: Copy) -> None:
    folder = copy("mono-sharded")
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "model-00002-of-00003.safetensors is missing" in broken(folder)
    folder = copy("mono")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:1000])
    assert "cannot be read" in broken(folder)
    (folder / "model.safetensors").unlink()
    assert "has no weights" in broken(folder)


def test_missing_unknown_and_misshapen_tensors_are_named(copy: Copy) -> None:
    folder = copy("mono")
    change(folder, audio_encoder__decoder__layers__0__conv__bias=None)
    with pytest.raises(ModelBroken, match=r"audio codec are missing: decoder\.layers\.0\.conv\.bias"):
        Codec(Checkpoint.open(folder), CPU)
    change(folder, audio_encoder__decoder__layers__0__conv__bias=torch.zeros(3))
    with pytest.raises(ModelBroken, match=r"another shape: decoder\.layers\.0\.conv\.bias"):
        Codec(Checkpoint.open(folder), CPU)
    change(folder, text_encoder__encoder__block__9__x=torch.zeros(1))
    with pytest.raises(ModelBroken, match=r"text encoder are not known: encoder\.block\.9\.x"):
        TextEncoder(Checkpoint.open(folder), CPU)
    change(folder, vocoder__weight=torch.zeros(1))
    assert "no part of MusicGen: vocoder.weight" in broken(folder)


def test_a_model_of_another_kind_than_the_card_says_is_refused(musicgen_checkpoint: Callable[[str], Path]) -> None:
    checkpoint = Checkpoint.open(musicgen_checkpoint("melody"))
    checkpoint.check(channels=1, melody=True, model="musicgen-melody")
    with pytest.raises(ModelBroken, match="holds a mono melody model, but musicgen-stereo-small is a stereo one"):
        checkpoint.check(channels=2, melody=False, model="musicgen-stereo-small")


def test_either_name_of_the_text_table_is_enough(copy: Copy) -> None:
    folder = copy("mono")
    wanted = TextEncoder(Checkpoint.open(folder), CPU)("slow")
    table = load_file(folder / "model.safetensors")["text_encoder.shared.weight"]
    change(folder, text_encoder__shared__weight=None, text_encoder__encoder__embed_tokens__weight=table)
    found = TextEncoder(Checkpoint.open(folder), CPU)("slow")
    assert wanted is not None and found is not None
    assert torch.equal(wanted.states, found.states)


@pytest.mark.parametrize("name", ["mono", "mono-spiece"])
def test_any_text_can_be_encoded(musicgen_checkpoint: Callable[[str], Path], name: str) -> None:
    encode = TextEncoder(Checkpoint.open(musicgen_checkpoint(name)), CPU, max_tokens=40)
    assert encode("") is None and encode("  \n") is None
    unknown = encode("日本語")
    assert unknown is not None and len(unknown.states) >= 2 and torch.isfinite(unknown.states).all()
    long = encode("a b " * 2500)
    assert long is not None
    assert len(long.states) == 40 and long.left_out > 4000
    assert encode("日本語") is unknown  # remembered


def test_a_folder_without_a_tokenizer_is_told_so(copy: Copy) -> None:
    folder = copy("mono")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelBroken, match="cannot be read"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelBroken, match=r"neither tokenizer\.json nor spiece\.model"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "name",
    ["decoder.model.decoder.layers.1.fc1.weight", "text_encoder.encoder.final_layer_norm.weight",
     "audio_encoder.decoder.layers.0.conv.bias"],
)  # fmt: skip
@pytest.mark.parametrize("value", [float("nan"), float("-inf")], ids=str)
def test_numbers_that_are_not_finite_are_found_before_anything_is_made_of_them(
    copy: Copy, name: str, value: float
) -> None:
    folder = copy("mono")
    tensor = load_file(folder / "model.safetensors")[name].clone()
    tensor.view(-1)[3] = value
    change(folder, **{name.replace(".", "__"): tensor})
    with pytest.raises(ModelBroken, match=re.escape(name)) as caught:
        dict(Checkpoint.open(folder).tensors(""))
    assert "not finite" in caught.value.message
    with pytest.raises(ModelBroken, match="not finite"):
        Checkpoint.open(folder).reader("", device=CPU, dtype=torch.float32)(name)


def test_a_weight_that_half_precision_cannot_hold_is_named(copy: Copy) -> None:
    folder, name = copy("mono"), "decoder.model.decoder.layers.1.fc1.weight"
    tensor = load_file(folder / "model.safetensors")[name].clone()
    tensor.view(-1)[3] = 1e5
    change(folder, **{name.replace(".", "__"): tensor})
    checkpoint = Checkpoint.open(folder)
    with checkpoint.reader("decoder.", device=CPU, dtype=torch.float32) as reader:
        assert reader(name).max() == 1e5
    with pytest.raises(ModelBroken, match=r"float16.*float32"):
        checkpoint.reader("decoder.", device=CPU, dtype=torch.float16)(name)
