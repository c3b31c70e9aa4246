"""Electric and felt pianos, the clavinet."""

from __future__ import annotations

import math

import numpy as np

from tonewheel.composer.synth.bank import phasors, ring
from tonewheel.composer.synth.envelopes import Samples, decay, rise, samples_of
from tonewheel.composer.synth.oscillators import hertz, modulated, noise_burst, sine, turns
from tonewheel.composer.synth.piano import FeltPiano
from tonewheel.composer.synth.plucked import Body, PluckedString, StringTone
from tonewheel.composer.synth.rate import SAMPLE_RATE
from tonewheel.composer.synth.voice import Event, Layers, Stage, Voice, stack
from tonewheel.seeds import noise


class ElectricPiano(Voice):
    """Tines before a pickup. The tine swings as a sine; the pickup's field is narrow, so a wide swing comes
    out bent: struck harder it barks, and as it dies away it becomes a sine again. The tine's second mode
    is the bell of the attack. Stereo tremolo on the whole stem."""

    release_s = 0.16
    dynamics = 1.25
    low_velocity_shade, velocity_shade, brightness_shade = 0.0, 0.85, 0.35
    spread = 0.3
    keyboard_pan = 0.2
    swings = (0.22, 0.62, 1.25)  # of the tine against the width of the pickup's field: soft to hard
    bells = (0.05, 0.12, 0.30)
    tremolo_hz, tremolo_depth = 4.6, 0.22

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        t60 = 11.0 * 2 ** (-(pitch - 40) / 24.0)
        n = samples_of(min(seconds, t60 * 1.1))
        swing = decay(n, t60 * 1.3)
        angle = turns(hz, n).view(np.int32).astype(np.float32) * np.float32(math.pi / 2**31)
        sine, cosine = np.sin(angle), np.cos(angle)
        window = min(n, round(SAMPLE_RATE / hz) * 6)
        bell, knock = self._attack(hz, n, rng)
        reach = min(1.0, (3000.0 / hz) ** 0.7)
        shades = []
        for width, ringing in zip(self.swings, self.bells, strict=True):
            takes = []
            for v, offset in enumerate((0.30, 0.42)):
                field = swing * sine
                field *= np.float32(width * reach)
                field += np.float32(offset)
                bent = field * field
                bent += np.float32(1.0)
                np.multiply(bent, bent, out=bent)
                np.divide(field, bent, out=field)
                field *= cosine
                field *= swing
                field *= np.float32(0.2 / abs(2.0 * float(field[:window] @ cosine[:window]) / window))
                field[: bell.shape[1]] += np.float32(ringing) * bell[v][:n]
                field[: knock.shape[1]] += np.float32(ringing * 0.35) * knock[v][:n]
                takes.append(field)
            shades.append(np.stack(takes))
        return Layers(stack(shades))

    def _attack(self, hz: float, n: int, rng: np.random.Generator) -> tuple[Samples, Samples]:
        """The tine's upper modes and the hammer, two takes each."""
        modes = hz * np.array([7.1, 7.16, 19.9]) * (1 + 0.01 * (rng.random(3) - 0.5))
        t60 = np.array([0.9, 0.75, 0.25]) * min(1.0, (400.0 / hz) ** 0.5)
        levels = np.array([0.6, 0.4, 0.25]) * (0.8 + 0.4 * rng.random((2, 3)))
        length = min(n / SAMPLE_RATE, 1.0)
        bell = ring(modes, t60, phasors(levels, -np.pi / 2 + 0.8 * (rng.random((2, 3)) - 0.5)), length)
        m = min(samples_of(0.02), n)
        return bell, noise_burst(rng, m, 2, 150.0, 1800.0) * decay(m, 0.02)

    def finish(self, stem: Samples, stage: Stage) -> Samples:
        start = float(noise(stage.seed, stage.part.id, "tremolo").random())
        return pan_tremolo(stem, self.tremolo_hz, self.tremolo_depth, start)


def pan_tremolo(stem: Samples, hz: float, depth: float, start: float) -> Samples:
    """The level moves from side to side, in place: the "suitcase" vibrato."""
    n = stem.shape[1]
    for first in range(0, n, 65_536):
        stop = min(first + 65_536, n)
        swing = np.float32(depth) * _cycle(first, stop, hz, start)
        stem[0, first:stop] *= 1.0 + swing
        stem[1, first:stop] *= 1.0 - swing
    return stem


