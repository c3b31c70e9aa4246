"""The synthesizer: a part of the score in, a raw stereo stem out.

voice.py        what an instrument is (read this first), the notes it plays, the cache of its layers
render.py       a part -> a stem
registry.py     which file builds which instrument
bank.py         decaying partials (strings, bars, tines, bells): one matrix product
oscillators.py  endless loops (organs, reeds, saws, ensembles): one inverse FFT
envelopes.py    attacks, releases, fades
organ, keys, mallets, plucked, bass, ...   the instruments, a family a file
kits/, effects  drums and risers
"""

from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.render import render_part

__all__ = ["SAMPLE_RATE", "render_part"]
