"""A worker's renderer over the fleet: every model that makes sound, each in a process of its own or elsewhere."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tonewheel.errors import InvalidRequest, NotPulled, RenderFault
from tonewheel.fleet.client import Fleet
from tonewheel.fleet.exchange import Answer, AnswerFile
from tonewheel.fleet.pull import is_pulled
from tonewheel.fleet.remote import CONTRACTS
from tonewheel.jobs.rendering import RenderedSong, RenderRequest, Tell
from tonewheel.models import registry
from tonewheel.models.base import Card
from tonewheel.settings import service_url
from tonewheel.songs.plan import SongPlan

FromPlan = Callable[[SongPlan], dict[str, Any]]
_MAKES_SONGS = {"song", "music", "sound"}
_LOSSLESS = "audio/flac;bits=24"  # not dithered: that happens once, when the song is finished


class FleetRenderer:
    """Implements `Renderer`. `fleet` is closed with it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def slots(self) -> Mapping[str, int]:
        cards = registry.cards().values()
        found = {card.id: card.concurrency for card in cards if _MAKES_SONGS.intersection(card.tasks)}
        for name in CONTRACTS:  # servers that are known by their URL only
            if name not in found and name not in registry.services() and self._fleet.remotes.of(name) is not None:
                found[name] = 1
        return found

    def render(
        self,
        request: RenderRequest,
        *,
        job_id: str,
        progress: Tell,
        deadline_s: float,
        cancelled: Callable[[], bool],
    ) -> RenderedSong:
        target = self._fleet.target(request.model)
        fields = set(target.family.request.model_fields) if target.family else None
        from_plan = target.family.from_plan if target.family else None
        began = time.monotonic()
        answer = self._fleet.call(
            request.model, request_body(request, fields, job_id, from_plan), accept=_LOSSLESS, into=request.scratch,
            deadline_s=deadline_s, progress=progress, cancelled=cancelled, headers=_headers(request),
            keep_alive=request.keep_alive,
        )  # fmt: skip
        return _rendered(answer, request, target.card, time.monotonic() - began)

    def embeds(self) -> str | None:
        return _here("embed")

    def embed(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> list[float]:
        answer = self._heard("embed", audio, {}, deadline_s, cancelled)
        return [float(value) for value in answer.fields["embeddings"]]

    def tracks(self) -> str | None:
        return _here("beats")

    def track(self, audio: Path, *, deadline_s: float, cancelled: Callable[[], bool]) -> Mapping[str, Any]:
        return self._heard("beats", audio, {"strict": False, "frames": False}, deadline_s, cancelled).fields

    def _heard(
        self, task: str, audio: Path, options: dict[str, Any], deadline_s: float, cancelled: Callable[[], bool]
    ) -> Answer:
        model = _here(task)
        if model is None:
            raise NotPulled(f"no model for {task} is here")
        body = {"audio": base64.b64encode(audio.read_bytes()).decode(), **options}
        return self._fleet.call(model, body, deadline_s=deadline_s, cancelled=cancelled)

    def close(self) -> None:
        self._fleet.close()


def _here(task: str) -> str | None:
    """The first model for a task whose weights are here, or that runs elsewhere."""
    able = (card for card in registry.cards().values() if task in card.tasks)
    return next((card.id for card in able if is_pulled(card) or service_url(card.id) is not None), None)


def request_body(
    request: RenderRequest, fields: set[str] | None, job_id: str, from_plan: FromPlan | None = None
) -> dict[str, Any]:
    """What a model is asked, in the words it has: `fields` are those of its request type, None = not known.

    A model that takes a plan gets it; others get what their family's `from_plan` makes of it, or what it says as
    words, lyrics and seconds.
    """
    body: dict[str, Any] = {"client_job_id": job_id[:256]}
    if fields is not None and "plan" in fields and request.plan is not None:
        body["plan"] = request.plan.to_dict()
    elif request.plan is not None and from_plan is not None:
        given = {
            "prompt": request.prompt,
            "lyrics": request.lyrics,
            "duration": request.duration_s,
            "seed": request.seed,
        }
        body |= from_plan(request.plan) | {name: value for name, value in given.items() if value is not None}
    else:
        prompt, lyrics = request.prompt, request.lyrics
        if request.plan is not None:
            prompt, lyrics = prompt or words_of(request.plan), lyrics or lyrics_of(request.plan)
        if not prompt and not lyrics:
            raise InvalidRequest(f"model {request.model} needs a prompt or lyrics: give one of them", param="prompt")
        body |= {"prompt": prompt or "", "lyrics": lyrics, "duration": request.duration_s, "seed": request.seed}
        if prompt and _would_be_sung(prompt) and (fields is None or "style" in fields):
            body["style"] = body.pop("prompt")
    body |= {name: True for name in ("midi", "lrc", "stems") if getattr(request, name)}
    known = {k: v for k, v in body.items() if v is not None and (fields is None or k in fields)}
    return known | dict(request.options)


def _would_be_sung(prompt: str) -> bool:
    """heartmula's rule (contracts.md): a prompt of several lines or over 20 words is lyrics; `style` is never sung."""
    return len(prompt.strip().splitlines()) > 1 or len(prompt.split()) > 20


def words_of(plan: SongPlan) -> str:
    """A plan in one line, for models that take a prompt."""
    parts = [plan.genre, *plan.moods, *(i.instrument for i in plan.instrumentation)]
    return ", ".join([*dict.fromkeys(p for p in parts if p), f"{plan.tempo:.0f} bpm", plan.key])


def lyrics_of(plan: SongPlan) -> str | None:
    """The words with `[Section]` heads; None for an instrumental."""
    if not any(section.lyrics for section in plan.sections):
        return None
    return "\n\n".join("\n".join((f"[{section.label}]", *section.lyrics)) for section in plan.sections)


def _headers(request: RenderRequest) -> dict[str, str]:
    wanted = {"x-request-id": request.request_id, "traceparent": request.traceparent}
    return {name: value for name, value in wanted.items() if value is not None}


def _rendered(answer: Answer, request: RenderRequest, card: Card | None, took_s: float) -> RenderedSong:
    audio = answer.audio
    if audio is None:
        raise RenderFault(f"model {request.model} answered no audio")
    said = answer.metadata
    lrc = answer.fields.get("lrc")
    seed = said.get("seed", answer.fields.get("seed"))
    return RenderedSong(
        audio=_path_or_bytes(audio),
        seed=seed if isinstance(seed, int) else request.seed,
        model=card.id if card else request.model,
        revision=str(said.get("revision") or (card.revision if card else "")),
        licence=(card.weight_license or card.code_license) if card else "",
        mastered="loudness_lufs" in answer.fields,  # a model that says how loud it made it has mastered it
        midi=next((f.read() for f in answer.files if f.media_type == "audio/midi"), None),
        lrc=lrc.encode() if isinstance(lrc, str) else None,
        stems=_stems(answer),
        timings={**answer.timings, "render": round(took_s, 4)},
        details={k: said[k] for k in ("device", "dtype", "real_time_factor") if said.get(k) is not None}
        | {k: answer.fields[k] for k in ("style",) if isinstance(answer.fields.get(k), str)},
    )


def _stems(answer: Answer) -> dict[str, Path]:
    """Part → file, from `stems[N].audio_base64` and the name beside it."""
    parts = answer.fields.get("stems")
    names = [str(part.get("name", n)) for n, part in enumerate(parts)] if isinstance(parts, list) else []
    by_field = {f.field: f.path for f in answer.files}
    found = {name: by_field.get(f"stems[{n}].audio_base64") for n, name in enumerate(names)}
    return {name: path for name, path in found.items() if path is not None}


def _path_or_bytes(file: AnswerFile) -> Path | bytes:
    return file.path if file.path is not None else file.read()
