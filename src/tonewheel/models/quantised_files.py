"""Quantised weights kept in a file beside the checkpoint: the next start reads them instead of quantising again.

The file is safetensors (huggingface/safetensors, its format of 2023): `NAME.values` and `NAME.scales` as bytes, packed
as the native kernels have them. Its metadata names what it was made from, how it is packed (bits, group, and a hash of
how the kernels pack a known matrix), the shapes, and a hash of what it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tonewheel.engine.kernels import Kernels, Precision, best_kernels
from tonewheel.errors import TonewheelError
from tonewheel.files import sweep, whole_file
from tonewheel.settings import models_dir, own_weights

log = logging.getLogger(__name__)

_FORMAT = "tonewheel-quantised-3"
_UNIT = 64  # bytes to which every tensor is aligned
_MOST_OF_OWN = 3  # files of a model whose checkpoints are the user's own: each is about as large as its checkpoint


def native_layout(precision: str) -> dict[str, str]:
    """How the native kernels at hand lay a weight of a precision out. `packing` is a hash of a known matrix as they
    pack it: kernels that pack otherwise differ in it, whether or not anybody thought of saying so."""
    from tonewheel.engine.kernels.native import GROUP, NativeKernels  # noqa: PLC0415  (an optional package)

    # Not whole blocks of outputs; whole numbers, so that every machine has the same ones.
    known = (torch.arange(70 * 2 * GROUP) * 37 % 251 - 125).float().reshape(70, 2 * GROUP)
    made = NativeKernels(cast("Precision", precision)).linear("known", lambda: known).weight
    packed = hashlib.blake2b(made.values + made.scales, digest_size=16)
    return {"bits": str(made.bits), "group": str(GROUP), "packing": packed.hexdigest()}


def keeping_kernels(
    model: str, folder: Path, sources: Iterable[Path], device: torch.device, precision: Precision | None
) -> tuple[Kernels, QuantisedFile]:
    """The best kernels for a checkpoint in `folder` of the files `sources`, and the file in which they keep what they
    quantise: `save` it when the model is made.

    It lies beside a pulled checkpoint, but never in a folder of the user's own: then in the data folder, one for each
    such folder, of which the `_MOST_OF_OWN` last used stay."""
    if own_weights(model):
        owner = hashlib.blake2b(os.fsencode(os.path.realpath(folder)), digest_size=6).hexdigest()
        kept = QuantisedFile(models_dir() / model / "own", sources, owner=owner, most=_MOST_OF_OWN)
    else:
        kept = QuantisedFile(folder, sources)
    return best_kernels(device, precision, kept=kept), kept


class QuantisedFile:
    """One file for each precision, in `folder`. `sources`: the files it was made from; when one of them has another
    size or time, when weights are packed otherwise (`layout`) or the file is not whole, everything is quantised anew
    and kept again by `save`. `owner` stands in its name; `most`: how many such files may stay in the folder."""

    def __init__(
        self,
        folder: Path,
        sources: Iterable[Path],
        *,
        owner: str = "",
        most: int | None = None,
        layout: Callable[[str], dict[str, str]] = native_layout,
    ) -> None:
        self.path = folder
        self._folder = folder
        self._made_of = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(set(sources))]
        self._owner = owner
        self._most = most
        self._layout_of = layout
        self._layout: dict[str, str] = {}
        self._fresh: dict[str, tuple[bytes, bytes, int, int]] = {}
        self._held: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8], int, int]] = {}

    def open(self, precision: str) -> bool:
        """Look for what an earlier start kept → is it there, and whole?"""
        self.path = self._folder / f"tonewheel-{precision}{self._owner and '-'}{self._owner}.safetensors"
        self._layout = self._layout_of(precision)
        sweep(self.path.parent)  # of a start that was killed while it kept them: as large as the model
        with contextlib.suppress(FileNotFoundError):
            self._held = self._read()
        if self._held and self._most is not None:
            with contextlib.suppress(OSError):
                os.utime(self.path)  # used now: the others go first
        return bool(self._held)

    def weight(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int, int] | None:
        """Values, scales, outputs and inputs of a weight, mapped from the file; None = it is not there."""
        return self._held.get(name)

    def keep(self, name: str, weight: Any) -> None:
        self._fresh[name] = weight.values, weight.scales, weight.outputs, weight.inputs

    def save(self) -> None:
        """Write what was kept since. A folder that cannot be written to is no fault: the next start quantises again."""
        if not self._fresh:
            return
        # What an earlier start kept stays.
        everything: dict[str, tuple[bytes | memoryview, bytes | memoryview, int, int]] = {
            **{name: (v.data, s.data, outputs, inputs) for name, (v, s, outputs, inputs) in self._held.items()},
            **self._fresh,
        }
        parts: list[bytes | memoryview] = []
        heads: dict[str, Any] = {}
        at = 0
        digest = hashlib.blake2b()
        for name, (values, scales, outputs, inputs) in sorted(everything.items()):
            digest.update(_said(name, outputs, inputs))
            for kind, data in (("values", values), ("scales", scales)):
                heads[f"{name}.{kind}"] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
                padding = -len(data) % _UNIT
                if padding:  # safetensors allows no gaps: what fills them has a name
                    heads[f"{name}.{kind}.padding"] = {
                        "dtype": "U8", "shape": [padding], "data_offsets": [at + len(data), at + len(data) + padding],
                    }  # fmt: skip
                parts += [data, bytes(padding)]
                digest.update(data)
                at += len(data) + padding
            heads[name] = [outputs, inputs]
        shapes = {name: heads.pop(name) for name in everything}
        heads["__metadata__"] = {
            "format": _FORMAT, "made_of": json.dumps(self._made_of), "hash": digest.hexdigest(),
            "shapes": json.dumps(shapes), **self._layout,
        }  # fmt: skip
        head = json.dumps(heads).encode()
        head += b" " * (-(8 + len(head)) % _UNIT)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.path, force=True) as file:
                file.writelines([struct.pack("<Q", len(head)), head, *parts])
        except (OSError, TonewheelError) as error:
            log.warning("quantised weights are not kept in %s: %s", self.path, error)
        else:
            self._make_room()
        self._fresh.clear()

    def _make_room(self) -> None:
        """Delete the files that were not used for longest."""
        if self._most is None:
            return
        with contextlib.suppress(OSError):
            ages = sorted((p.stat().st_mtime_ns, p) for p in self._folder.glob("tonewheel-*.safetensors"))
            others = [path for _, path in ages if path != self.path]
            for path in others[: max(0, len(others) + 1 - self._most)]:
                path.unlink()

    def _read(self) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8], int, int]]:
        try:
            with self.path.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            (length,) = struct.unpack_from("<Q", mapped)
            heads = json.loads(mapped[8 : 8 + length])
            told = heads.pop("__metadata__")
            if told["format"] != _FORMAT or json.loads(told["made_of"]) != self._made_of:
                log.info("%s was made from other weights: quantising anew", self.path)
                return {}
            if {key: told.get(key) for key in self._layout} != self._layout:
                log.info("%s is packed in another way: quantising anew", self.path)
                return {}
            data = np.frombuffer(mapped, np.uint8, offset=8 + length)
            digest = hashlib.blake2b()
            found = {}
            for name, (outputs, inputs) in sorted(json.loads(told["shapes"]).items()):
                values, scales = (
                    data[slice(*heads[f"{name}.{kind}"]["data_offsets"])] for kind in ("values", "scales")
                )
                digest.update(_said(name, outputs, inputs))
                digest.update(values.data)
                digest.update(scales.data)
                found[name] = values, scales, outputs, inputs
            if digest.hexdigest() != told["hash"]:
                raise ValueError("its hash is another one")
        except FileNotFoundError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            log.warning("%s is damaged (%s): quantising anew", self.path, error)
            return {}
        return found


def _said(name: str, outputs: int, inputs: int) -> bytes:
    """What the hash hears of a weight before its bytes: a wrong shape must not reach the kernels."""
    return json.dumps([name, outputs, inputs]).encode()
