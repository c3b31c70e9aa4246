"""HeartCodec: codes of songs to stereo samples at 48 kHz, window by window, several songs at once.

    codec = HeartCodec(flow, wave)
    decoding = codec.begin(seed)                     one song
    samples = decoding.push(codes)                   [n, 2], once a window is full; else none
    samples = decoding.finish()                      the rest

A window's first 104 latents are the last ones of the window before it, which is why the windows of one song come one
after another; those of different songs are computed together. Where two windows overlap their samples are faded into
one another. Every song has a noise of its own, from its seed: one draw of [744, 256] for each window, in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tonewheel.engine.kernels import Kernels, PlainKernels
from tonewheel.models.batching import Batcher
from tonewheel.models.heartmula.flow import GUIDANCE, LATENT, STEPS, Flow, FlowShape, Weights
from tonewheel.models.heartmula.wave import Wave, WaveShape
from tonewheel.models.heartmula.windows import (
    LATENTS_PER_FRAME,
    OVERLAP,
    SAMPLES_PER_FRAME,
    WINDOW,
    Window,
    windows,
)

Samples = NDArray[np.float32]
Noise = Callable[[], Tensor]
"""The noise of the next window, [744, 256] float32 on the CPU."""

_LATENTS = WINDOW * LATENTS_PER_FRAME
_SHARED = OVERLAP * LATENTS_PER_FRAME
_FADE = OVERLAP * SAMPLES_PER_FRAME


@dataclass(frozen=True, slots=True)
class _Job:
    """One window to decode."""

    codes: Tensor  # [K, 372]
    noise: Tensor  # [744, 256]
    context: Tensor | None  # [104, 256], of the window before
    wanted: Callable[[], bool]  # no longer, once its song was given up


class HeartCodec:
    """The decoder. Thread-safe; `close` ends its thread."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        kernels: Kernels | None = None,
        together: int | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
    ) -> None:
        """`dtype` is that of the flow's products (float32, or float16 on a GPU); waveforms are always float32.
        `kernels`: the language model's; the flow has their products of many rows where there are any.

        `together`: windows computed at once; by default 4 on a GPU, and one on a CPU, which gains nothing by more.
        """
        kernels = kernels or PlainKernels()
        self.flow = Flow(FlowShape.of(config), weights, device=device, dtype=dtype, kernels=kernels)
        self.wave = Wave(WaveShape.of(config), weights, device=device)
        self.device, self.steps, self.guidance = device, steps, guidance
        # Beside the language model's stream, so that neither waits for the other.
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        most = together or (4 if device.type == "cuda" else 1)
        self._batcher: Batcher[_Job, tuple[Tensor, Tensor]] = Batcher(self._compute, most=most, name="codec")

    @property
    def codebooks(self) -> int:
        return self.flow.shape.codebooks

    def begin(self, seed: int = 0, *, noise: Noise | None = None, check: Callable[[], None] = lambda: None) -> Decoding:
        """Start a song. What `check` raises, asked several times a second, gives it up in the middle of a window."""
        return Decoding(self, noise or seeded_noise(seed), check)

    def decode(self, codes: Tensor, seed: int = 0, *, noise: Noise | None = None) -> Samples:
        """Codes [K, frames] of a whole song → samples [3840 · frames, 2]."""
        decoding = self.begin(seed, noise=noise)
        return np.concatenate([decoding.push(codes), decoding.finish()])

    def decode_window(
        self, codes: Tensor, noise: Tensor, context: Tensor | None, check: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """Codes [K, 372] → latents [744, 256], samples [2, 1428480], both on the CPU; waits for its turn."""
        given_up = False

        def still(raising: Callable[[], None] = check) -> None:
            nonlocal given_up
            try:
                raising()
            except BaseException:
                given_up = True
                raise

        job = _Job(codes, noise, context, lambda: not given_up)
        return self._batcher.run([job], check=still)[0]

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run every layer once, over eight codes: a whole window takes minutes on a CPU."""
        codes = torch.zeros((1, self.codebooks, 8), dtype=torch.int64, device=self.device)
        nothing = torch.zeros((1, 8 * LATENTS_PER_FRAME, LATENT), device=self.device)
        self.wave.decode(self.flow.solve(self.flow.condition(codes), nothing, nothing, [0], steps=1)[0])

    def close(self) -> None:
        self._batcher.close()

    # ── in the batcher's thread ──

    @torch.inference_mode()
    def _compute(self, jobs: list[_Job]) -> Sequence[tuple[Tensor, Tensor]]:
        def wanted() -> bool:
            return any(job.wanted() for job in jobs)

        with torch.cuda.stream(self._stream) if self._stream is not None else contextlib.nullcontext():
            latents = self.latents(
                torch.stack([job.codes for job in jobs]),
                torch.stack([job.noise for job in jobs]),
                [job.context for job in jobs],
                go_on=wanted,
            )
            return [
                (row.cpu(), self.wave.decode(row, go_on=job.wanted)) for row, job in zip(latents, jobs, strict=True)
            ]

    @torch.inference_mode()
    def latents(
        self,
        codes: Tensor,
        noise: Tensor,
        contexts: Sequence[Tensor | None],
        *,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Tensor:
        """Windows of codes [B, K, 372] with their noise [B, 744, 256] and contexts → latents [B, 744, 256].

        Codes beyond the codebook become its last entry: an index error on a GPU would end every request.
        """
        codes = codes.to(self.device, torch.int64).clamp(0, self.flow.shape.codes - 1)
        context = torch.zeros(len(codes), _LATENTS, LATENT)
        for row, known in zip(context, contexts, strict=True):
            if known is not None:
                row[: len(known)] = known
        return self.flow.solve(
            self.flow.condition(codes), noise.to(self.device), context.to(self.device),
            [0 if known is None else len(known) for known in contexts],
            steps=self.steps, guidance=self.guidance, go_on=go_on,
        )  # fmt: skip


class Decoding:
    """One song: codes in, samples out as soon as they can no longer change."""

    def __init__(self, codec: HeartCodec, noise: Noise, check: Callable[[], None]) -> None:
        self._codec, self._noise, self._check = codec, noise, check
        self._codes = torch.empty((codec.codebooks, 0), dtype=torch.int64)
        self._next = Window(0, 0, last=False)
        self._context: Tensor | None = None
        self._tail: Tensor | None = None  # [2, _FADE] the end of the last window, to be faded into the next
        self._told = 0

    def push(self, codes: Tensor) -> Samples:
        """Further codes [K, n] → samples [m, 2] that are certain now. Raises what `check` does."""
        self._codes = torch.cat([self._codes, codes.to("cpu", torch.int64)], dim=1)
        made = []
        # A window that may be the last one is left to `finish`: whether it is, only the next code tells.
        while self._codes.shape[1] > self._next.needs:
            made.append(self._decode(self._next))
        return _joined(made)

    def finish(self) -> Samples:
        """The rest, so that there are 3840 samples for each code."""
        frames = self._codes.shape[1]
        if frames == 0:
            return _joined([])
        left = [window for window in windows(frames) if window.number >= self._next.number]
        return _joined([self._decode(window) for window in left])

    def _decode(self, window: Window) -> Samples:
        frames = self._codes.shape[1]
        # Beyond its end the song begins anew; a short one is repeated until the window is full.
        codes = self._codes[:, torch.arange(window.start, window.needs) % frames]
        latents, wave = self._codec.decode_window(codes, self._noise(), self._context, self._check)
        self._context = latents[-_SHARED:]
        self._next = Window(window.number + 1, window.needs - OVERLAP, last=False)
        if self._tail is not None:
            rise = torch.linspace(0, 1, _FADE, dtype=torch.float64)
            faded = (self._tail * (1 - rise) + wave[:, :_FADE] * rise).float()
            wave = torch.cat([faded, wave[:, _FADE:]], dim=1)
        if window.last:
            wave = wave[:, : frames * SAMPLES_PER_FRAME - self._told]
        else:
            wave, self._tail = wave[:, :-_FADE], wave[:, -_FADE:]
        self._told += wave.shape[1]
        return np.ascontiguousarray(wave.T.numpy())


def seeded_noise(seed: int) -> Noise:
    """Drawn window by window, on the CPU, so that every device starts from the same noise."""
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn((_LATENTS, LATENT), generator=generator)


def _joined(made: list[Samples]) -> Samples:
    return np.concatenate(made) if made else np.zeros((0, 2), np.float32)
