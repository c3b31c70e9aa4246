"""Progress and cancelling in any pipeline of diffusers, whether it has callbacks or not.

    watched = Watched(pipeline, denoiser="unet", decoders=("vae.decoder", "vocoder"))
    with watched.by(listener):
        pipeline(…)         listener.step(1, 50), … listener.decoding(0.2) …; what they raise ends the call

Every denoising step of every pipeline goes through `scheduler.step`, with guidance or without, and every decoder is
made of modules: nothing else is relied on. The scheduler is a fresh one in each call, so that one which was stopped
half-way leaves nothing behind for the next. Whoever decodes in pieces says in the call how many there will be
(`watched.decodes = 12`), or the share that is told would be whole after the first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn


class Listener(Protocol):
    """Whoever is told; each of these may raise to end the call."""

    def check(self) -> None: ...

    def step(self, done: int, total: int) -> None: ...

    def decoding(self, share: float) -> None: ...


class Watched:
    """The hooks of one pipeline, set once."""

    def __init__(self, pipeline: Any, *, denoiser: str, decoders: Sequence[str]) -> None:
        self._pipeline = pipeline
        self._scheduler = pipeline.scheduler
        self._listener: Listener | None = None
        for module in _blocks(_at(pipeline, denoiser)):
            module.register_forward_pre_hook(self._check)
        whole = [_at(pipeline, name) for name in decoders]
        parts = [module for one in whole for module in one.modules()]
        self._heard, self._parts = 0, max(1, len(parts))
        self.decodes = 1
        for module in parts:
            module.register_forward_pre_hook(self._decode)

    @contextmanager
    def by(self, listener: Listener) -> Iterator[None]:
        """Tell `listener` about the calls inside."""
        self._listener, self._heard, self.decodes = listener, 0, 1
        scheduler = type(self._scheduler).from_config(self._scheduler.config)
        scheduler.step = self._counted(scheduler)
        self._pipeline.scheduler = scheduler
        try:
            yield
        finally:
            self._listener = None
            self._pipeline.scheduler = self._scheduler

    def _counted(self, scheduler: Any) -> Any:
        listener, step = self._listener, scheduler.step
        assert listener is not None
        done = 0

        @functools.wraps(step)  # pipelines look at its signature
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            out = step(*args, **kwargs)
            done += 1
            listener.step(done, max(done, len(scheduler.timesteps)))
            return out

        return counted

    def _check(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.check()

    def _decode(self, *_: object) -> None:
        if self._listener is not None:
            self._heard += 1
            self._listener.decoding(min(1.0, self._heard / (self._parts * max(1, self.decodes))))


def _at(pipeline: Any, path: str) -> nn.Module:
    module: nn.Module = functools.reduce(getattr, path.split("."), pipeline)
    return module


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """A network and its blocks: a step may take half a minute on a CPU, a block a part of it."""
    yield module
    for child in module.children():
        yield from child if isinstance(child, nn.ModuleList) else ()
