"""A diffusers folder: every file and every tensor accounted for, then loaded part by part. Nothing is ever fetched.

    layout = Layout("StableAudioPipeline", (Part("transformer", ("StableAudioDiTModel",)), …))
    checkpoint = Checkpoint.open(folder, layout, allow_pickle=False)     every file is there; no tensor is read yet
    pipeline = checkpoint.load(dtype, tell)                              a pipeline in main memory

diffusers and transformers only warn of a tensor that is missing and draw it at random: here it is ModelBroken, which
names the part and the tensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch

from tonewheel.errors import ModelBroken
from tonewheel.models.free_memory import told
from tonewheel.models.tensor_files import indexed, names_in, some

Kind = Literal["network", "tokenizer", "scheduler", "extractor"]
_CONFIGS = {"network": "config.json", "scheduler": "scheduler_config.json", "extractor": "preprocessor_config.json"}
# Any of these holds a vocabulary. Without one transformers makes a tokenizer that knows nothing, and says nothing.
_VOCABULARIES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",), ("tokenizer.model",))
_STEMS = {"diffusers": ("diffusion_pytorch_model",) * 2, "transformers": ("model", "pytorch_model")}
_VARIANTS = ("", "fp16", "bf16")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a pipeline: a sub-folder, and which classes model_index.json may say it has.

    `loads_as` is what is loaded in place of one: `{"GPT2Model": "GPT2LMHeadModel"}`. `unneeded` are patterns of
    tensors that files hold and nothing uses, `made` of tensors that files need not hold. `network`: it is one, whatever
    its class is called (a tokenizer of audio).
    """

    name: str
    classes: tuple[str, ...]
    loads_as: Mapping[str, str] = field(default_factory=dict)
    unneeded: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    optional: bool = False
    network: bool = False

    @property
    def kind(self) -> Kind:
        if self.network:
            return "network"
        for kind, ending in (("tokenizer", "Tokenizer"), ("scheduler", "Scheduler"), ("extractor", "Extractor")):
            if ending in self.classes[0]:
                return kind  # type: ignore[return-value]
        return "network"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a family's folders are made of. `pipeline`: names of the classes that its model_index.json may have; what
    is loaded is the first. `foreign` looks at a folder without model_index.json and says what it is, if it knows."""

    pipeline: str | tuple[str, ...]
    parts: tuple[Part, ...]
    foreign: Callable[[Path], str | None] = lambda _folder: None

    @property
    def pipelines(self) -> tuple[str, ...]:
        return (self.pipeline,) if isinstance(self.pipeline, str) else self.pipeline


@dataclass(frozen=True, slots=True)
class _Found:
    """A part as it lies there. `library` None = left out, as its index says."""

    part: Part
    library: str | None
    name: str
    pickled: bool = False
    variant: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that was found whole."""

    folder: Path
    pipeline: str  # the class its index names
    settings: Mapping[str, Any]  # of the pipeline itself, beside its parts
    found: tuple[_Found, ...]

    @classmethod
    def open(cls, folder: Path, layout: Layout, *, allow_pickle: bool = False) -> Checkpoint:
        """Look at every file of a folder. Raises ModelBroken, naming what is missing or not known."""
        if not folder.is_dir():
            raise ModelBroken(f"{folder} is no folder: name the one that holds model_index.json")
        index = _index(folder, layout)
        named = {part.name for part in layout.parts}
        if strange := sorted(k for k, v in index.items() if isinstance(v, list) and _is_part(v) and k not in named):
            raise ModelBroken(f"{folder}/model_index.json has parts that are not known: {some(strange)}")
        found = tuple(_look(folder, part, index.get(part.name), allow_pickle) for part in layout.parts)
        rest = {k: v for k, v in index.items() if not k.startswith("_") and k not in named}
        return cls(folder, str(index["_class_name"]), rest, found)

    def load(
        self,
        dtype: torch.dtype,
        tell: Callable[[str, float], None] = lambda _part, _share: None,
        *,
        pipeline: str | None = None,
    ) -> Any:
        """A pipeline (the class named, else its own) in main memory. `tell` hears each part and the share that is
        there before it. Raises ModelBroken, OutOfMemory."""
        whole, done, parts = max(1, sum(f.size for f in self.found)), 0, {}
        for found in self.found:
            tell(found.part.name, done / whole)
            parts[found.part.name] = self._part(found, dtype)
            done += found.size
        try:
            return getattr(import_module("diffusers"), pipeline or self.pipeline)(**parts, **self.settings)
        except (TypeError, ValueError, AttributeError) as error:
            raise ModelBroken(f"{self.folder}: its parts make no {self.pipeline}: {_line(error)}") from error

    # ── its parts ──

    def _part(self, found: _Found, dtype: torch.dtype) -> Any:
        if found.library is None:
            return None
        folder, part = self.folder / found.part.name, found.part
        known = getattr(import_module(found.library), part.loads_as.get(found.name, found.name), None)
        if known is None:
            raise ModelBroken(f"{folder}: this {found.library} has no {found.name}: install a newer one")
        try:
            if part.kind != "network":
                return known.from_pretrained(folder, local_files_only=True)
            loaded, info = known.from_pretrained(folder, **_how(found, dtype))
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, AttributeError) as error:
            if (short := told(error)) is not error:
                raise short from error
            raise ModelBroken(f"{folder} cannot be loaded as {found.name}: {_line(error)}") from error
        _account(folder, part, info)
        return loaded.eval()


