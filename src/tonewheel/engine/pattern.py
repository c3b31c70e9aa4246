"""Delay patterns by index arithmetic (MusicGen, Copet et al. 2023, §2.2: "Codebook interleaving patterns").

Codebook k runs `delays[k]` steps behind: what is drawn at step t is its frame t - delays[k].
"""

from __future__ import annotations

import torch


def steps_of(frames: int, delays: tuple[int, ...]) -> int:
    """Steps that `frames` frames take."""
    return frames + max(delays)


def frames_of(steps: int, delays: tuple[int, ...]) -> int:
    """Frames that are whole after `steps` steps."""
    return max(0, steps - max(delays))


def laid_out(start: torch.Tensor | None, frames: int, delays: tuple[int, ...], pad: int) -> torch.Tensor:
    """What is known beforehand, [K, steps]: the codes `start` [K, F] where they belong, `pad` where a codebook has
    no frame, -1 where a token is to be drawn."""
    total = frames + (0 if start is None else start.shape[1])
    steps = steps_of(total, delays)
    frame = torch.arange(steps)[None, :] - torch.tensor(delays)[:, None]
    plan = torch.where((frame >= 0) & (frame < total), -1, pad)
    if start is not None:
        for k, delay in enumerate(delays):
            plan[k, delay : delay + start.shape[1]] = start[k]
    return plan


def gathered(plan: torch.Tensor, delays: tuple[int, ...], first: int, last: int) -> torch.Tensor:
    """Frames first … last - 1 of a plan [K, steps] → codes [K, last - first]."""
    return torch.stack([plan[k, first + d : last + d] for k, d in enumerate(delays)])
