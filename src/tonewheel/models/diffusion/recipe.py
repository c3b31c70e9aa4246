"""What requests must have in common to be rendered in one call of the pipeline, and what that costs."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one call of the pipeline: requests whose recipes are equal are rendered together.

    `more` is whatever else a family's rows must agree on (a time shift, what audio they start from). `load` is how
    much one step of one row works on, in any unit that seconds a step grow with (latent frames, say; twice as many
    with guidance where that doubles the batch): the clock reckons by it. `decode_load` is the same of decoding a row.
    """

    steps: int
    guidance_scale: float
    duration_s: float
    load: float
    decode_load: float
    more: Hashable = ()
