"""`tonewheel validate`: asks every service for its health and one small real piece of work."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tonewheel.fleet.client import Fleet

# The least that makes a model do its real work, by what its card says it can do.
_SMALL: dict[str, dict[str, Any]] = {
    "song": {"narrative": "A small test of one bell.", "duration": 10, "seed": 1},
    "plan": {"narrative": "A small test of one bell.", "duration": 10},
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one model did; `state` is ok, failed, or skipped (with the reason in `said`)."""

    model: str
    state: str
    seconds: float
    said: str


def validate(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask every model for one small real piece of work. Exit code 1 when one of them fails.

    Examples:

      tonewheel validate

      tonewheel validate composer --json
    """
    from rich.console import Console

    from tonewheel.fleet.client import Fleet
    from tonewheel.models.registry import cards, resolve

    wanted = [resolve(name)[1].id] if name else list(cards())
    outcomes = []
    with Fleet() as fleet, Console(stderr=True, quiet=as_json).status("asking the models") as status:
        for model in wanted:
            status.update(f"asking {model}")
            outcomes.append(_ask(fleet, model))
    if as_json:
        typer.echo(json.dumps([asdict(o) for o in outcomes], indent=2))
    else:
        _show(outcomes)
    if any(o.state == "failed" for o in outcomes):
        sys.exit(1)


def _ask(fleet: Fleet, model: str) -> Outcome:
    from tonewheel.errors import ConsentRequired, NotPulled, TonewheelError
    from tonewheel.models.registry import card

    request = next((_SMALL[task] for task in card(model).tasks if task in _SMALL), None)
    if request is None:
        return Outcome(model, "skipped", 0.0, "no small request is known for what it does")
    begin = time.perf_counter()

    def done(state: str, said: str) -> Outcome:
        return Outcome(model, state, round(time.perf_counter() - begin, 2), said)

    try:
        answer = fleet.call(model, request, keep_alive=0)
    except (NotPulled, ConsentRequired) as e:
        return done("skipped", e.message)
    except TonewheelError as e:
        return done("failed", e.message)
    return done("ok", _summary(answer.fields))


def _summary(fields: Any) -> str:
    told = {k: fields[k] for k in ("title", "duration", "sample_rate", "tempo", "key") if k in fields}
    return ", ".join(f"{k} {v}" for k, v in told.items()) or "answered"


def _show(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "skipped": "yellow", "failed": "red"}
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "state", "seconds", "answer"):
        table.add_column(heading)
    for o in outcomes:
        table.add_row(o.model, f"[{colours[o.state]}]{o.state}[/]", f"{o.seconds:.2f}", o.said)
    Console().print(table)
