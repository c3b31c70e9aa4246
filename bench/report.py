"""What every bench shares: the machine, rows with both sides, a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; `ratio` above 1 always means ours is better (None: nothing to compare with)."""

    name: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None


def lower_is_better(name: str, ours: float, theirs: float | None, unit: str) -> Row:
    ratio = round(theirs / ours, 2) if theirs is not None and ours else None
    return Row(name, round(ours, 3), None if theirs is None else round(theirs, 3), unit, ratio)


def arguments(
    description: str | None, more: Callable[[argparse.ArgumentParser], object] | None = None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    if more:
        more(parser)
    return parser.parse_args()


def machine() -> dict[str, object]:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version(),
            "load_1min": load}  # fmt: skip


def show(rows: list[Row], as_json: bool, notes: list[str] | None = None) -> None:
    if as_json:
        print(json.dumps({"machine": machine(), "notes": notes or [], "rows": [asdict(r) for r in rows]}, indent=2))
        return
    print(", ".join(f"{k}: {v}" for k, v in machine().items()))
    width = max((len(r.name) for r in rows), default=10)
    print(f"{'':{width}}  {'ours':>9}  {'theirs':>9}  {'unit':6}  ratio")
    for r in rows:
        theirs = "-" if r.theirs is None else f"{r.theirs:.3f}"
        ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
        print(f"{r.name:{width}}  {r.ours:>9.3f}  {theirs:>9}  {r.unit:6}  {ratio}")
    for note in notes or []:
        print(note)


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table with several sides: its name, the key of its JSON, and how many digits are shown."""

    title: str
    key: str
    digits: int


class Growing:
    """A table with a row a side, each printed as soon as it is there: a run that is killed has shown what it had.

    With `as_json` nothing is printed until `end`, which then prints everything as one object.
    """

    def __init__(self, columns: list[Column], as_json: bool, width: int = 34) -> None:
        self._columns, self._as_json, self._width = columns, as_json, width
        self._sides: list[dict[str, object]] = []
        self._rows: list[Row] = []
        if not as_json:
            print(", ".join(f"{k}: {v}" for k, v in machine().items()), flush=True)

    def note(self, text: str) -> None:
        """A line between rows; in JSON it is left out."""
        if not self._as_json:
            print(text, flush=True)

    def head(self, title: str) -> None:
        """The names of the columns, above a block of rows."""
        titles = "  ".join(f"{c.title:>{max(9, len(c.title))}}" for c in self._columns)
        self.note(f"\n{title:{self._width}}  {titles}")

    def side(self, block: str, name: str, values: Mapping[str, float | None]) -> None:
        """A row: a value for each column's key, None or nothing where there is none."""
        self._sides.append({"block": block, "name": name, **values})
        shown = []
        for c in self._columns:
            value = values.get(c.key)
            text = "-" if value is None else f"{value:,.{c.digits}f}"
            shown.append(f"{text:>{max(9, len(c.title))}}")
        self.note(f"{name:{self._width}}  {'  '.join(shown)}")

    def rows(self, title: str) -> None:
        """From here on come rows of ours and theirs."""
        self.note(f"\n{title:{self._width + 12}}  {'ours':>9}  {'theirs':>9}  {'unit':8}  ratio")

    def row(self, r: Row) -> None:
        self._rows.append(r)
        theirs = "-" if r.theirs is None else f"{r.theirs:.3f}"
        ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
        self.note(f"{r.name:{self._width + 12}}  {r.ours:>9.3f}  {theirs:>9}  {r.unit:8}  {ratio}")

    def end(self, notes: list[str]) -> None:
        if self._as_json:
            told = {"machine": machine(), "notes": notes, "sides": self._sides, "rows": [asdict(r) for r in self._rows]}
            print(json.dumps(told, indent=2))
        else:
            print("\n" + "\n".join(notes), flush=True)


def median(values: list[float]) -> float:
    return statistics.median(values)
