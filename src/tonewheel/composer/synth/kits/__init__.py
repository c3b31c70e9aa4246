"""Drum kits: six of them, every drum synthesised, no hit ever the same samples twice."""

from tonewheel.composer.synth.kits.catalogue import KITS
from tonewheel.composer.synth.kits.layers import layers_of
from tonewheel.composer.synth.kits.render import render_kit, split_kick, voice_of

__all__ = ["KITS", "forget_layers", "render_kit", "split_kick", "voice_of"]


def forget_layers() -> None:
    """Give back the memory of drums already played (up to 70 MB); they are made again when needed."""
    layers_of.cache_clear()
