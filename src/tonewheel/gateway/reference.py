"""`/docs`: the OpenAPI document as a plain page, for people. Nothing is fetched from elsewhere: no script, no font.

The usual viewers (Swagger UI, ReDoc) are megabytes of script, from a CDN that a machine without internet does not
reach and a server of one's own should not ask. Whoever wants one points it at `/openapi.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
summary {{ cursor: pointer; padding: .3rem 0; }}
code, pre {{ font: .9em/1.4 ui-monospace, monospace; }}
pre {{ overflow-x: auto; padding: .7rem; border: 1px solid #8884; border-radius: .3rem; }}
table {{ border-collapse: collapse; }}
td, th {{ text-align: left; vertical-align: top; padding: .1rem .8rem .1rem 0; }}
.method {{ display: inline-block; min-width: 4.5rem; font-weight: 600; }}
</style></head><body><h1>{title} {version}</h1><p>{description}</p>
<p><a href="/openapi.json">openapi.json</a> is the same for programs.</p>
"""


def page(document: Mapping[str, Any]) -> str:
    """The document as HTML; every text in it is escaped."""
    info = document["info"]
    parts = [
        _HEAD.format(
            title=escape(info["title"]), version=escape(info["version"]), description=escape(info["description"])
        )
    ]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            groups.setdefault(tag, []).append("".join(_operation(method.upper(), path, operation)))
    for name, operations in groups.items():
        parts += [f"<h2>{escape(name)}</h2>\n", *operations]
    return "".join([*parts, "</body></html>\n"])


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f'<details><summary><span class="method">{escape(method)}</span> <code>{escape(path)}</code> '
        f"{escape(operation.get('summary', ''))}</summary>\n<p>{escape(operation.get('description', ''))}</p>\n"
    )
    if operation.get("parameters"):
        rows = "".join(_parameter(p) for p in operation["parameters"])
        yield f"<table>{rows}</table>\n"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = [e["value"] for e in body.get("examples", {}).values()] + (
        [body["example"]] if "example" in body else []
    )
    for example in examples:
        yield f"<p>Takes</p>{_json(example)}"
    for status, answer in operation["responses"].items():
        if status in ("4XX", "5XX"):
            continue
        yield f"<p>{escape(status)}: {escape(answer.get('description', ''))}</p>\n"
        for content in answer.get("content", {}).values():
            if "example" in content:
                yield _json(content["example"])
    yield "</details>\n"


def _parameter(parameter: Mapping[str, Any]) -> str:
    needed = ", needed" if parameter.get("required") else ""
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}{needed}</td>"
        f"<td>{escape(parameter.get('description', ''))}</td></tr>"
    )


def _json(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return f"<pre>{escape(text)}</pre>\n"
