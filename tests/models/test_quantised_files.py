"""Quantised weights beside a checkpoint: the second start reads them, and what is not whole is never used."""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tonewheel.engine import GenerationRequest, Sampling
from tonewheel.models import registry
from tonewheel.models.base import RunContext
from tonewheel.models.musicgen.decoder import MusicgenPrompt
from tonewheel.models.quantised_files import QuantisedFile as Native
from tonewheel.models.quantised_files import native_layout
from tonewheel.models.tensor_files import Reader
from tonewheel.settings import settings

LOG = "tonewheel.models.quantised_files"


class Packed:
    """What a native weight tells of itself."""

    def __init__(self, seed: int, outputs: int = 16, inputs: int = 32) -> None:
        dice = np.random.default_rng(seed)
        self.values, self.scales = dice.bytes(outputs * inputs), dice.bytes(outputs * 2 + seed)
        self.outputs, self.inputs = outputs, inputs


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def layout(precision: str) -> dict[str, str]:
    """What `native_layout` tells, where the kernels are not installed."""
    return {"bits": precision[3:], "group": "128", "packing": "a hash"}


class QuantisedFile(Native):
    def __init__(self, folder: Path, sources: Iterable[Path], **options: Any) -> None:
        super().__init__(folder, sources, **{"layout": layout, **options})


def kept(folder: Path, source: Path, names: str = "abc", **options: Any) -> QuantisedFile:
    file = QuantisedFile(folder, [source], **options)
    assert not file.open("int8")
    for n, name in enumerate(names):
        file.keep(name, Packed(n))
    file.save()
    return file


def test_what_was_kept_is_there_at_the_next_start(tmp_path: Path, source: Path) -> None:
    kept(tmp_path, source)
    again = QuantisedFile(tmp_path, [source])
    assert again.open("int8") and not QuantisedFile(tmp_path, [source]).open("int4")
    for n, name in enumerate("abc"):
        expected, found = Packed(n), again.weight(name)
        assert found is not None
        assert (found[0].tobytes(), found[1].tobytes(), *found[2:]) == (expected.values, expected.scales, 16, 32)
    assert again.weight("d") is None


def test_it_is_a_safetensors_file(tmp_path: Path, source: Path) -> None:
    path = kept(tmp_path, source).path
    with safe_open(path, "np") as file:
        for n, name in enumerate("abc"):
            assert file.get_tensor(f"{name}.values").tobytes() == Packed(n).values
            assert file.get_tensor(f"{name}.scales").tobytes() == Packed(n).scales
        told = file.metadata()
        assert told["format"].startswith("tonewheel-quantised")
        assert {key: told[key] for key in ("bits", "group", "packing")} == layout("int8")


@pytest.mark.parametrize("change", ["time", "size", "name", "another file"])
def test_other_weights_than_it_was_made_of_are_quantised_anew(tmp_path: Path, source: Path, change: str) -> None:
    kept(tmp_path, source)
    sources = [source]
    if change == "time":
        os.utime(source, ns=(1, 1))
    elif change == "size":
        stat = source.stat()
        source.write_bytes(b"other weights")
        os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif change == "name":
        sources = [source.rename(tmp_path / "other.safetensors")]
    else:
        sources.append(tmp_path / "second")
        sources[1].write_bytes(b"")
    fresh = QuantisedFile(tmp_path, sources)
    assert not fresh.open("int8") and fresh.weight("a") is None
    fresh.keep("a", Packed(7))
    fresh.save()
    again = QuantisedFile(tmp_path, sources)
    assert again.open("int8")
    found = again.weight("a")
    assert found is not None and found[0].tobytes() == Packed(7).values


@pytest.mark.parametrize("other", [{"group": "64"}, {"bits": "6"}, {"packing": "another hash"}], ids=repr)
def test_what_is_packed_otherwise_is_quantised_anew(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture, other: dict[str, str]
) -> None:
    def later(precision: str) -> dict[str, str]:
        return layout(precision) | other

    kept(tmp_path, source)
    with caplog.at_level(logging.INFO, LOG):
        kept(tmp_path, source, layout=later)
    assert "is packed in another way: quantising anew" in caplog.text
    assert QuantisedFile(tmp_path, [source], layout=later).open("int8")
    assert not QuantisedFile(tmp_path, [source]).open("int8")


