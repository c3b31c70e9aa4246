"""Songs of `/v1/music/generations` as files, for `/audio/{file}`: HEARTMULA_OUTPUT_DIR."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

from tonewheel.errors import DiskFull, NotFound
from tonewheel.files import sweep, whole_file
from tonewheel.settings import made_folder, settings

_NAME = re.compile(r"[A-Za-z0-9_-]{22}\.(wav|flac|mp3|ogg|opus)")


def folder() -> Path:
    """Where they are. Raises OutputRefused."""
    wishes = settings()
    if wishes.heartmula_output_dir is not None:
        return made_folder(wishes.heartmula_output_dir.expanduser(), "HEARTMULA_OUTPUT_DIR")
    return made_folder(wishes.data_dir / "heartmula", "HEARTMULA_OUTPUT_DIR or TONEWHEEL_DATA_DIR")


def find(name: str) -> Path:
    """The file of that name. Raises NotFound: also for names that none of ours has."""
    if _NAME.fullmatch(name) is None:
        raise NotFound("there is no such file: names are those of audio_url", param="name")
    return folder() / name


def keep(audio: Any) -> tuple[str, str]:
    """Write a finished file (`data`, `file_name`) → its id and name. It has its name only once it is whole.

    Raises DiskFull, OutputRefused.
    """
    place, song_id = folder(), secrets.token_urlsafe(16)
    sweep(place)  # of a service that was killed while it wrote
    name = song_id + Path(audio.file_name).suffix
    try:
        with whole_file(place / name) as file:
            file.write(audio.data)
    except DiskFull as error:
        raise DiskFull(f"no room left in {place} for the song: free some, or set HEARTMULA_OUTPUT_DIR") from error
    return song_id, name


def to_contract(_body: Any, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer in the words of `/v1/music/generations`: a link where `/predict` has the audio itself."""
    song_id, name = keep(answer["audio_base64"])
    same = ("duration", "prompt", "lyrics", "tags", "seed", "sample_rate", "channels", "ended", "metadata")
    return {"id": song_id, "status": "completed", "audio_url": f"/audio/{name}"} | {k: answer[k] for k in same}
