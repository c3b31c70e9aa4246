"""Audio files and what they sound like: read, write, tag, resample, measure, check, draw.

Samples are float32 `[n, channels]` with full scale at ±1 everywhere in this room. Start at `read.read`,
`write.encode`, `checks.check`; `tags` holds what a file says of itself.
"""
