"""What models on transformers check of a folder alike: its config.json before loading, its tensors after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tonewheel.errors import ModelBroken, NotPulled
from tonewheel.models.tensor_files import some


def read_config(folder: Path, model: str) -> Any:
    """config.json as it is. Raises NotPulled for an empty place, ModelBroken; `model` is the card's id."""
    path = folder / "config.json"
    if not path.is_file():
        raise NotPulled(
            f"there is no model in {folder}: run `tonewheel pull {model}`, or name a folder in its _PATH variable",
            param="model",
        )
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelBroken(f"{path} cannot be read: {error}") from None


def kind_of(config: Any) -> str:
    """The model_type of a config.json, for a message about another one."""
    return str((config.get("model_type") if isinstance(config, dict) else None) or "no model")


def account(folder: Path, found: Mapping[str, Any], whole: str, needed: Callable[[str], bool]) -> None:
    """`from_pretrained` only warns of what is missing, and makes it up: here it is ModelBroken, by name. `found` is its
    loading info, `whole` the model's name, and names that are not `needed` may be there or not."""

    def sifted(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if needed(name))

    problems = {
        "are missing": sifted(found["missing_keys"]),
        f"belong to no part of {whole}": sifted(found["unexpected_keys"]),
        "have another shape": sorted(str(key[0]) for key in found["mismatched_keys"]),
    }
    for what, names in problems.items():
        if names:
            raise ModelBroken(f"tensors in {folder} {what}: {some(names)}; pull the model again")
