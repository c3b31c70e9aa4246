"""The built-in engine: song plan → score → audio, with no weights and no native library."""