def test_a_few_owners_files_stay_those_that_were_used_last(tmp_path: Path, source: Path) -> None:
    def there() -> set[str]:
        return {p.name for p in tmp_path.glob("tonewheel-*")}

    for n, owner in enumerate("abc"):
        path = kept(tmp_path, source, owner=owner, most=3).path
        os.utime(path, ns=(n, n))
    assert there() == {f"tonewheel-int8-{owner}.safetensors" for owner in "abc"}
    assert QuantisedFile(tmp_path, [source], owner="a", most=3).open("int8")  # used: "b" is the oldest now
    kept(tmp_path, source, owner="d", most=3)
    assert there() == {f"tonewheel-int8-{owner}.safetensors" for owner in "acd"}
    assert source.is_file()


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = kept(tmp_path, source, "ab").path
    whole = path.read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    data = 8 + length
    true = {name: (Packed(n).values, Packed(n).scales, 16, 32) for n, name in enumerate("ab")}
    places = [*range(0, data, 2), *range(data, len(whole), 41)]
    found_whole = 0
    for at in places:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 7]) + whole[at + 1 :])
        file = QuantisedFile(tmp_path, [source])
        if file.open("int8"):
            found_whole += 1
            for name, expected in true.items():
                weight = file.weight(name)
                assert weight is not None and (weight[0].tobytes(), weight[1].tobytes(), *weight[2:]) == expected
    assert found_whole < len(places)  # most of it matters
    caplog.clear()
    path.write_bytes(whole[: data + 5] + bytes([whole[data + 5] ^ 1]) + whole[data + 6 :])
    with caplog.at_level(logging.WARNING, LOG):
        assert not QuantisedFile(tmp_path, [source]).open("int8")
    assert "is damaged" in caplog.text and "quantising anew" in caplog.text


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 8, b"\xff" * 100, struct.pack("<Q", 2) + b"[]",
                                     struct.pack("<Q", 1) + b"7", struct.pack("<Q", 2) + b"{}"], ids=repr)  # fmt: skip
