"""The rate everything in the composer is rendered at."""

SAMPLE_RATE = 44_100
