"""AudioLDM 2 loaded in this process from tiny checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tonewheel.models.audioldm2 import FAMILY
from tonewheel.models.base import RunContext
from tonewheel.settings import settings


def model_of(folder: Path, data: Path, **environment: str) -> Any:
    """A loaded model; what was set is set for its loading alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TONEWHEEL_AUDIOLDM2_PATH", str(folder))
        patch.setenv("TONEWHEEL_DATA_DIR", str(data))
        for name, value in environment.items():
            patch.setenv(name, value)
        settings.cache_clear()
        try:
            model = FAMILY.create(FAMILY.cards[0])
            model.load(RunContext())
        finally:
            settings.cache_clear()
    return model
