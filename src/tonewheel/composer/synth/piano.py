"""The felt piano: an upright with a strip of felt between hammers and strings.

Each partial is two, of slightly different pitch and very different decay: the strings of a note first move
together and give their energy to the soundboard quickly, then against each other and keep it (Weinreich
1977). Stiffness sharpens the partials, the hammer's place takes out every eighth, the felt most of the
treble; the soundboard colours each take and side differently; the action is heard.
"""

from __future__ import annotations

import numpy as np

from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.envelopes import Samples, decay, rise, samples_of
from tonewheel.composer.synth.oscillators import Reals, hertz, noise_burst
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.voice import TAKES_APART, Event, Layers, Voice

_STRUCK_AT = 0.119
_LAST_DAMPER = 88
_BOARD_HZ = np.array([62.0, 88.0, 124.0, 177.0, 236.0, 318.0, 431.0, 590.0, 820.0, 1150.0, 1600.0])


class FeltPiano(Voice):
    release_s = 0.32
    attack_s = 0.0012
    dynamics = 1.35
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.85, 0.4
    spread = 0.55
    keyboard_pan = 0.35
    felt_hz = (420.0, 3200.0)  # the hammer's low-pass, soft and hard, at middle C

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        base = hertz(pitch)
        k = np.arange(1, max(int(min(7000.0, 30.0 * base + 2500.0) / base), 2) + 1)
        stiff = 1.6e-4 * np.exp(0.072 * (pitch - 49)) + 2.5e-4 * np.exp(-0.09 * (pitch - 24))
        hz = base * k * np.sqrt((1 + stiff * k**2) / (1 + stiff))
        loss = 1.0 + (hz / 900.0) ** 1.4
        slow = 24.0 * 2 ** (-(pitch - 36) / 16.0) * loss[0] ** 0.9 / loss + 0.15
        cents = rng.uniform(0.35, 0.9) * (1.0 + 0.4 * rng.random(len(hz)))
        pair_hz = np.concatenate([hz * 2 ** (-0.3 * cents / 1200), hz * 2 ** (cents / 1200)])
        pair_t60 = np.concatenate([slow * 0.42, slow])
        rows = []
        board = self._board(hz, rng)
        angles = rng.normal(0, 0.7, (2, len(hz))) * np.minimum(k / 8.0, 1.0) - np.pi / 2 + TAKES_APART
        for felt in self.felt_hz:
            levels = self._hammer(hz, k, felt * (base / 261.6) ** 0.35) * board
            together = phasors(levels * 0.8, angles)
            against = phasors(
                levels * 0.26 * (0.7 + 0.6 * rng.random((2, len(hz)))), angles + rng.uniform(-0.9, 0.9, angles.shape)
            )
            rows.append(np.concatenate([together, against], axis=1))
        takes = ring(pair_hz, pair_t60, np.concatenate(rows), min(seconds, float(slow.max()) * 1.05))
        layers = Layers(takes.reshape(2, 2, -1))
        self._action(layers.samples, pitch, rng)
        return layers

    def _hammer(self, hz: Reals, k: np.ndarray[tuple[int], np.dtype[np.int64]], felt: float) -> Reals:
        """Levels by partial; the fundamental is the same whatever the felt."""
        comb = np.abs(np.sin(np.pi * k * _STRUCK_AT)) + 0.06
        levels = comb / k**0.55 / (1.0 + (hz / max(felt, 0.8 * hz[0])) ** 2.4)
        firm = comb / k**0.55 / (1.0 + (hz / max(self.felt_hz[1], 0.8 * hz[0])) ** 2.4)
        lift = 1.2 ** np.log2(hz[0] / 261.6)  # treble notes are short: struck as loud, they would be lost
        scaled: Reals = levels * (0.2 * lift * firm[0] / levels[0] / np.sqrt(np.sum(firm**2)))
        return scaled

    def _board(self, hz: Reals, rng: np.random.Generator) -> Reals:
        """What the soundboard does to each partial, [2, K]: another place for each take."""
        gains = np.ones((2, len(hz)))
        for take in range(2):
            for center in _BOARD_HZ * (1 + 0.03 * rng.normal(0, 1, len(_BOARD_HZ))):
                width = (hz / center - center / hz) * 7.0
                gains[take] += 0.7 * rng.normal(0.35, 0.5) / (1.0 + width**2)
        ripple = 10 ** (rng.normal(0, 2.2, (2, len(hz))) * (np.arange(len(hz)) > 0) / 20)
        out: Reals = np.maximum(gains, 0.4) * ripple
        return out / np.sqrt(out[:, :1] * out[::-1, :1])

    def _action(self, takes: Samples, pitch: int, rng: np.random.Generator) -> None:
        """The thump of the key bed and the hammer's felt on the string, in place."""
        n = min(samples_of(0.11), takes.shape[2])
        modes = _BOARD_HZ[:8] * (1 + 0.05 * rng.normal(0, 1, 8))
        amps = phasors(0.012 * (0.4 + rng.random((2, 8))), rng.random((2, 8)) * 6.28)
        thump = ring(modes, np.full(8, 0.12), amps, n / SAMPLE_RATE)
        thump[:, : min(n, 64)] *= rise(64)[: min(n, 64)]
        felt = noise_burst(rng, n, 2, 250.0, 1400.0) * decay(n, 0.045)
        felt[:, : min(n, 100)] *= rise(100)[: min(n, 100)]
        for shade, (knock, rub) in enumerate(((0.5, 0.004), (1.0, 0.011))):
            takes[shade, :, :n] += thump[:, :n] * np.float32(knock) + felt * np.float32(rub)

    def release_samples(self, event: Event) -> int:
        if event.pitch > _LAST_DAMPER:
            return samples_of(1.6)
        return samples_of(self.release_s * (1.0 + max(52 - event.pitch, 0) / 24.0))
