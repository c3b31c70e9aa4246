"""`tonewheel validate`: asks every service for its health and one small real piece of work."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tonewheel.fleet.client import Fleet, Target

_WORDS = "A small test of one bell."
_SECONDS = 10  # where a model does not say what the least is
# Numbers that say how much work it is: the least of each is asked.
_EFFORT = ("num_inference_steps", "max_new_tokens", "max_tokens", "run_n_segments", "length_seconds")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one model did; `state` is ok, failed, or skipped (with the reason in `said`)."""

    model: str
    state: str
    health: str
    seconds: float
    said: str


def validate(
    name: Annotated[str | None, typer.Argument(help="Only this model or service.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask every model for its health and one small real piece of work; those elsewhere (by a URL) as well.

    Exit code 1 when one of them fails; those whose weights are not here are skipped.

    Examples:

      tonewheel validate

      tonewheel validate composer --json
    """
    from rich.console import Console

    from tonewheel.fleet.client import Fleet
    from tonewheel.settings import made_folder, settings

    made_folder(settings().data_dir)
    outcomes = []
    with Fleet() as fleet, Console(stderr=True, quiet=as_json).status("asking the models") as status:
        wanted = [fleet.target(name)] if name else [fleet.target(model) for model in _all(fleet)]
        for target in wanted:
            status.update(f"asking {target.name}")
            outcomes.append(_ask(fleet, target))
    if as_json:
        typer.echo(json.dumps([asdict(o) for o in outcomes], indent=2))
    else:
        _show(outcomes)
    if any(o.state == "failed" for o in outcomes):
        sys.exit(1)


def _all(fleet: Fleet) -> Iterator[str]:
    from tonewheel.fleet.catalogue import catalogue

    yield from (entry.id for entry in catalogue(fleet.records, fleet.remotes))


def _ask(fleet: Fleet, target: Target) -> Outcome:
    """Health first, then the work; a model that did not run before does not stay."""
    from tonewheel.errors import ConsentRequired, NotPulled, TonewheelError

    ran = target.remote is not None or fleet.records.of(target.name).live() is not None
    begin, health = time.perf_counter(), "—"

    def done(state: str, said: str) -> Outcome:
        return Outcome(target.name, state, health, round(time.perf_counter() - begin, 2), said)

    try:
        health = _health(fleet, target.name)
        answer = fleet.call(target.name, small_request(target), keep_alive=None if ran else 0)
    except (NotPulled, ConsentRequired) as e:
        return done("skipped", e.message)
    except TonewheelError as e:
        return done("failed", e.message)
    return done("ok" if health == "ok" else "failed", _summary(answer.fields))


def _health(fleet: Fleet, model: str) -> str:
    """What its `/health` says; starts it if need be. Raises as `Fleet.using`, Unavailable."""
    import httpx

    from tonewheel.errors import Unavailable

    with fleet.using(model, lambda: None) as address:
        try:
            answer = httpx.get(f"{address.url}/health", headers=dict(address.headers), timeout=10.0, trust_env=False)
        except httpx.HTTPError as e:
            raise Unavailable(
                f"the service of {model} cannot be reached ({type(e).__name__}): is it running?"
            ) from None
    return "ok" if answer.status_code == 200 else str(answer.status_code)


def small_request(target: Target) -> Mapping[str, Any]:
    """The least that makes a model do its real work, in the words its request type has.

    Audio is what the strictest takes: 22,050 Hz, mono, under 30 s. A service that is known by its URL only
    (heartmula's contract) gets a prompt.
    """
    if target.family is None:
        return {"prompt": "one bell", "duration": _SECONDS, "seed": 1}
    from tonewheel.serving.describe import options

    fields = {row["key"]: row for row in options(target.family.request)}
    words = next((name for name in ("narrative", "prompt", "lyrics") if name in fields), None)
    request: dict[str, Any] = {words: _WORDS} if words else {}
    if "lyrics" in fields and fields["lyrics"]["required"]:
        request["lyrics"] = f"[verse]\n{_WORDS}"
    if "audio" in fields:
        request["audio"] = base64.b64encode(_bell()).decode()
    if "duration" in fields:
        request["duration"] = max(1, fields["duration"]["min"] or _SECONDS)
    if "seed" in fields:
        request["seed"] = 1
    return request | {name: fields[name]["min"] or 1 for name in _EFFORT if name in fields}


def _bell() -> bytes:
    """Four seconds of a bell struck twice a second, as WAV."""
    import numpy as np
    import soundfile

    rate = 22_050
    t = np.arange(rate // 2) / rate
    strike = np.sin(2 * np.pi * 880 * t) * np.exp(-8 * t) * 0.5
    out = io.BytesIO()
    soundfile.write(out, np.tile(strike, 8).astype(np.float32), rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def _summary(fields: Any) -> str:
    kept = ("title", "duration", "sample_rate", "tempo", "key", "bpm", "num_beats")
    told = {k: fields[k] for k in kept if fields.get(k) is not None}
    return ", ".join(f"{k} {v}" for k, v in told.items()) or "answered"


def _show(outcomes: list[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"ok": "green", "skipped": "yellow", "failed": "red"}
    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "state", "health", "seconds", "answer"):
        table.add_column(heading, no_wrap=heading != "answer")
    skipped = [o.model for o in outcomes if o.state == "skipped"] if len(outcomes) > 1 else []
    for o in outcomes:
        if o.model not in skipped:
            table.add_row(o.model, f"[{colours[o.state]}]{o.state}[/]", o.health, f"{o.seconds:.2f}", Text(o.said))
    console.print(table)
    if skipped:
        console.print(
            f"skipped, their weights are not here (`tonewheel validate NAME` says more): {', '.join(skipped)}",
            style="dim", highlight=False,
        )  # fmt: skip
