"""The shared room and the tempo delay.

The room is one synthesised impulse response: noise whose bands decay at their own rates, high ones
sooner, as in real rooms (facts: one room for all parts is what makes them one recording). Convolved
once for all parts together.
"""

from __future__ import annotations

import numpy as np

from tonewheel.audio.fourier import rfft
from tonewheel.composer.mix.filters import Curve, Samples, equalise
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.seeds import noise
from tonewheel.styles.schema import Space

_BANDS = (0.0, 250.0, 1000.0, 3500.0, 9000.0)  # Hz, lower edges of the decay bands


def impulse_response(space: Space) -> Samples:
    """Stereo impulse response, float32 [2, m], of unit energy a channel."""
    length = int((space.predelay_ms / 1000 + space.decay_s * 1.1) * SAMPLE_RATE)
    start = int(space.predelay_ms / 1000 * SAMPLE_RATE)
    rng = noise(7, "room", round(space.decay_s * 1000), round(space.predelay_ms))
    size = 1 << (length - 1).bit_length()
    t = (np.arange(length, dtype=np.float32) - start).clip(0) / SAMPLE_RATE
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    ir = np.zeros((2, length), dtype=np.float32)
    for channel in range(2):
        white = rfft(rng.standard_normal(size, dtype=np.float32))
        for i, low in enumerate(_BANDS):
            high = _BANDS[i + 1] if i + 1 < len(_BANDS) else SAMPLE_RATE
            # Highs die sooner; a bright room keeps more of them.
            share = 1.0 - (0.16 - 0.11 * space.brightness) * i * 1.4
            decay = space.decay_s * (0.85 if i == 0 else max(share, 0.25))
            level = 10 ** (-(4.5 - 3.5 * space.brightness) * max(i - 1, 0) / 20)
            band = np.fft.irfft(np.where((hz >= low) & (hz < high), white, 0), size)[:length]
            ir[channel] += (level * band * np.exp(-6.908 * t / decay)).astype(np.float32)
    attack = max(int(0.012 * SAMPLE_RATE), 1)
    ir[:, :start] = 0.0
    ramp = ir[:, start : start + attack]
    ramp *= np.linspace(0.3, 1.0, ramp.shape[1], dtype=np.float32)
    fade = length // 8
    ir[:, -fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32) ** 2
    equalise(ir, Curve(highpass=180.0))  # a room that rumbles blurs the bass
    ir /= np.sqrt((ir**2).sum(axis=1, keepdims=True))
    return ir


def add_reverb(mix: Samples, send: Samples, space: Space) -> None:
    """Convolve the mono `send` [n] with the room and add it to `mix` [2, n], block by block."""
    ir = impulse_response(space)
    taps = ir.shape[1]
    size = 1 << (2 * taps - 1).bit_length()
    hop = size - taps + 1
    spectrum = rfft(ir, size)
    n = send.shape[0]
    for start in range(0, n, hop):
        block = send[start : start + hop]
        if not block.any():
            continue
        wet = np.fft.irfft(rfft(block, size) * spectrum, size)
        stop = min(n, start + size)
        mix[:, start:stop] += wet[:, : stop - start]


def add_delay(mix: Samples, send: Samples, space: Space, quarter_s: float) -> None:
    """Ping-pong echoes of the mono `send` [n], each darker than the last, added to `mix` [2, n].
    The send is spent: it is filtered in place."""
    if not send.any():
        return
    step = round(space.delay_beats * quarter_s * SAMPLE_RATE)
    gain = 1.0
    for echo in range(1, 9):
        start = echo * step
        if gain < 0.03 or start >= send.shape[0] or step == 0:
            break
        equalise(send, Curve(highpass=200.0, lowpass=5200.0))
        near, far = (0, 1) if echo % 2 else (1, 0)
        tail = send[: send.shape[0] - start] * np.float32(gain)
        mix[near, start:] += tail
        tail *= np.float32(0.35)
        mix[far, start:] += tail
        gain *= space.delay_feedback
