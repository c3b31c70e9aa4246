"""All kits by their instrument ids."""

from __future__ import annotations

from tonewheel.composer.synth.kits.acoustic import KIT_ACOUSTIC
from tonewheel.composer.synth.kits.brushes import KIT_BRUSHES
from tonewheel.composer.synth.kits.cinematic import KIT_CINEMATIC
from tonewheel.composer.synth.kits.dusty import KIT_DUSTY
from tonewheel.composer.synth.kits.machines import KIT_808, KIT_909
from tonewheel.composer.synth.kits.voices import Kit

KITS: dict[str, Kit] = {kit.id: kit for kit in (KIT_ACOUSTIC, KIT_808, KIT_909, KIT_BRUSHES, KIT_DUSTY, KIT_CINEMATIC)}
