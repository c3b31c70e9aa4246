"""What trials share: where they work, and what they note."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from report import Row

_MOST = 5  # faults of one kind that are told


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a trial."""

    folder: Path
    quick: bool
    rows: list[Row]
    wrong: list[str]

    def count(self, name: str, kept: int, tried: int) -> None:
        """A promise that was kept `kept` times of `tried`."""
        self.rows.append(Row(name, kept, None, f"of {tried}", None))
        self.say(f"{name}: {kept} of {tried}")

    def measured(self, name: str, value: float, unit: str) -> None:
        self.rows.append(Row(name, round(value, 3), None, unit, None))
        self.say(f"{name}: {value:.3f} {unit}")

    def judge(self, what: str, faults: list[str]) -> bool:
        """Whether it went well; what did not is told at the end."""
        told = faults[:_MOST] + ([f"… {len(faults) - _MOST} more"] if len(faults) > _MOST else [])
        self.wrong.extend(f"{what}: {fault}" for fault in told)
        for fault in told:
            self.say(f"{what}: {fault}")
        return not faults

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
