"""Tonewheel's decoding kernels for CPUs. `tonewheel.engine.kernels` finds and uses them; nothing else should."""

from tonewheel_kernels._native import Crew, Draw, Layer, Norm, Split, Stack, Weight, available, chosen

__all__ = ["Crew", "Draw", "Layer", "Norm", "Split", "Stack", "Weight", "available", "chosen"]
__version__ = "0.2.0"
