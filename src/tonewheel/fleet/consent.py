"""One recorded yes to weights that restrict what may be done with them."""

from __future__ import annotations

import getpass
import json
import time
from pathlib import Path
from typing import Any

from tonewheel.errors import ConsentRequired
from tonewheel.files import whole_file
from tonewheel.models.base import Card
from tonewheel.settings import settings


def _file() -> Path:
    return settings().data_dir / "consents.json"


def consents() -> dict[str, Any]:
    """What was agreed to, by model id: licence, revision, when, by whom."""
    try:
        found = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def has_consent(card: Card) -> bool:
    """Whether nothing stands in the way: no consent is needed, or it was given for this licence."""
    given = consents().get(card.id)
    return not card.consent_required or (isinstance(given, dict) and given.get("license") == card.weight_license)


def record_consent(card: Card) -> None:
    """Note the user's yes, once; a changed licence asks anew. Raises DiskFull, OutputRefused."""
    if has_consent(card):
        return
    entry = {"license": card.weight_license, "revision": card.revision, "at": round(time.time()), "by": _user()}
    _file().parent.mkdir(parents=True, exist_ok=True)
    with whole_file(_file(), force=True) as file:
        file.write(json.dumps({**consents(), card.id: entry}, indent=2).encode())


def require_consent(card: Card) -> None:
    """Raises ConsentRequired, saying how to give it."""
    if not has_consent(card):
        forbids = f" ({card.forbids})" if card.forbids else ""
        raise ConsentRequired(
            f"the weights of {card.id} are under {card.weight_license}, which restricts what may be done with "
            f"them{forbids}: read it, then run `tonewheel pull {card.id} --accept-license`",
            param="model",
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        return "unknown"
