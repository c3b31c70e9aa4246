"""`tonewheel generate`: music from a description, by any model that takes a prompt."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tonewheel.cli import options as o
from tonewheel.errors import InvalidRequest, RenderFault

if TYPE_CHECKING:
    from rich.console import Console

    from tonewheel.audio.formats import Format
    from tonewheel.fleet.exchange import Answer
    from tonewheel.models.base import Card, Family, ModelRequest


def generate(
    prompt: Annotated[str, typer.Argument(help="What it is to sound like; empty = whatever the model likes.")] = "",
    model: Annotated[
        str, typer.Option("--model", help="A model that takes prompts.", autocompletion=o.complete_music_model)
    ] = "musicgen-small",
    duration: Annotated[
        float | None, typer.Option("--duration", "-d", help="Seconds of new music; absent = as the model has it.")
    ] = None,
    output: o.Output = None,
    fmt: o.Format = None,
    seed: Annotated[int | None, typer.Option("--seed", help="The same seed and words give the same music.")] = None,
    negative_prompt: Annotated[str | None, typer.Option("--negative", help="What it is not to sound like.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Higher is less predictable.")] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Draw from so many tokens; 0 = all.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Draw from the likeliest that make up this.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option("--guidance", help="How closely the prompt is followed.")
    ] = None,
    continue_from: Annotated[
        Path | None, typer.Option("--continue-from", help="An audio file to go on from; the result begins with it.")
    ] = None,
    melody: Annotated[
        Path | None, typer.Option("--melody", help="An audio file whose melody is followed (melody models).")
    ] = None,
    any_field: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other field of the model's request; NAME=@FILE takes it from a file.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be asked; make nothing.")] = False,
    force: o.ForceRender = False,
    as_json: o.AsJson = False,
    quiet: o.Quiet = False,
) -> None:
    """Generate music from a description, with a model on this machine.

    Examples:

      tonewheel generate "warm lo-fi with a slow beat" --duration 8 -o x.wav

      tonewheel generate "a brass band" --model musicgen-melody --melody hummed.wav

      tonewheel generate "the same, wilder" --continue-from x.wav --seed 7 -o longer.flac

      tonewheel generate "dream pop" --model ace-step-turbo --set lyrics=@words.txt --set bpm=92 --set num_variations=2
    """
    from rich.console import Console

    from tonewheel.audio.formats import format_of
    from tonewheel.cli.fields import fields_of
    from tonewheel.cli.make import slug
    from tonewheel.files import check_target
    from tonewheel.fleet.clock import expected_here
    from tonewheel.models import registry
    from tonewheel.models.clock import takes_force, told_s

    family, card = registry.resolve(model)
    more = fields_of(family, any_field or ())
    target = output or Path(f"{slug(prompt or card.id)}.{fmt or 'wav'}")
    chosen = format_of(target)
    targets = [target, *(target.with_stem(f"{target.stem}-{n}") for n in range(2, _count(more) + 1))]
    for one in targets:
        check_target(one, force)
    asked = {
        "prompt": prompt, "duration": duration, "seed": seed, "negative_prompt": negative_prompt,
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance_scale": guidance_scale,
        "continue_from": _encoded(continue_from), "melody": _encoded(melody),
    }  # fmt: skip
    body = {name: value for name, value in asked.items() if value is not None} | more
    if force and takes_force(family):
        body["force"] = True
    expected = expected_here(family, card, _checked(family, card, body))
    names = [str(one) for one in targets]
    if dry_run:
        files = {"continue_from", "melody", *(name for name in more if f"{name}=@" in " ".join(any_field or ()))}
        shown = {k: "(a file)" if k in files else v for k, v in body.items()}
        told = {"dry_run": True, "model": card.id, "files": names, "request": shown}
        told |= {} if expected is None else {"expected_s": round(expected.seconds, 1)}
        takes = "" if expected is None else f", in about {told_s(expected.seconds)}"
        text = f"dry run: would write {', '.join(names)}{takes}"
        print(json.dumps(told, indent=2, ensure_ascii=False) if as_json else text)
        return
    chat = Console(stderr=True, quiet=quiet)
    began = time.monotonic()
    answer = _made(card, body, chosen, chat)
    written = _write(answer, targets, chosen, force)
    _tell(answer, card, written, time.monotonic() - began, as_json, chat)


def _encoded(path: Path | None) -> str | None:
    """A file as a request holds it. Raises UnreadableAudio."""
    from tonewheel.audio.read import load_bytes

    return None if path is None else base64.b64encode(load_bytes(path)).decode()


def _checked(family: Family, card: Card, body: dict[str, Any]) -> ModelRequest:
    """The request; what the model cannot take is told before anything is started. Raises InvalidRequest."""
    from pydantic import ValidationError

    from tonewheel.explain import explain

    known = family.request.model_fields
    if "prompt" not in known:
        raise InvalidRequest(f"{card.id} takes no prompt: see `tonewheel models`", param="model")
    strange = [name for name in body if name not in known]
    if strange:
        raise InvalidRequest(f"{card.id} knows no {strange[0].replace('_', ' ')}: leave it out", param=strange[0])
    if "melody" in body and "melody" not in card.tasks:
        raise InvalidRequest(f"{card.id} follows no melody: name a model that does with --model", param="melody")
    try:
        return family.request.model_validate(body)
    except ValidationError as error:
        raise explain(error, InvalidRequest, "", tuple(known)) from None


def _made(card: Card, body: dict[str, Any], chosen: Any, chat: Console) -> Answer:
    from tonewheel.audio.formats import INFO
    from tonewheel.cli.make import progress_bar
    from tonewheel.fleet.client import Fleet

    accept = "audio/opus" if chosen == "opus" else INFO[chosen].media_type  # both are Ogg by their type
    with Fleet() as fleet:
        fleet.require_usable(card.id)
        with progress_bar(chat) as show:
            return fleet.call(
                card.id,
                body,
                accept=accept,
                progress=lambda stage, fraction, _: show(_DOING.get(stage, stage), fraction),
            )


_DOING = {
    "load": "loading the model", "text": "reading the prompt", "generate": "generating", "encode": "encoding",
    "wait": "waiting", "denoise": "generating", "decode": "decoding",
}  # fmt: skip


def _count(more: dict[str, Any]) -> int:
    """How many pieces are asked for, as far as that can be read."""
    said = next((more[name] for name in ("num_variations", "num_waveforms_per_prompt") if name in more), "1")
    return min(int(said), 100) if said.strip().isdecimal() else 1


def _write(answer: Answer, targets: list[Path], chosen: Format, force: bool) -> list[Path]:
    """The main piece, and the others beside it in the same format."""
    from tonewheel.files import whole_file

    if answer.audio is None:
        raise RenderFault("the model answered no audio")
    pieces = [answer.audio.read()]
    others = [f for f in answer.files if f.field.startswith(("waveforms[", "variations[")) and "[0]" not in f.field]
    pieces += [_in_format(file.read(), chosen) for file in others]
    for target, data in zip(targets, pieces, strict=False):
        with whole_file(target, force=force) as out:
            out.write(data)
    return targets[: len(pieces)]


def _in_format(data: bytes, chosen: Format) -> bytes:
    """A piece beside the main one, which comes as WAV."""
    if chosen == "wav":
        return data
    from tonewheel.audio.read import decode
    from tonewheel.audio.tags import read_tags
    from tonewheel.audio.write import encode

    sound = decode(data)
    return encode(sound.samples, sound.rate, chosen, read_tags(data))


def _tell(answer: Answer, card: Card, files: list[Path], took_s: float, as_json: bool, chat: Console) -> None:
    said = answer.metadata
    notes = answer.fields.get("notes") or []
    if as_json:
        told = {
            "files": [str(file) for file in files], "model": card.id, "license": card.weight_license,
            "duration_s": said.get("duration_s"), "seed": said.get("seed"),
            "sample_rate": answer.fields.get("sample_rate"), "channels": answer.fields.get("channels"),
            "notes": notes, "timings": dict(answer.timings),
        }  # fmt: skip
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for note in notes:
        chat.print(f"Note: {note}", highlight=False)
    licence = f", {card.weight_license}" if card.weight_license else ""
    seconds = float(said.get("duration_s") or 0.0)
    chat.print(f"{seconds:g} s in {took_s:.1f} s, seed {said.get('seed')}{licence}", highlight=False)
    print("\n".join(str(file) for file in files))
