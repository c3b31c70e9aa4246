"""`/v1/metadata`: what a service can do, told from its request type alone, so that a page can draw its controls."""

from __future__ import annotations

from typing import Any

from tonewheel import __version__
from tonewheel.audio.formats import FORMATS, INFO
from tonewheel.models.base import Card, Family, ModelRequest, WorkRoute

_TYPES = {"string": "text", "number": "number", "integer": "integer", "boolean": "switch", "array": "list"}
_NOT_OPTIONS = frozenset({"client_job_id"})


def describe(family: Family, card: Card) -> dict[str, Any]:
    """Endpoints, capabilities and option widgets of the service that runs `card`."""
    return {
        "service": family.service,
        "version": __version__,
        "title": family.title,
        "model": card.shown(),
        "models": [c.id for c in family.cards],
        "endpoints": _endpoints(family),
        "capabilities": _capabilities(family, card),
        "options": options(family.request),
    }


def _endpoints(family: Family) -> list[dict[str, str]]:
    rows = [
        ("POST", "/predict", "Run the model"),
        ("POST", "/predict/stream", "Run the model, told as server-sent events"),
        *(("POST" if isinstance(r, WorkRoute) else "GET", r.path, r.summary) for r in family.routes),
        ("GET", "/v1/files/{id}", "A file a stream linked to"),
        ("GET", "/v1/metadata", "This description"),
        ("GET", "/health", "Whether the process answers"),
        ("GET", "/readyz", "Whether the model takes requests"),
        ("GET", "/metrics", "Prometheus"),
    ]
    return [{"method": method, "path": path, "summary": summary} for method, path, summary in rows]


def _capabilities(family: Family, card: Card) -> dict[str, Any]:
    makes_audio = any("audio" in name for name in family.response.model_fields)
    return {
        "tasks": list(card.tasks),
        "concurrency": card.concurrency,
        "max_duration_s": card.max_duration_s,
        "sample_rate": card.sample_rate,
        "channels": card.channels,
        "progress": True,
        "cancel": True,
        "seed": "seed" in family.request.model_fields,
        "audio_formats": list(FORMATS) if makes_audio else [],
        "audio_types": sorted({INFO[f].media_type for f in FORMATS}) if makes_audio else [],
        "max_body_bytes": family.max_body_bytes,
    }


def options(kind: type[ModelRequest]) -> list[dict[str, Any]]:
    """One widget a field: key, label, type, default, min, max, values, required, description."""
    schema = kind.model_json_schema()
    required = set(schema.get("required", ()))
    rows = []
    for key, field in schema.get("properties", {}).items():
        if key in _NOT_OPTIONS:
            continue
        shape = _shape(field, schema.get("$defs", {}))
        rows.append(
            {
                "key": key,
                "label": key.replace("_", " ").capitalize(),
                "type": _widget(shape),
                "default": field.get("default"),
                "min": shape.get("minimum", shape.get("exclusiveMinimum")),
                "max": shape.get("maximum", shape.get("exclusiveMaximum")),
                "values": shape.get("enum"),
                "required": key in required,
                "description": field.get("description", ""),
            }
        )
    return rows


def _shape(field: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The schema that says what may be written: the first of several that is not null, references followed."""
    if "anyOf" in field:
        field = next((s for s in field["anyOf"] if s.get("type") != "null"), field)
    if "$ref" in field:
        return dict(known.get(field["$ref"].rpartition("/")[2], {}))
    return field


def _widget(shape: dict[str, Any]) -> str:
    if "enum" in shape:
        return "choice"
    if shape.get("format") in ("binary", "base64"):
        return "audio"
    return _TYPES.get(str(shape.get("type")), "object")