def _how(found: _Found, dtype: torch.dtype) -> dict[str, Any]:
    how: dict[str, Any] = {
        "local_files_only": True, "use_safetensors": not found.pickled, "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # told by `_account`, all of them
        "torch_dtype" if found.library == "diffusers" else "dtype": dtype,
    }  # fmt: skip
    return how | ({"variant": found.variant} if found.variant else {})


def _account(folder: Path, part: Part, info: Mapping[str, Any]) -> None:
    """Raises ModelBroken for tensors that are missing, not known, or of another shape."""
    mismatched = sorted(
        {str(entry[0] if isinstance(entry, (tuple, list)) else entry) for entry in info["mismatched_keys"]}
    )
    lists = (
        ("are missing", [k for k in info["missing_keys"] if not _any(part.made, k)]),
        ("are not known", [k for k in info["unexpected_keys"] if not _any(part.unneeded, k)]),
        ("have another shape than its config.json says", mismatched),
    )
    for what, names in lists:
        if names:
            raise ModelBroken(f"{folder}: tensors {what}: {some(sorted(names))}; pull the model again")


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def _index(folder: Path, layout: Layout) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        foreign = layout.foreign(folder)
        raise ModelBroken(foreign or f"{folder} is not in diffusers' layout: it has no model_index.json")
    index = _json(path)
    kind = index.get("_class_name")
    if kind not in layout.pipelines:
        raise ModelBroken(
            f"{path} is that of {kind or 'no pipeline'}: only {', '.join(layout.pipelines)} is known here"
        )
    return index


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from None
    if not isinstance(read, dict):
        raise ModelBroken(f"{path} cannot be read: it is no JSON object")
    return read


def _is_part(value: list[Any]) -> bool:
    return len(value) == 2 and all(v is None or isinstance(v, str) for v in value)


def _look(folder: Path, part: Part, said: Any, allow_pickle: bool) -> _Found:
    """One part: its class is known, its files are there. Raises ModelBroken."""
    if said in (None, [None, None]):
        if part.optional:
            return _Found(part, None, "")
        raise ModelBroken(f"{folder}/model_index.json names no {part.name}: it is not that of a whole model")
    if not (isinstance(said, list) and _is_part(said)):
        raise ModelBroken(f"{folder}/model_index.json: {part.name} is {said!r}, not a library and a class")
    library, name = said
    if name not in part.classes:
        raise ModelBroken(f"{folder}/model_index.json: {part.name} is a {name}; known is {', '.join(part.classes)}")
    # Of what a pipeline brings with it the index names the pipeline's own module, as in ["audioldm2", …].
    library = library if library == "transformers" else "diffusers"
    place = folder / part.name
    if not place.is_dir():
        raise ModelBroken(f"{folder} is not complete: the folder {part.name} is missing; pull the model again")
    if part.kind == "tokenizer":
        if not any(all((place / file).is_file() for file in files) for files in _VOCABULARIES):
            names = ", ".join(" and ".join(files) for files in _VOCABULARIES[1:])
            raise ModelBroken(f"{place} is not complete: it has no tokenizer.json (nor {names}); pull the model again")
        return _Found(part, library, name)
    config = place / _CONFIGS[part.kind]
    if not config.is_file() and not (part.kind == "extractor" and (place / "processor_config.json").is_file()):
        raise ModelBroken(f"{place} is not complete: {config.name} is missing; pull the model again")
    if config.is_file():
        _json(config)
    if part.kind != "network":
        return _Found(part, library, name)
    return _weights(_Found(part, library, name), place, allow_pickle)


def _weights(found: _Found, place: Path, allow_pickle: bool) -> _Found:
    assert found.library is not None
    safe, pickled = _STEMS[found.library]
    for variant in _VARIANTS:
        if files := _files(place, safe, "safetensors", variant):
            return _of(found, files, variant, pickled=False)
    for variant in _VARIANTS:
        if files := _files(place, pickled, "bin", variant):
            if not allow_pickle:
                raise ModelBroken(
                    f"{place} has its weights as pickles only, which can hold programs: get the .safetensors files, or "
                    "name the model in TONEWHEEL_PICKLED_MODELS (only tensors are then read from them)"
                )
            return _of(found, files, variant, pickled=True)
    raise ModelBroken(f"{place} is not complete: {safe}.safetensors (or its index) is missing; pull the model again")


def _of(found: _Found, files: list[Path], variant: str, *, pickled: bool) -> _Found:
    for file in files:
        names_in(file)  # a file that was cut short is named before anything is loaded
    size = sum(file.stat().st_size for file in files)
    return _Found(found.part, found.library, found.name, pickled, variant, size)


def _files(place: Path, stem: str, ending: str, variant: str) -> list[Path]:
    """The files of weights of a kind; [] = there are none. Raises ModelBroken where one of an index is missing."""
    dotted = f".{variant}" if variant else ""
    for name in (f"{stem}.{ending}.index{dotted}.json", f"{stem}{dotted}.{ending}.index.json"):
        if (place / name).is_file():
            return sorted(set(indexed(place / name).values()))
    whole = place / f"{stem}{dotted}.{ending}"
    return [whole] if whole.is_file() else []


def _line(error: Exception) -> str:
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__)[:300]
