"""Which file builds which instrument. Files are imported when their first instrument is asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tonewheel.composer.synth.voice import Voice
from tonewheel.errors import UnknownName

# module -> the instruments in its VOICES
_HOMES = {
    "organ": ("drawbar_organ", "church_organ", "accordion"),
    "keys": ("electric_piano", "fm_piano", "felt_piano", "clavinet"),
    "mallets": ("vibraphone", "marimba", "glockenspiel", "bells"),
    "plucked": (
        "nylon_guitar", "steel_guitar", "clean_guitar", "muted_guitar", "overdriven_guitar", "harp", "banjo",
        "pizzicato",
    ),
    "bass": ("upright_bass", "electric_bass", "synth_bass", "sub_bass", "reese_bass"),
    "leads": ("saw_lead", "square_lead", "soft_lead", "pluck_synth", "stab_synth"),
    "pads": ("warm_pad", "glass_pad", "dark_pad"),
    "ensemble": ("string_ensemble",),
    "choir": ("choir",),
    "brass": ("brass_section",),
    "wind": ("flute",),
}  # fmt: skip
HOME = {name: module for module, names in _HOMES.items() for name in names}


@cache
def voice_of(instrument: str) -> Voice:
    """The voice that plays a pitched instrument. UnknownName for anything else."""
    if instrument not in HOME:
        raise UnknownName("pitched instrument", instrument, HOME)
    module = import_module(f"tonewheel.composer.synth.{HOME[instrument]}")
    voice: Voice = module.VOICES[instrument]
    return voice
