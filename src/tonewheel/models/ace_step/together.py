"""Songs with different words in one call of diffusers' pipeline, each as it would be alone.

The pipeline pads the words of a batch and lets the transformer attend to the padding, and it knows one tempo, key and
language a call. Here each song's words are encoded by themselves, with their own tempo, key and language, and what was
filled up behind shorter ones is masked where the transformer attends to it. A song alone goes through the pipeline
untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tonewheel.models.ace_step.prepared import Words


class Together:
    """Hooks set once into a pipeline; inside `of` a call of it is for these songs, outside it is the pipeline's own."""

    def __init__(self, pipeline: Any) -> None:
        self._encode: Callable[..., tuple[Tensor, ...]] = pipeline.encode_prompt
        self._rows: Sequence[Words] = ()
        self._masks: dict[int, Tensor] = {}  # of conditions, by how many positions they have
        self._mask: Tensor | None = None
        pipeline.encode_prompt = self._encode_each
        pipeline.condition_encoder.register_forward_hook(self._remember)
        pipeline.transformer.register_forward_pre_hook(self._choose, with_kwargs=True)
        for layer in pipeline.transformer.layers:
            layer.cross_attn.register_forward_pre_hook(self._attend, with_kwargs=True)

    @contextmanager
    def of(self, rows: Sequence[Words]) -> Iterator[None]:
        self._rows = rows
        try:
            yield
        finally:
            self._rows, self._mask = (), None
            self._masks.clear()

    def _encode_each(self, **asked: Any) -> tuple[Tensor, ...]:
        """In place of the pipeline's: the words of each song alone, filled up behind to the longest."""
        if not self._rows:
            return self._encode(**asked)
        each = [self._encode(**asked | row.asked()) for row in self._rows]
        return tuple(_stacked([row[n] for row in each]) for n in range(4))

    def _remember(self, _module: object, _inputs: object, output: tuple[Tensor, Tensor]) -> None:
        """`output`: conditions [rows, positions, width] and which of them are meant [rows, positions]."""
        states, meant = output
        if self._rows and not bool(meant.all()):
            self._masks[states.shape[1]] = meant

    def _choose(self, _module: object, _inputs: object, given: dict[str, Any]) -> None:
        states = given["encoder_hidden_states"]  # with guidance twice as many rows, the later ones without words
        meant = self._masks.get(states.shape[1])
        if meant is None:
            self._mask = None
        else:
            self._mask = meant.repeat(states.shape[0] // meant.shape[0], 1)[:, None, None, :]

    def _attend(self, _module: object, inputs: Any, given: dict[str, Any]) -> Any:
        return None if self._mask is None else (inputs, given | {"attention_mask": self._mask})


def _stacked(tensors: list[Tensor]) -> Tensor:
    """[1, n, …] each → [rows, most n, …], zeros (False in masks) behind."""
    longest = max(t.shape[1] for t in tensors)
    whole = tensors[0].new_zeros(len(tensors), longest, *tensors[0].shape[2:])
    for row, tensor in zip(whole, tensors, strict=True):
        row[: tensor.shape[1]] = tensor[0]
    return whole


def noise(pipeline: Any, frames: int, generators: Sequence[torch.Generator]) -> Tensor:
    """[rows, frames, channels]: drawn by the pipeline, but for as many frames as there are. From seconds it reckons one
    too many for some lengths (436 / 25 · 25 > 436 in floating point) and then fails."""
    from diffusers.utils.torch_utils import randn_tensor  # noqa: PLC0415

    shape = (len(generators), frames, int(pipeline.transformer.config.audio_acoustic_hidden_dim))
    drawn: Tensor = randn_tensor(
        shape, generator=list(generators), device=pipeline._execution_device, dtype=pipeline.transformer.dtype
    )
    return drawn
