"""A HeartMuLa folder as it is published: what it holds, what is missing or wrong, and its tensors one by one.

FOLDER/ gen_config.json  tokenizer.json
        HeartMuLa-oss-<version>/   config.json, model.safetensors or several with an index
        HeartCodec-oss/            likewise

checkpoint = Checkpoint.open(folder, release, version)    configs read, every tensor's shape checked, none loaded
with checkpoint.language.reader(device, dtype) as weights:
    weights("audio_head")                                 one tensor, straight into its type: no second copy of all
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tonewheel.errors import ModelBroken
from tonewheel.models.heartmula.card import Release
from tonewheel.models.heartmula.flow import FlowShape
from tonewheel.models.heartmula.language import CODES, END, LanguageShape
from tonewheel.models.heartmula.tensors import Shapes, is_needed, of_codec, of_language
from tonewheel.models.heartmula.wave import WaveShape
from tonewheel.models.tensor_files import Reader, safetensors_in, shapes, some

if TYPE_CHECKING:
    import torch

_CODEC = "HeartCodec-oss"
_LATER_PREFIX = "decoder."  # of the codec's tensors in later uploads


@dataclass(frozen=True, slots=True)
class Ids:
    """gen_config.json: the ids that have a meaning."""

    text_bos_id: int = 128_000
    text_eos_id: int = 128_001
    audio_eos_id: int = 8193
    empty_id: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One model of the two: its folder, its config.json, and where each tensor lies (by its name without `prefix`)."""

    folder: Path
    config: Mapping[str, Any]
    where: Mapping[str, Path]
    prefix: str = ""

    def reader(self, device: torch.device, dtype: torch.dtype, tell: Callable[[float], None] | None = None) -> Reader:
        return Reader(self.folder, self.where, device, dtype, prefix=self.prefix, tell=tell)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found whole."""

    folder: Path
    tokenizer: Path
    ids: Ids
    language: Part
    codec: Part

    @classmethod
    def open(cls, folder: Path, release: Release, version: str = "3B") -> Checkpoint:
        """Look at a folder. `version` names the language model's folder where it does not bear the release's own name.

        Raises ModelBroken, naming what is missing, of another shape, or does not belong together.
        """
        if not folder.is_dir():
            raise ModelBroken(f"{folder} is no folder: name the one that holds gen_config.json (HEARTMULA_MODEL_PATH)")
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():
            raise ModelBroken(f"{folder} has no tokenizer.json: it is part of {release.beside}")
        ids = _ids(folder / "gen_config.json", release)
        language = _language(folder, release, version)
        codec = _codec(folder, release)
        _check_pair(language, codec, ids)
        return cls(folder, tokenizer, ids, language, codec)


# ── the two parts ───────────────────────────────────────────────────────────────────────────────


def _language(folder: Path, release: Release, version: str) -> Part:
    names = dict.fromkeys((release.language, f"HeartMuLa-oss-{version}"))
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None:
        raise ModelBroken(
            f"{folder} has no folder {' or '.join(names)}: put {release.language_source} into it "
            "(HEARTMULA_VERSION names another HeartMuLa-oss-<version>)"
        )
    config = _json(found / "config.json")
    if config.get("model_type") != "heartmula":
        raise ModelBroken(
            f"{found} is not HeartMuLa: its config.json is that of {config.get('model_type') or 'no model'}"
        )
    where = _weights(found)
    _check(found, where, "", of_language(LanguageShape.of(config)))
    return Part(found, config, where)


def _codec(folder: Path, release: Release) -> Part:
    found = next((folder / name for name in (release.codec, _CODEC) if (folder / name).is_dir()), None)
    if found is None:
        others = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name.startswith("HeartCodec"))
        if others:
            raise ModelBroken(
                f"{folder} has {some(others)}, but {release.title} belongs with {release.codec}: "
                f"put {release.codec_source} into it as {_CODEC}"
            )
        raise ModelBroken(f"{folder} has no folder {_CODEC}: put {release.codec_source} into it under that name")
    config = _json(found / "config.json")
    if config.get("model_type") != "heartcodec":
        raise ModelBroken(
            f"{found} is not HeartCodec: its config.json is that of {config.get('model_type') or 'no model'}"
        )
    where = _weights(found)
    prefix = _LATER_PREFIX if any(name.startswith(f"{_LATER_PREFIX}flow_matching.") for name in where) else ""
    plain = {name.removeprefix(prefix): file for name, file in where.items()}
    needed = {name: file for name, file in plain.items() if is_needed(name)}
    _check(found, needed, prefix, of_codec(FlowShape.of(config), WaveShape.of(config)))
    return Part(found, config, needed, prefix)


def _check_pair(language: Part, codec: Part, ids: Ids) -> None:
    """The codec must take what the language model writes."""
    shape, flow = LanguageShape.of(language.config), FlowShape.of(codec.config)
    if shape.codebooks != flow.codebooks or flow.codes != CODES or shape.audio_vocabulary <= END:
        raise ModelBroken(
            f"{language.folder.name} writes {shape.codebooks} codes of {shape.audio_vocabulary} ids and "
            f"{codec.folder.name} reads {flow.codebooks} of {flow.codes}: they do not belong together"
        )
    if ids.audio_eos_id != END:
        raise ModelBroken(f"gen_config.json: audio_eos_id is {ids.audio_eos_id}; HeartMuLa's is {END}")


def _check(folder: Path, where: Mapping[str, Path], prefix: str, wanted: Shapes) -> None:
    """Raises ModelBroken, naming tensors that are missing, of another shape, or known to nobody."""
    missing = [prefix + name for name in wanted if name not in where]
    strange = [prefix + name for name in where if name not in wanted]
    found = shapes(where, prefix) if not missing else {}
    other = [
        f"{prefix}{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    for what, names in (("are missing", missing), ("have another shape", other), ("are not known", strange)):
        if names:
            raise ModelBroken(f"{folder}: tensors {what}: {some(names)}")


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def _weights(folder: Path) -> dict[str, Path]:
    """The file of every tensor. Raises ModelBroken."""
    if where := safetensors_in(folder):
        return where
    raise ModelBroken(f"{folder} has no weights: there is no model.safetensors (or its index) in it")


def _ids(path: Path, release: Release) -> Ids:
    if not path.is_file():
        raise ModelBroken(f"{path.parent} has no gen_config.json: it is part of {release.beside}")
    said = _json(path)
    known = {f.name for f in fields(Ids)}
    if wrong := [name for name in said if name in known and (not isinstance(said[name], int) or said[name] < 0)]:
        raise ModelBroken(f"{path}: {some(wrong)} is no id")
    return Ids(**{name: said[name] for name in known & set(said)})


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelBroken(f"{path.parent} is not complete: it has no {path.name}")
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from None
    if not isinstance(said, dict):
        raise ModelBroken(f"{path} holds something else than names and values")
    return said