def level_tremolo(stem: Samples, hz: float, depth: float, start: float) -> Samples:
    """The level of both sides swells together, in place: the fans of a vibraphone."""
    n = stem.shape[1]
    for first in range(0, n, 65_536):
        stop = min(first + 65_536, n)
        stem[:, first:stop] *= 1.0 - np.float32(depth) * (0.5 + 0.5 * _cycle(first, stop, hz, start))
    return stem


def _cycle(first: int, stop: int, hz: float, start: float) -> Samples:
    """A sine over the samples from `first` to `stop`."""
    cycles = np.arange(first, stop) * (hz / SAMPLE_RATE) + start
    cycles -= np.floor(cycles)
    swing: Samples = np.sin(cycles.astype(np.float32) * np.float32(2 * math.pi))
    return swing


class FmPiano(Voice):
    """Three pairs of operators, as the famous preset of 1983 has them: a tine (modulator 14 times above,
    gone in a moment) and two bodies at the pitch, a little apart. Velocity is the modulation index."""

    release_s = 0.18
    dynamics = 1.2
    velocity_shade, brightness_shade = 0.85, 0.4
    spread = 0.45
    keyboard_pan = 0.15
    tine = (0.10, 0.62)  # modulation index at the start, soft and hard
    body = (0.35, 1.75)

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        hz = hertz(pitch)
        t60 = 11.0 * 2 ** (-(pitch - 40) / 24.0)
        n = samples_of(min(seconds, t60 * 1.1))
        loud, short = decay(n, t60), decay(n, 0.9 * (400.0 / (hz + 200.0)) ** 0.4)
        mellowing = decay(n, t60 * 0.55)
        taming = min(1.0, (700.0 / hz) ** 0.6)
        ratio = 14.0 if hz * 15 < 0.4 * SAMPLE_RATE else 7.0 if hz * 8 < 0.4 * SAMPLE_RATE else 3.0
        steady = turns(hz, n)
        tine_source = sine(turns(hz * ratio, n)) * short
        shades = []
        apart = [turns(hz * 2 ** (cents / 1200), n) for cents in (0.7, -0.9)]
        sources = [sine(other) * mellowing for other in apart]
        for tine, body in zip(self.tine, self.body, strict=True):
            bell = modulated(steady, tine_source * np.float32(tine * min(taming * 1.3, 1.0)))
            index = np.float32(body * taming)
            bodies = [modulated(o, source * index) for o, source in zip(apart, sources, strict=True)]
            shades.append(np.stack([(0.4 * bell + 0.6 * one) * loud for one in bodies]) * np.float32(0.3))
        return Layers(stack(shades))


_CLAV_PICKUPS = Body(((1900.0, 1.2, 6.0), (4200.0, 1.5, 4.0)), 0.0)


class Clavinet(PluckedString):
    """A string struck at its end by the key's own tangent, heard by a pickup; yarn stops it at once."""

    dynamics = 1.1

    def play(self, layers: Layers, event: Event) -> Samples:
        out = super().play(layers, event)
        if layers.noises is not None and event.held < out.shape[1]:
            n = min(layers.noises.shape[1], out.shape[1] - event.held)
            pick = int(event.chance[2] * len(layers.noises))
            out[:, event.held : event.held + n] += layers.noises[pick, :n] * np.float32(0.02 * self.level(event))
        return out

    def build(self, pitch: int, seconds: float, rng: np.random.Generator) -> Layers:
        strings = super().build(pitch, seconds, rng).samples
        n = samples_of(0.03)
        return Layers(strings, noise_burst(rng, n, 3, 300.0, 2500.0) * (decay(n, 0.025) * rise(n)))


VOICES: dict[str, Voice] = {
    "electric_piano": ElectricPiano(),
    "fm_piano": FmPiano(),
    "felt_piano": FeltPiano(),
    "clavinet": Clavinet(
        StringTone(0.045, 1200.0, 12000.0, 5.2, 0.68, 2400.0, 1.2e-4, _CLAV_PICKUPS, finger=0.03, pickup_at=0.12),
        release_s=0.06,
    ),
}
