"""The published JSON schema of a song plan. `python -m tonewheel.songs.schema` writes docs/song-plan.schema.json."""

from __future__ import annotations

import json
from pathlib import Path

from tonewheel.songs.plan import SongPlan

SCHEMA_PATH = Path("docs/song-plan.schema.json")


def schema_text() -> str:
    """The schema as the text that is published."""
    schema = SongPlan.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(head, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