def test_what_is_no_such_file_is_quantised_anew(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    (tmp_path / "tonewheel-int8.safetensors").write_bytes(content)
    with caplog.at_level(logging.WARNING, LOG):
        kept(tmp_path, source)
    assert "quantising anew" in caplog.text
    assert QuantisedFile(tmp_path, [source]).open("int8")


def test_a_cut_file_is_quantised_anew(tmp_path: Path, source: Path) -> None:
    path = kept(tmp_path, source).path
    whole = path.read_bytes()
    for length in (len(whole) - 1 - 64, len(whole) // 2, 100):
        path.write_bytes(whole[:length])
        assert not QuantisedFile(tmp_path, [source]).open("int8")


def test_weights_that_are_new_are_added_to_those_that_were_there(tmp_path: Path, source: Path) -> None:
    """A later release may name one more: the others must not be lost by keeping it."""
    kept(tmp_path, source)
    more = QuantisedFile(tmp_path, [source])
    assert more.open("int8")
    more.keep("new", Packed(9))
    more.save()
    again = QuantisedFile(tmp_path, [source])
    assert again.open("int8")
    for n, name in ((0, "a"), (2, "c"), (9, "new")):
        found = again.weight(name)
        assert found is not None and found[0].tobytes() == Packed(n).values


def test_a_folder_that_cannot_be_written_to_is_no_fault(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").touch()
    file = QuantisedFile(tmp_path / "a file" / "in it", [source])
    assert not file.open("int8")
    file.keep("a", Packed(0))
    with caplog.at_level(logging.WARNING, LOG):
        file.save()
    assert "are not kept" in caplog.text


# ── through the model ──


@pytest.fixture
def folder(musicgen_checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """Where a pulled musicgen-small lies."""
    revision = registry.card("musicgen-small").revision.replace("/", "_")
    return Path(shutil.copytree(musicgen_checkpoint("mono"), tmp_path / "data/models/musicgen-small" / revision))


Start = Callable[..., tuple[torch.Tensor, list[str]]]


@pytest.fixture
def start(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """`start("int8")`: load MusicGen from the folder → codes it makes, and the weights of the decoder it read."""
    pytest.importorskip("tonewheel_kernels", reason="the native kernels are not installed (pip install ./kernels)")
    from tonewheel.models.musicgen.model import Musicgen

    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("TONEWHEEL_MUSICGEN_SMALL_PATH", raising=False)
    read: list[str] = []
    ask = Reader.__call__

    def heard(self: Reader, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        read.append(name)
        return ask(self, name, dtype)

    monkeypatch.setattr(Reader, "__call__", heard)

    def begun(precision: str) -> tuple[torch.Tensor, list[str]]:
        monkeypatch.setenv("TONEWHEEL_MUSICGEN_DTYPE", precision)
        settings.cache_clear()
        read.clear()
        model = Musicgen(registry.card("musicgen-small"))
        model.load(RunContext())
        try:
            asked = GenerationRequest(MusicgenPrompt(), 12, Sampling(guidance_scale=1, do_sample=False))
            return model._engine.submit(asked).result(120), sorted(read)
        finally:
            model.release()

    yield begun
    settings.cache_clear()


def linears(names: list[str]) -> list[str]:
    return [n for n in names if ("_proj" in n and "enc_to_dec" not in n) or ".fc" in n or "lm_heads" in n]


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_the_second_start_reads_what_the_first_kept_and_not_the_floats(
    start: Start, folder: Path, precision: str
) -> None:
    first, read = start(precision)
    assert linears(read) and (folder / f"tonewheel-{precision}.safetensors").is_file()
    kept = (folder / f"tonewheel-{precision}.safetensors").stat().st_mtime_ns
    second, read_again = start(precision)
    assert not linears(read_again) and set(read_again) == set(read) - set(linears(read))
    assert torch.equal(second, first)
    assert (folder / f"tonewheel-{precision}.safetensors").stat().st_mtime_ns == kept  # it was not written again


def test_a_folder_of_the_users_own_is_left_as_it_is(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "own"))
    before = sorted(own.iterdir())
    monkeypatch.setenv("TONEWHEEL_MUSICGEN_SMALL_PATH", str(own))
    first, read = start("int8")
    second, read_again = start("int8")
    assert torch.equal(first, second) and linears(read) and not linears(read_again)
    assert sorted(own.iterdir()) == before
    assert len(list((tmp_path / "data/models/musicgen-small/own").glob("tonewheel-int8-*.safetensors"))) == 1


def test_each_folder_of_the_users_own_has_a_file_of_its_own(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for own in ("a", "b"):
        shutil.copytree(folder, tmp_path / own)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    read: dict[str, list[bool]] = {}
    for own in ("a", "b", "a", "link"):
        monkeypatch.setenv("TONEWHEEL_MUSICGEN_SMALL_PATH", str(tmp_path / own))
        read.setdefault(own, []).append(bool(linears(start("int8")[1])))
    assert read == {"a": [True, False], "b": [True], "link": [False]}


def test_kernels_of_another_group_never_misread_what_was_kept(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    of_128 = native_layout("int8")
    assert (of_128["bits"], of_128["group"]) == ("8", "128") and native_layout("int4")["bits"] == "4"
    assert native_layout("int8") == of_128 and native_layout("int4")["packing"] != of_128["packing"]
    start("int8")
    monkeypatch.setattr("tonewheel.engine.kernels.native.GROUP", 64)
    assert native_layout("int8")["packing"] != of_128["packing"]
    first, read = start("int8")
    second, read_again = start("int8")
    assert linears(read) and not linears(read_again) and torch.equal(first, second)


def test_float32_keeps_nothing(start: Start, folder: Path) -> None:
    start("float32")
    assert not list(folder.glob("tonewheel-*"))


@pytest.mark.parametrize("how", ["source", "bit", "shape", "nothing"])
def test_what_was_kept_of_other_weights_or_is_damaged_is_made_anew(
    start: Start, folder: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    first, read = start("int8")
    path, source = folder / "tonewheel-int8.safetensors", folder / "model.safetensors"
    whole = path.read_bytes()
    if how == "source":
        os.utime(source, ns=(1, source.stat().st_mtime_ns + 1_000_000_000))
    elif how == "bit":
        path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 4]) + whole[-99:])
    elif how == "shape":  # of the same length: only the hash tells
        (length,) = struct.unpack_from("<Q", whole)
        head = json.loads(whole[8 : 8 + length])
        shapes = json.loads(head["__metadata__"]["shapes"])
        shapes["lm_heads"] = shapes["lm_heads"][::-1]
        head["__metadata__"]["shapes"] = json.dumps(shapes)
        path.write_bytes(whole[:8] + json.dumps(head).encode().ljust(length) + whole[8 + length :])
    else:
        path.write_bytes(b"")
    with caplog.at_level(logging.INFO, LOG):
        again, read_again = start("int8")
    assert "quantising anew" in caplog.text
    assert torch.equal(again, first) and read_again == read
    assert linears(start("int8")[1]) == []


def test_a_checkpoint_that_may_only_be_read_is_no_fault(
    start: Start, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:  # a folder's mode would not keep root out
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tonewheel.models.quantised_files.whole_file", refused)
    with caplog.at_level(logging.WARNING, LOG):
        first, read = start("int8")
        second, read_again = start("int8")
    assert torch.equal(first, second) and linears(read_again) == linears(read) != []
    assert "are not kept" in caplog.text and not list(folder.glob("tonewheel-*"))


def test_what_a_killed_start_left_half_kept_is_gone_at_the_next(tmp_path: Path, source: Path) -> None:
    kept(tmp_path, source)
    (tmp_path / ".tonewheel-0123456789abcdef.part").write_bytes(b"half of it")
    assert QuantisedFile(tmp_path, [source]).open("int8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "tonewheel-int8.safetensors"]
