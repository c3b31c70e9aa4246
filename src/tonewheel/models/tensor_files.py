"""Tensors in files, as the hub has them: which file holds each, their shapes, and each read when it is asked for.

    where = safetensors_in(folder)                        name of every tensor → its file; {} = there are none
    with Reader(folder, where, device, dtype) as weights:
        weights("decoder.lm_heads.0.weight")              straight into its type: there is never a second copy of all

Whatever is wrong with a file is ModelBroken, naming the file and the tensor.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from tonewheel.errors import ModelBroken


def some(names: Sequence[str], most: int = 5) -> str:
    """`a, b and 3 more`: names as a message tells them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


# ── where they are ──────────────────────────────────────────────────────────────────────────────


def safetensors_in(folder: Path, stem: str = "model") -> dict[str, Path]:
    """The file of every tensor, from `<stem>.safetensors` or the index of several; {} = neither is there."""
    index, whole = folder / f"{stem}.safetensors.index.json", folder / f"{stem}.safetensors"
    if index.is_file():
        return indexed(index)
    return dict.fromkeys(names_in(whole), whole) if whole.is_file() else {}


def indexed(index: Path) -> dict[str, Path]:
    """The file of every tensor, as an index tells it; all of them are there."""
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"]
        where = {str(name): index.parent / Path(str(file)).name for name, file in named.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelBroken(f"{index} cannot be read: {type(error).__name__}: {error}; pull the model again") from None
    if gone := sorted({file.name for file in where.values() if not file.is_file()}):
        raise ModelBroken(f"{index.parent} is not complete: {some(gone)} is missing; pull the model again")
    return where


def names_in(file: Path) -> list[str]:
    """The tensors of one file."""
    with opened(file) as tensors:
        return list(tensors)


def shapes(where: Mapping[str, Path], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Read from the heads of safetensors files. `prefix` stands before each name there."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(set(where.values())):
        with _lazily(file) as tensors:
            found |= {name: tensors.shape(prefix + name) for name, other in where.items() if other == file}
    return found


# ── reading them ────────────────────────────────────────────────────────────────────────────────


class Reader:
    """Tensors by name, each read when it is asked for. Use it as a context manager.

    `tell` hears the share of `where` that was asked for.
    """

    def __init__(
        self,
        folder: Path,
        where: Mapping[str, Path],
        device: torch.device,
        dtype: torch.dtype,
        *,
        prefix: str = "",
        tell: Callable[[float], None] | None = None,
    ) -> None:
        self._folder, self._where, self._prefix, self._tell = folder, where, prefix, tell
        self._device, self._dtype = device, dtype
        self._left = set(where)
        self._opened: dict[Path, Mapping[str, Tensor]] = {}
        self._files = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.clear()
        self._files.close()

    def __call__(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor on the device in `dtype` (None = the reader's), with memory of its own. Raises ModelBroken."""
        file, whole = self._where.get(name), self._prefix + name
        if file is None:
            raise ModelBroken(f"{self._folder} is not complete: it has no tensor {whole}")
        self._left.discard(name)
        if self._tell:
            self._tell(1 - len(self._left) / len(self._where))
        if file not in self._opened:
            self._opened[file] = self._files.enter_context(opened(file))
        return finite(file, whole, self._opened[file][whole].to(self._device, dtype or self._dtype, copy=True))

    @property
    def left(self) -> list[str]:
        """Names that nobody asked for."""
        return sorted(self._left)


@contextmanager
def opened(file: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a safetensors file or of a pickle (`.bin`), each read when it is asked for."""
    if file.suffix == ".bin":
        yield _Pickle(file, _unpickled(file))
        return
    with _lazily(file) as tensors:
        yield tensors


def finite(file: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor itself. Raises ModelBroken where it holds NaN or infinity: what comes of them is not music."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    least, most = tensor.aminmax()  # one look, without a copy; NaN comes through
    if not (least.isfinite() and most.isfinite()):
        raise ModelBroken(
            f"{file}: tensor {name} holds numbers that are not finite as {str(tensor.dtype).removeprefix('torch.')}: "
            "pull the model again, or use a type with a wider range (float32)"
        )
    return tensor


def fill(module: nn.Module, found: Mapping[str, Tensor], part: str) -> None:
    """Give a module its tensors by its own names; it takes them as they are, without copying.

    Raises ModelBroken, naming what is missing, not known or of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    missing = sorted(set(wanted) - set(found))
    unknown = sorted(set(found) - set(wanted))
    other = sorted(n for n in set(found) & set(wanted) if found[n].shape != wanted[n])
    for what, names in (("are missing", missing), ("are not known", unknown), ("have another shape", other)):
        if names:
            raise ModelBroken(f"tensors of the {part} {what}: {some(names)}")
    module.load_state_dict(dict(found), strict=True, assign=True)


class _Lazily(Mapping[str, Tensor]):
    """A safetensors file as a mapping."""

    def __init__(self, file: Path, opened: Any) -> None:
        self._file, self._opened, self._names = file, opened, frozenset(opened.keys())

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._read(self._opened.get_tensor, name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._read(self._opened.get_slice, name).get_shape())

    def _read(self, read: Callable[[str], Any], name: str) -> Any:
        if name not in self._names:
            raise _not_there(self._file, name)
        try:
            return read(name)
        except (SafetensorError, OSError) as error:
            raise _unreadable(self._file, error) from None

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@contextmanager
def _lazily(file: Path) -> Iterator[_Lazily]:
    try:
        handle = safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise _unreadable(file, error) from None
    with handle:
        yield _Lazily(file, handle)


class _Pickle(dict[str, Tensor]):
    """The tensors of a pickle."""

    def __init__(self, file: Path, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self._file = file

    def __missing__(self, name: str) -> Tensor:
        raise _not_there(self._file, name)


def _unpickled(file: Path) -> dict[str, Tensor]:
    """Tensors of a pickle; `weights_only` runs nothing that is in it, `mmap` reads what is used."""
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelBroken(f"{file} cannot be read as tensors only: {reason[:200]}") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise ModelBroken(f"{file} holds something else than tensors by name")
    return tensors


def _not_there(file: Path, name: str) -> ModelBroken:
    return ModelBroken(f"{file} has no tensor {name}, which its index says it has")


def _unreadable(file: Path, error: Exception) -> ModelBroken:
    return ModelBroken(f"{file} cannot be read: {error}; pull the model again")
