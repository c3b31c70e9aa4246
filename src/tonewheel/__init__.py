"""Tonewheel: the self-hosted music AI server."""

__version__ = "0.1.0"
