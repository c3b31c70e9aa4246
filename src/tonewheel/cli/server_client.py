"""`--server`: the same commands, done by a running server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from rich.console import Console

from tonewheel.cli.make import DOING, Wanted, progress_bar, slug, tell_dry
from tonewheel.cli.show import clock
from tonewheel.errors import InvalidRequest, TonewheelError, Unavailable
from tonewheel.songs.plan import SongPlan

if TYPE_CHECKING:
    import httpx

_STAGES = {"plan": "planning", "render": "composing", "analyse": "listening", "finish": "mastering", "store": "storing"}
_TRIES = 20  # for events that broke off: a server that is started again is back within seconds
_SILENT_S = 60.0  # it says something every ten seconds


class Refused(TonewheelError):
    """What the server answered instead of doing it."""

    def __init__(self, status: int, detail: dict[str, Any]) -> None:
        super().__init__(str(detail.get("message") or f"the server answered {status}"), param=detail.get("param"))
        self.type = str(detail.get("type") or "refused")
        self.http_status = status
        self.retryable = bool(detail.get("retryable"))
        self.exit_code = 2 if 400 <= status < 500 and status not in (408, 429) else 1


class Server:
    """A gateway somewhere. Use it as a context manager."""

    def __init__(self, url: str) -> None:
        """Raises InvalidRequest for what is no URL."""
        import httpx

        from tonewheel.settings import settings

        try:
            parsed = httpx.URL(url if "://" in url else f"http://{url}")
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidRequest(f"{url!r} is not the URL of a server: write http://HOST:PORT", param="server")
        key = settings().api_key
        headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._url = f"{parsed.scheme}://{parsed.netloc.decode()}"
        timeout = httpx.Timeout(30.0, read=_SILENT_S)
        self._client = httpx.Client(base_url=parsed, headers=headers, timeout=timeout)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """A JSON answer. Raises Refused, Unavailable."""
        with self._reached():
            answer = self._client.request(
                method, path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
        return self._object(answer)

    def follow(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a job until its end, each with its number `id`, taken up again when the connection broke.
        Raises Refused, Unavailable."""
        import httpx

        last, tries = "0", 0
        while True:
            try:
                for number, event in self._events(str(job["events_url"]), last):
                    last, tries = number, 0
                    yield {"id": int(number), **event}
                    if event["type"] in ("done", "failed", "cancelled", "poisoned"):
                        return
            except httpx.HTTPError:
                pass
            tries += 1
            if tries > _TRIES:
                raise Unavailable(
                    f"the server at {self._url} does not answer any more; the job {job['id']} goes on there"
                )
            time.sleep(min(2.0, 0.1 * tries))

    def _events(self, path: str, last: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._client.stream("GET", path, headers={"last-event-id": last}) as answer:
            if answer.status_code >= 400:
                answer.read()
                self._object(answer)
            number = last
            for line in answer.iter_lines():
                if line.startswith("id:"):
                    number = line[3:].strip()
                elif line.startswith("data:"):
                    yield number, json.loads(line[5:])

    def save(self, url: str, out: BinaryIO) -> None:
        """Fetch a file. Raises Refused, Unavailable."""
        with self._reached(), self._client.stream("GET", url) as answer:
            if answer.status_code != 200:
                answer.read()
                self._object(answer)
            for piece in answer.iter_bytes(1 << 18):
                out.write(piece)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        import httpx

        try:
            yield
        except httpx.HTTPError as e:
            raise Unavailable(
                f"the server at {self._url} cannot be reached ({type(e).__name__}): does it run?"
            ) from None

    def _object(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            said = answer.json()
        except ValueError:
            said = None
        if answer.status_code >= 400:
            detail = said.get("detail") if isinstance(said, dict) else None
            raise Refused(answer.status_code, detail if isinstance(detail, dict) else {})
        if not isinstance(said, dict):
            raise Unavailable(f"what answers at {self._url} is no Tonewheel server")
        return said


def plan_from_server(url: str, words: dict[str, Any]) -> SongPlan:
    """The plan a server makes of the same options."""
    with Server(url) as server:
        return SongPlan.model_validate(server.ask("POST", "/v1/plans", words))


def song_from(url: str, words: dict[str, Any], wanted: Wanted) -> None:
    """Have a server make a song, show how it goes, and fetch the files asked for."""
    from tonewheel.audio.formats import format_of
    from tonewheel.cli.show import plan_view

    if wanted.soundfont is not None:
        raise InvalidRequest("a server plays with its own SoundFont: leave out --soundfont", param="soundfont")
    chat = wanted.chat()
    fmt: str | None = wanted.fmt
    if wanted.output is not None:
        fmt = format_of(wanted.output)
        _check(_targets(wanted.output, wanted), wanted.force)
    with Server(url) as server:
        if wanted.dry_run:
            for_a_plan = {name: value for name, value in words.items() if name != "model"}
            plan = SongPlan.model_validate(server.ask("POST", "/v1/plans", for_a_plan))
            chat.print(plan_view(plan))
            tell_dry(plan, _targets(wanted.song(plan.title), wanted).values(), wanted.as_json)
            return
        order = words | {"format": fmt, "midi": wanted.midi, "lrc": wanted.lrc, "stems": wanted.stems}
        song = _made(server, order, chat)
        target = wanted.output or Path(f"{slug(song['title'])}.{song['format']}")
        files = _fetch(server, song, _targets(target, wanted), wanted.force)
    _tell(song, files, wanted.as_json, chat)


def _made(server: Server, order: dict[str, Any], chat: Console) -> dict[str, Any]:
    """Order it and wait; the song. Ctrl-C cancels it. Raises what it failed with."""
    job = server.ask("POST", "/v1/songs", order)
    try:
        with progress_bar(chat) as show:
            for event in server.follow(job):
                _show(event, show)
    except KeyboardInterrupt:
        server.ask("DELETE", job["url"])
        raise
    job = server.ask("GET", job["url"])
    if job["state"] != "done":
        error = job.get("error") or {"type": "cancelled", "message": "the job was cancelled on the server"}
        raise Refused(int(error.get("http_status", 500)), error)
    return server.ask("GET", job["song_url"])


def _show(event: dict[str, Any], show: Callable[[str, float], None]) -> None:
    if event["type"] in ("queued", "requeued", "retrying"):
        show("waiting for its turn", 0.0)
    elif event["type"] == "progress":
        stage, _, part = str(event.get("stage", "")).partition(": ")
        show(DOING.get(part) or _STAGES.get(stage) or DOING.get(stage, stage), float(event.get("fraction", 0.0)))


def _targets(song: Path, wanted: Wanted) -> dict[str, Path]:
    """Where each kind of file that is wanted goes, by the names `tonewheel song` uses."""
    names = {
        "song": song,
        "midi": song.with_suffix(".mid") if wanted.midi else None,
        "lrc": song.with_suffix(".lrc") if wanted.lrc else None,
        "stem": song.with_name(f"{song.stem}-stems") if wanted.stems else None,
        "plan": wanted.plan_beside(song),
    }
    return {kind: path for kind, path in names.items() if path is not None}


def _check(targets: dict[str, Path], force: bool) -> None:
    from tonewheel.files import check_folder, check_target

    for kind, path in targets.items():
        check_folder(path, force) if kind == "stem" else check_target(path, force)


def _fetch(server: Server, song: dict[str, Any], targets: dict[str, Path], force: bool) -> list[Path]:
    """Save what there is of the kinds wanted; the files appear when all are here."""
    from tonewheel.files import whole_file, whole_folder

    files: list[Path] = []
    with ExitStack() as stack:
        for kind, path in targets.items():
            found = [a for a in song["artifacts"] if a["kind"] == kind]
            if kind == "plan" and song.get("plan") is not None:
                stack.enter_context(whole_file(path, force=force)).write(_plan_text(song["plan"]))
            elif not found:
                continue  # an instrumental has no LRC
            elif kind == "stem":
                folder = stack.enter_context(whole_folder(path, force=force))
                for artifact in found:
                    with (folder / PurePosixPath(artifact["name"]).name).open(
                        "xb"
                    ) as out:  # never a path of the server's
                        server.save(artifact["url"], out)
            else:
                server.save(found[0]["url"], stack.enter_context(whole_file(path, force=force)))
            files.append(path)
    return files


def _plan_text(plan: dict[str, Any]) -> bytes:
    from tonewheel.songs.files import dump_plan

    return dump_plan(SongPlan.model_validate(plan), "json").encode()


def _tell(song: dict[str, Any], files: list[Path], as_json: bool, chat: Console) -> None:
    if as_json:
        kept = ("id", "title", "duration_s", "seed", "model", "revision", "licence", "timings", "checks", "plan")
        print(
            json.dumps(
                {"files": [str(f) for f in files], **{k: song.get(k) for k in kept}}, indent=2, ensure_ascii=False
            )
        )
        return
    seconds = sum(took for name, took in song["timings"].items() if "." not in name)  # "render.load" is in "render"
    chat.print(
        f"[bold]{song['title']}[/bold]: {clock(song['duration_s'])} in {seconds:.1f} s, seed {song['seed']}, "
        f"{song['id']}",
        highlight=False,
    )
    for path in files:
        print(path)
