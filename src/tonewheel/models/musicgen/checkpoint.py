"""A MusicGen folder as transformers writes and wrote it: what it is, what is missing, and its tensors one by one.

    checkpoint = Checkpoint.open(folder)          config read, every name of a tensor known, nothing loaded
    for name, tensor in checkpoint.tensors("audio_encoder.", dtype=torch.float32): …

Layouts: `model.safetensors` or several with an index; `pytorch_model.bin` likewise, by explicit permission only;
`preprocessor_config.json` or `processor_config.json`; weight norm as `weight_g`, `weight_v` or by its newer names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tonewheel.errors import ModelBroken
from tonewheel.models.musicgen.windows import FRAMES_PER_SECOND, SAMPLE_RATE
from tonewheel.models.tensor_files import Reader, finite, indexed, names_in, opened, safetensors_in, some

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Kind = Literal["musicgen", "musicgen_melody"]

TEXT, AUDIO = "text_encoder.", "audio_encoder."
# Kept by older files and not needed: tables that are computed, tensors that are there under another name.
_NOT_NEEDED = ("decoder.model.decoder.embed_positions.weights",)
_ONLY_TRAINED = (".embed_avg", ".cluster_size")  # of the codec's codebooks: what they are used for ended with training
_PARTS = (TEXT, AUDIO, "decoder.", "enc_to_dec_proj.", "audio_enc_to_dec_proj.")


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
            raise ModelBroken(f"{folder} holds tensors that belong to no part of MusicGen: {some(strange)}")
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
            with opened(file) as found:
                for name in sorted(name for name in wanted if self.where[name] == file):
                    tensor = found[name]
                    kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
                    tensor = tensor.to(kept, copy=True)
                    yield name, tensor if name.endswith(_ONLY_TRAINED) else finite(file, name, tensor)

    def reader(
        self, *prefixes: str, device: torch.device, dtype: torch.dtype, tell: Callable[[float], None] | None = None
    ) -> Reader:
        """The same, to be asked for by name; `tell` hears the share that was."""
        where = {name: self.where[name] for name in self.names(*prefixes)}
        return Reader(self.folder, where, device, dtype, tell=tell)


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
    if where := safetensors_in(folder):
        return where
    pickled_index, pickled = folder / "pytorch_model.bin.index.json", folder / "pytorch_model.bin"
    if not pickled_index.is_file() and not pickled.is_file():
        raise ModelBroken(f"{folder} has no weights: there is no model.safetensors (or its index) in it")
    if not allow_pickle:
        raise ModelBroken(
            f"{folder} has its weights as pickles only, which can hold programs: get the .safetensors files, or name "
            "the model in TONEWHEEL_PICKLED_MODELS (only tensors are then read from them)"
        )
    if pickled_index.is_file():
        return indexed(pickled_index)
    return dict.fromkeys(names_in(pickled), pickled)
