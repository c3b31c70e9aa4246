"""How a plan looks in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tonewheel.songs.plan import SongPlan


def plan_view(plan: SongPlan) -> RenderableType:
    """The plan as a person reads it: what it is, then a row a section."""
    head = Text.assemble(
        (plan.title, "bold"),
        f"  {plan.genre}, {plan.key}, {plan.tempo:.1f} bpm, {plan.time_signature}, "
        f"{plan.duration_s:.0f} s, seed {plan.seed}",
    )
    players = ", ".join(f"{i.instrument} ({i.role})" for i in plan.instrumentation)
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim")
    table.add_column("time", no_wrap=True)
    table.add_column("section", no_wrap=True)
    table.add_column("energy", no_wrap=True)
    table.add_column("chords", max_width=30)
    table.add_column("lyrics")
    at = 0.0
    for section in plan.sections:
        bar = "▮" * round(section.energy * 5) + "▯" * (5 - round(section.energy * 5))
        words = "\n".join(section.lyrics) or "♪"
        table.add_row(clock(at), section.label, bar, " ".join(section.chords), Text(words))
        at += section.duration_s
    rows: list[RenderableType] = [head]
    if players:
        rows.append(Text(players, style="dim"))
    rows += [Text(""), table]
    rows += [Text(f"Note: {note}", style="yellow") for note in plan.notes]
    return Group(*rows)


def clock(seconds: float) -> str:
    """`1:05` for 65 s."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
