"""A MusicGen folder as transformers writes and wrote it: what it is, what is missing, and its tensors one by one.

    checkpoint = Checkpoint.open(folder)          config read, every name of a tensor known, nothing loaded
    for name, tensor in checkpoint.tensors("audio_encoder.", dtype=torch.float32): …

Layouts: `model.safetensors` or several with an index; `pytorch_model.bin` likewise, by explicit permission only;
`preprocessor_config.json` or `processor_config.json`; weight norm as `weight_g`, `weight_v` or by its newer names.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from tonewheel.errors import ModelBroken
from tonewheel.models.musicgen.windows import FRAMES_PER_SECOND, SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

Kind = Literal["musicgen", "musicgen_melody"]

TEXT, AUDIO = "text_encoder.", "audio_encoder."
# Kept by older files and not needed: tables that are computed, tensors that are there under another name.
_NOT_NEEDED = ("decoder.model.decoder.embed_positions.weights",)
_ONLY_TRAINED = (".embed_avg", ".cluster_size")  # of the codec's codebooks: what they are used for ended with training
_PARTS = (TEXT, AUDIO, "decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj.")
_NAMED = 5  # tensors named in a message


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found whole. `where` is the file of each tensor."""

    folder: Path
    kind: Kind
    config: Mapping[str, Any]
    where: Mapping[str, Path]

    @classmethod
    def open(cls, folder: Path, *, allow_pickle: bool = False) -> Checkpoint:
        """Look at a folder. Raises ModelBroken, naming what is missing or wrong."""
        if not folder.is_dir():
            raise ModelBroken(f"{folder} is no folder: name the one that holds the model's config.json")
        config = _config(folder)
        where = _weights(folder, allow_pickle)
        strange = [name for name in where if not name.startswith(_PARTS)]
        if strange:
            raise ModelBroken(f"{folder} holds tensors that belong to no part of MusicGen: {_some(strange)}")
        return cls(folder, config["model_type"], config, where)

    # ── what it is ──

    @property
    def text(self) -> Mapping[str, Any]:
        """The configuration of T5."""
        return dict(self.config["text_encoder"])

    @property
    def audio(self) -> Mapping[str, Any]:
        """The configuration of EnCodec."""
        return dict(self.config["audio_encoder"])

    @property
    def decoder(self) -> Mapping[str, Any]:
        """The configuration of the transformer."""
        return dict(self.config["decoder"])

    @property
    def channels(self) -> int:
        return int(self.decoder.get("audio_channels") or 1)

    @property
    def melody(self) -> bool:
        return self.kind == "musicgen_melody"

    def check(self, *, channels: int, melody: bool, model: str) -> None:
        """Raises ModelBroken when it is not the kind of model that the card says."""
        found = f"{'stereo' if self.channels == 2 else 'mono'}{' melody' if self.melody else ''}"
        wanted = f"{'stereo' if channels == 2 else 'mono'}{' melody' if melody else ''}"
        if found != wanted:
            raise ModelBroken(f"{self.folder} holds a {found} model, but {model} is a {wanted} one")

    # ── its tensors ──

    def names(self, *prefixes: str) -> set[str]:
        """Names of the tensors that begin with one of `prefixes` and are needed."""
        return {name for name in self.where if name.startswith(prefixes) and name not in _NOT_NEEDED}

    def tensors(self, *prefixes: str, dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
        """Tensors by their whole names, file by file, each converted alone: there is never a second copy of a part.

        They have memory of their own: the file may change afterwards. Floating point becomes `dtype` (None = as it is).
        Raises ModelBroken for a file that cannot be read.
        """
        wanted = self.names(*prefixes)
        for file in sorted({self.where[name] for name in wanted}):
            with _opened(file) as opened:
                for name in sorted(name for name in wanted if self.where[name] == file):
                    tensor = _of(file, name, opened)
                    kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
                    yield name, _finite(file, name, tensor.to(kept, copy=True))

    def reader(self, *prefixes: str, device: torch.device, dtype: torch.dtype) -> Reader:
        """The same, to be asked for by name."""
        return Reader(self, self.names(*prefixes), device, dtype)


class Reader:
    """Tensors by name, each read when it is asked for. Use it as a context manager."""

    def __init__(self, checkpoint: Checkpoint, names: set[str], device: torch.device, dtype: torch.dtype) -> None:
        self._checkpoint, self._device, self._dtype = checkpoint, device, dtype
        self._names, self._left = names, set(names)
        self._opened: dict[Path, Mapping[str, Tensor]] = {}
        self._files = ExitStack()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.clear()
        self._files.close()

    def __call__(self, name: str) -> Tensor:
        """Raises ModelBroken for what is not there."""
        if name not in self._names:
            raise ModelBroken(f"{self._checkpoint.folder} is not complete: it has no tensor {name}")
        self._left.discard(name)
        file = self._checkpoint.where[name]
        if file not in self._opened:
            self._opened[file] = self._files.enter_context(_opened(file))
        tensor = _of(file, name, self._opened[file])
        return _finite(file, name, tensor.to(self._device, self._dtype, copy=True))

    @property
    def left(self) -> list[str]:
        """Names that nobody asked for."""
        return sorted(self._left)


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
            raise ModelBroken(f"tensors of the {part} {what}: {_some(names)}")
    module.load_state_dict(dict(found), strict=True, assign=True)


# ── config.json ─────────────────────────────────────────────────────────────────────────────────


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelBroken(f"{folder} is not a MusicGen folder: it has no config.json")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from None
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind not in ("musicgen", "musicgen_melody"):
        raise ModelBroken(f"{folder} is not a MusicGen folder: its config.json is that of {kind or 'no model'}")
    for part in ("text_encoder", "audio_encoder", "decoder"):
        if not isinstance(config.get(part), dict):
            raise ModelBroken(f"{path} has no {part}: it is not the file of a whole model")
    if (text := config["text_encoder"].get("model_type")) != "t5":
        raise ModelBroken(f"{path}: the text encoder is {text}, only t5 is known")
    _check_codec(path, config)
    return dict(config)


def _check_codec(path: Path, config: Mapping[str, Any]) -> None:
    audio, decoder = config["audio_encoder"], config["decoder"]
    if audio.get("model_type") != "encodec":
        raise ModelBroken(f"{path}: the audio codec is {audio.get('model_type')}, only encodec is known")
    hop = 1
    for ratio in audio.get("upsampling_ratios", (8, 5, 4, 2)):
        hop *= int(ratio)
    rate = int(audio.get("sampling_rate", 24_000))
    if (rate, hop) != (SAMPLE_RATE, SAMPLE_RATE // FRAMES_PER_SECOND):
        raise ModelBroken(f"{path}: {rate} Hz and {hop} samples a frame; MusicGen has {SAMPLE_RATE} Hz and 640")
    if audio.get("norm_type", "weight_norm") != "weight_norm" or audio.get("chunk_length_s") or audio.get("normalize"):
        raise ModelBroken(f"{path}: EnCodec with another norm, chunks or normalisation is not known")
    if int(audio.get("audio_channels", 1)) != 1:
        raise ModelBroken(f"{path}: the codec has {audio['audio_channels']} channels; MusicGen's has one, used twice")
    if int(audio.get("codebook_size", 1024)) != int(decoder.get("vocab_size", 2048)):
        raise ModelBroken(f"{path}: the codec has other codebooks than the transformer")


# ── weights ─────────────────────────────────────────────────────────────────────────────────────


def _weights(folder: Path, allow_pickle: bool) -> dict[str, Path]:
    """The file of every tensor. Raises ModelBroken."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return _indexed(index)
    whole = folder / "model.safetensors"
    if whole.is_file():
        return dict.fromkeys(_names_in(whole), whole)
    pickled_index, pickled = folder / "pytorch_model.bin.index.json", folder / "pytorch_model.bin"
    if not pickled_index.is_file() and not pickled.is_file():
        raise ModelBroken(f"{folder} has no weights: there is no model.safetensors (or its index) in it")
    if not allow_pickle:
        raise ModelBroken(
            f"{folder} has its weights as pickles only, which can hold programs: get the .safetensors files, or name "
            "the model in TONEWHEEL_PICKLED_MODELS (only tensors are then read from them)"
        )
    if pickled_index.is_file():
        return _indexed(pickled_index)
    return dict.fromkeys(_names_in(pickled), pickled)


def _indexed(index: Path) -> dict[str, Path]:
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"]
        where = {str(name): index.parent / Path(str(file)).name for name, file in named.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelBroken(f"{index} cannot be read: {type(error).__name__}: {error}") from None
    gone = sorted({file.name for file in where.values() if not file.is_file()})
    if gone:
        raise ModelBroken(f"{index.parent} is not complete: {_some(gone)} is missing; pull the model again")
    return where


def _names_in(file: Path) -> list[str]:
    with _opened(file) as tensors:
        return list(tensors)


@contextmanager
def _opened(file: Path) -> Iterator[Mapping[str, Tensor]]:
    """The tensors of a file, each read when it is asked for. Raises ModelBroken."""
    if file.suffix == ".bin":
        yield _unpickled(file)
        return
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(file, framework="pt") as opened:
            yield _Lazily(opened)
    except (SafetensorError, OSError) as error:
        raise ModelBroken(f"{file} cannot be read: {error}; pull the model again") from None


class _Lazily(Mapping[str, "Tensor"]):
    """A safetensors file as a mapping."""

    def __init__(self, opened: Any) -> None:
        self._opened, self._names = opened, frozenset(opened.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._opened.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _of(file: Path, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    if name not in tensors:
        raise ModelBroken(f"{file} has no tensor {name}, which its index says it has")
    return tensors[name]


def _finite(file: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor itself. Raises ModelBroken where it holds NaN or infinity: what comes of them is not music."""
    if not tensor.is_floating_point() or not tensor.numel() or name.endswith(_ONLY_TRAINED):
        return tensor
    least, most = tensor.aminmax()  # one look, without a copy; NaN comes through
    if not (least.isfinite() and most.isfinite()):
        raise ModelBroken(
            f"{file}: tensor {name} holds numbers that are not finite as {str(tensor.dtype).removeprefix('torch.')}: "
            "pull the model again, or use a type with a wider range (float32)"
        )
    return tensor


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


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
