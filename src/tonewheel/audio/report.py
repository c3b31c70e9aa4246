"""What was measured of a recording, and what it means in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tonewheel.audio.key import KeyEstimate
from tonewheel.audio.tempo import Tempo

Severity = Literal["info", "warning", "fault"]
DURATION_TOLERANCE_S = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a recording. A `fault` makes it unusable, a `warning` is worth a look."""

    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Measures of a recording. Levels are dB relative to full scale, `-inf` for silence; `tempo`, `key`,
    `balance` and `loudness_range_lu` are None when not asked for or not to be told."""

    duration_s: float
    rate: int
    channels: int
    nonfinite_samples: int
    clipped_runs: int
    longest_clip: int
    dc_offset: float
    silence_head_s: float
    silence_tail_s: float
    silence_share: float
    peak_dbfs: float
    true_peak_dbtp: float
    lufs: float
    loudness_range_lu: float | None
    crest_db: float
    stereo_correlation: float | None
    balance: dict[str, float] | None
    tempo: Tempo | None
    key: KeyEstimate | None
    findings: tuple[Finding, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; what is infinite becomes None."""
        return {name: jsonable(value) for name, value in asdict(self).items()}


def findings(report: Report, expected_duration_s: float | None = None) -> list[Finding]:
    """What a person should know of `report`, the worst first."""
    order = {"fault": 0, "warning": 1, "info": 2}
    found = [*_whole(report, expected_duration_s), *_levels(report), *_stereo(report), *_music(report)]
    return sorted(found, key=lambda finding: order[finding.severity])


def _whole(r: Report, expected_duration_s: float | None) -> Iterator[Finding]:
    if r.nonfinite_samples:
        yield Finding("fault", f"{r.nonfinite_samples} samples are not numbers (NaN or infinite)")
    if expected_duration_s is not None and abs(r.duration_s - expected_duration_s) > DURATION_TOLERANCE_S:
        yield Finding("fault", f"it lasts {r.duration_s:.2f} s and should last {expected_duration_s:.2f} s")
    if r.silence_share == 1.0:
        yield Finding("fault", "it is silent throughout")
        return
    if r.silence_share > 0.2:
        yield Finding("warning", f"{100 * r.silence_share:.0f} % of it is silent")
    if r.silence_head_s > 1.0:
        yield Finding("warning", f"it begins with {r.silence_head_s:.1f} s of silence")
    if r.silence_tail_s > 3.0:
        yield Finding("warning", f"it ends with {r.silence_tail_s:.1f} s of silence")


def _levels(r: Report) -> Iterator[Finding]:
    if r.clipped_runs:
        yield Finding("warning", f"it is clipped in {r.clipped_runs} places, the longest {r.longest_clip} samples")
    elif r.true_peak_dbtp > 0:
        yield Finding(
            "warning", f"it peaks {r.true_peak_dbtp:.1f} dB above full scale between samples: converters will clip it"
        )
    if r.dc_offset > 0.01:
        yield Finding("warning", f"it is off centre by {100 * r.dc_offset:.1f} % of full scale (DC)")
    if r.lufs > -8.0:
        yield Finding("warning", f"it is very loud ({r.lufs:.1f} LUFS): streaming services will turn it down")
    if -math.inf < r.lufs < -30.0:
        yield Finding("warning", f"it is very quiet ({r.lufs:.1f} LUFS)")
    if r.silence_share < 1.0 and r.crest_db < 5.0 and r.duration_s > 1.0:
        yield Finding(
            "warning", f"its peaks stand only {r.crest_db:.1f} dB above its mean: it is crushed or a test tone"
        )


def _stereo(r: Report) -> Iterator[Finding]:
    if r.channels != 2 or r.silence_share == 1.0:
        return
    if r.stereo_correlation is None:
        yield Finding("warning", "one of the two channels is silent")
    elif r.stereo_correlation < -0.1:
        yield Finding(
            "warning", f"left and right cancel each other (correlation {r.stereo_correlation:.2f}): mono will be thin"
        )
    elif r.stereo_correlation > 0.9999:
        yield Finding("info", "both channels are the same: it is mono")


def _music(r: Report) -> Iterator[Finding]:
    if r.balance is not None and r.balance["sub"] > 60:
        yield Finding("warning", f"{r.balance['sub']:.0f} % of the energy lies below 60 Hz")
    if r.tempo is not None:
        rivals = {"half": 0.5, "double": 2.0}
        close = [f"{r.tempo.bpm * f:.1f}" for name, f in rivals.items() if r.tempo.octaves[name] > 0.9]
        if close:
            yield Finding("info", f"{r.tempo.bpm:.1f} bpm may as well be felt as {' or '.join(close)}")
        if r.tempo.confidence < 0.2:
            yield Finding("info", "its tempo is uncertain: it has few or free beats")
    if r.key is not None and r.key.confidence < 0.2:
        yield Finding("info", f"its key may as well be {r.key.runner_up}")


def jsonable(value: Any) -> Any:
    """`value` in plain JSON types: six decimals, None for what is infinite."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
