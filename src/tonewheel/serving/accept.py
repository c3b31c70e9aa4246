"""Which form of answer the `Accept` header asks for: JSON, or audio of a format."""

from __future__ import annotations

from tonewheel.audio.formats import Format

# All names a client may use for what we write; `audio/ogg; codecs=opus` is Opus.
_TYPES: dict[str, Format] = {
    "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav",
    "audio/flac": "flac", "audio/x-flac": "flac", "audio/mpeg": "mp3", "audio/mp3": "mp3",
    "audio/ogg": "ogg", "application/ogg": "ogg", "audio/opus": "opus",
}  # fmt: skip
_JSON = {"application/json", "application/*", "*/*", "text/event-stream", "text/*"}


def wanted_audio(accept: str | None, otherwise: Format = "wav") -> Format | None:
    """The audio format the header prefers; None when it prefers JSON or asks for nothing we have.

    `audio/*` is `otherwise`. Of equal weights (`q`) a named audio type goes before JSON: who writes it means it.
    """
    best: tuple[float, int] = (0.0, 0)
    found: Format | None = None
    for entry in (accept or "*/*").split(","):
        kind, *parameters = [part.strip().lower() for part in entry.split(";")]
        weight = _weight(parameters)
        if kind in _JSON and (weight, 0) > best:
            best, found = (weight, 0), None
        audio = otherwise if kind == "audio/*" else _TYPES.get(kind)
        if audio == "ogg" and any("opus" in p for p in parameters):
            audio = "opus"
        rank = 1 if kind == "audio/*" else 2
        if audio is not None and (weight, rank) > best:
            best, found = (weight, rank), audio
    return found


def prefers_json(accept: str | None) -> bool:
    """Whether JSON is named, and no stream of events goes before it; a header that names neither means the stream."""
    weights: dict[str, float] = {}
    for entry in (accept or "").split(","):
        kind, *parameters = [part.strip().lower() for part in entry.split(";")]
        weights[kind] = max(weights.get(kind, 0.0), _weight(parameters))
    return weights.get("application/json", 0.0) > weights.get("text/event-stream", 0.0)


def names_audio(accept: str | None, otherwise: Format = "wav") -> Format | None:
    """The audio format named anywhere in the header, beside whatever else (`text/event-stream, audio/flac`)."""
    kinds = [entry for entry in (accept or "").split(",") if "audio/" in entry.lower() or "/ogg" in entry.lower()]
    return wanted_audio(",".join(kinds), otherwise) if kinds else None


def wanted_bits(accept: str | None) -> int:
    """Bits a sample of lossless audio: 24 where the header says `audio/flac;bits=24` (ours alone: between our own
    processes nothing is dithered before it is finished), else 16."""
    for entry in (accept or "").lower().split(","):
        kind, *parameters = [part.strip() for part in entry.split(";")]
        if kind in _TYPES and "bits=24" in parameters:
            return 24
    return 16


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
