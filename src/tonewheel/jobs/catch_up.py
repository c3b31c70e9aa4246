"""Songs that no model has heard yet, heard while nothing else is to do: those made before there was one that embeds,
and those it could not listen to. One at a time, the newest first; a job that comes goes before."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tonewheel.errors import Cancelled, NotFound, TonewheelError
from tonewheel.jobs.children import Children
from tonewheel.jobs.rendering import Listener
from tonewheel.library.songs import Library
from tonewheel.library.vectors import Vectors

log = logging.getLogger("tonewheel.jobs")

_REST_S = 60.0  # between two looks while there is nothing to hear, or no time
_PAUSE_S = 1.0  # between two songs: whoever wants the cores or the model comes in between
_AGAIN_S = 6 * 3600.0  # all were gone through: those that could not be heard are tried again
_DEADLINE_S = 600.0
_PATIENCE_S = 1.0


class CatchUp:
    """One a worker. Two workers may hear the same song: the later one writes the same again."""

    def __init__(
        self, library: Library, listener: Listener, children: Children, scratch: Path, *, busy: Callable[[], bool]
    ) -> None:
        self._library = library
        self._vectors = Vectors(library.database)
        self._listener = listener
        self._children = children
        self._scratch = scratch
        self._busy = busy
        self._model: str | None = None
        self._below: int | None = None  # the place of the song heard last; None = from the newest on
        self._again_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="catch-up", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        pause_s = _REST_S
        while not self._stop.wait(pause_s):
            try:
                pause_s = _PAUSE_S if self.hear_one() else _REST_S
            except Exception as e:
                if self._stop.is_set():  # all that it uses is being closed
                    return
                log.warning("songs that nobody has heard have to wait: %s", e)
                pause_s = _REST_S

    def hear_one(self) -> bool:
        """Hear the next song; whether there may be another one. Raises Unavailable, DiskFull."""
        model = self._listener.embeds()
        if model != self._model:
            self._model, self._below, self._again_at = model, None, 0.0
        if model is None or time.monotonic() < self._again_at or self._busy():
            return False
        found = self._vectors.unheard(model, self._below)
        if found is None:
            self._below, self._again_at = None, time.monotonic() + _AGAIN_S
            return False
        place, song_id = found
        try:
            self._vectors.put(song_id, model, self._heard(song_id))
            log.info("%s heard %s, which nobody had", model, song_id)
        except Cancelled:  # it is its turn again when there is time
            return False
        except NotFound:  # deleted meanwhile
            pass
        except TonewheelError as e:
            log.warning("%s could not listen to %s: %s", model, song_id, e.message)
            if e.retryable:
                self._below = place
                return False
        self._below = place
        return True

    def _heard(self, song_id: str) -> list[float]:
        """What a new song's embedding is made of, too. Raises Cancelled when a job comes."""
        audio = self._library.get(song_id).artifact("song")
        if audio is None:
            raise NotFound(f"the song {song_id} has no audio")
        with tempfile.TemporaryDirectory(prefix="catch-up-", dir=self._scratch) as folder:
            song, out = Path(folder) / "song", Path(folder) / "hearable.flac"
            with self._library.open(audio.id) as (_, source), song.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            self._children.call(
                "hearable", {"audio": str(song), "out": str(out)}, deadline_s=_DEADLINE_S, cancelled=self._gives_way
            )
            return self._listener.embed(out, deadline_s=_DEADLINE_S, cancelled=self._gives_way)

    def _gives_way(self) -> bool:
        return self._stop.is_set() or self._busy()
