"""Where the packages of a model are not installed, it says which extra brings them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tonewheel.errors import MissingExtra
from tonewheel.models import registry
from tonewheel.models.extra import needing

_WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
from tonewheel.errors import MissingExtra
from tonewheel.models import registry
said = {}
for family in registry.families().values():
    if not family.cards[0].weight_license:
        continue
    try:
        family.create(family.cards[0])
    except MissingExtra as error:
        said[family.name] = error.message
print(json.dumps(said))
"""


def test_every_family_with_weights_names_the_extra_that_brings_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", _WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert set(said) == {f.name for f in registry.families().values() if f.cards[0].weight_license}
    diffusion = {"ace_step", "stable_audio", "audioldm2"}
    for name, message in said.items():
        extra = "diffusion" if name in diffusion else "models"
        assert message.endswith(f"needs torch: run `pip install 'tonewheel[{extra}]'`")


def test_what_else_cannot_be_imported_stays_a_fault() -> None:
    with pytest.raises(ImportError), needing("models", "composer"):
        raise ImportError(name="tonewheel.models.nowhere")
    with pytest.raises(ImportError), needing("models", "musicgen-small"):
        raise ImportError(name="diffusers")  # of the other extra
    with pytest.raises(MissingExtra), needing("diffusion", "audioldm2"):
        raise ImportError(name="diffusers.models")
