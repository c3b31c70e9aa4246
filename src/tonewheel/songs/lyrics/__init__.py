"""Lyrics without a language model: the narrative's own clauses, answered by couplets, around a hook."""

from tonewheel.songs.lyrics.couplets import MOODS, THEMES
from tonewheel.songs.lyrics.writer import Lyrics, hook_of, write_lyrics

__all__ = ["MOODS", "THEMES", "Lyrics", "hook_of", "write_lyrics"]
