"""Weights: fetched, resumed, checked, removed; against a real HTTP server on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tonewheel.errors import (
    Conflict,
    ConsentRequired,
    DiskFull,
    InvalidRequest,
    ModelBroken,
    NotPulled,
    PullFailed,
    WrongHash,
)
from tonewheel.fleet import pull as pull_module
from tonewheel.fleet.catalogue import _entry
from tonewheel.fleet.consent import consents, has_consent, record_consent
from tonewheel.fleet.pull import here_bytes, is_pulled, pull, remove, require_pulled
from tonewheel.fleet.records import Records
from tonewheel.models.base import Card, CardFile
from tonewheel.settings import settings

WEIGHTS = bytes(range(256)) * 20_000  # 5 MB
CONFIG = b'{"hidden": 1}'


def card(*, weights: bytes = WEIGHTS, source: str = "hf:someone/small", path: str = "sub/model.safetensors") -> Card:
    files = tuple(
        CardFile(path=p, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        for p, data in (("config.json", CONFIG), (path, weights))
    )
    return Card(
        id="small", family="small", title="Small", tasks=("music",), source=source, revision="abc123", files=files,
        code_license="MIT", weight_license="CC-BY-NC-4.0", service="small", default_port=9000,
    )  # fmt: skip


@dataclass
class HubServer:
    """A hub on loopback that can break off, forget ranges, and tells what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)  # bytes of the next answers, then the connection breaks
    ranges: bool = True
    status: int | None = None
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)  # path, range, authorization
    redirect_to: str | None = None
    url: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        given, key = request.headers.get("range"), request.headers.get("authorization")
        self.asked.append((request.path, given, key))
        if self.redirect_to is not None:
            request.send_response(302)
            request.send_header("location", self.redirect_to + request.path)
            request.send_header("content-length", "0")
            request.end_headers()
            return
        data = self.files.get(request.path)
        if data is None or self.status is not None:
            request.send_error(self.status or 404)
            return
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given and self.ranges else 0
        request.send_response(206 if start else 200)
        if start:
            request.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("content-length", str(len(data) - start))
        request.end_headers()
        limit = self.break_after.pop(0) if self.break_after else len(data)
        request.wfile.write(data[start : start + limit])
        if limit < len(data) - start:
            request.close_connection = True
            request.wfile.flush()
            request.connection.close()


def serve(hub: HubServer) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # connections we broke ourselves
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    return server


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    base = "/someone/small/resolve/abc123/"
    hub = HubServer({base + "config.json": CONFIG, base + "sub/model.safetensors": WEIGHTS})
    server = serve(hub)
    monkeypatch.setenv("TONEWHEEL_HUB_URL", hub.url)
    monkeypatch.setenv("TONEWHEEL_HUB_TOKEN", "secret-token")
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    yield hub
    settings.cache_clear()
    server.shutdown()
    server.server_close()


def test_every_file_arrives_checked_with_its_progress(hub: HubServer) -> None:
    told: list[tuple[str, int, int]] = []
    folder = pull(card(), progress=lambda *news: told.append(news))
    assert (folder / "sub/model.safetensors").read_bytes() == WEIGHTS
    assert (folder / "config.json").read_bytes() == CONFIG
    assert told[-1] == ("sub/model.safetensors", len(WEIGHTS), len(WEIGHTS))
    assert {file for file, _, _ in told} == {"config.json", "sub/model.safetensors"}
    assert is_pulled(card()) and not list(folder.rglob("*.part"))
    asked = len(hub.asked)
    pull(card())
    assert len(hub.asked) == asked  # all here: nothing is asked again


def test_a_pull_that_was_cut_off_goes_on_where_it_stopped(hub: HubServer) -> None:
    hub.status = None
    hub.break_after = [len(CONFIG), 2_000_000, 0, 0, 0, 0]
    with pytest.raises(PullFailed, match="pull again"):
        pull(card())
    assert 0 < here_bytes(card()) < len(WEIGHTS)
    assert not is_pulled(card())
    hub.break_after.clear()
    hub.asked.clear()
    pull(card())
    ((path, given, _),) = hub.asked  # the config is here; only the rest of the weights is asked
    assert path.endswith("model.safetensors") and given is not None and given != "bytes=0-"
    assert is_pulled(card())


def test_a_connection_that_breaks_is_taken_up_again_by_itself(hub: HubServer) -> None:
    hub.break_after = [len(CONFIG), 2_000_000, 2_000_000]
    folder = pull(card())
    assert (folder / "sub/model.safetensors").read_bytes() == WEIGHTS


def test_a_server_without_ranges_is_read_from_the_start_but_kept_right(hub: HubServer) -> None:
    hub.break_after, hub.ranges = [len(CONFIG), 2_000_000], False
    assert (pull(card()) / "sub/model.safetensors").read_bytes() == WEIGHTS


def test_a_file_with_a_wrong_hash_is_refused_and_deleted(hub: HubServer) -> None:
    other = bytes(reversed(WEIGHTS))
    with pytest.raises(WrongHash, match=r"not the file its card names") as caught:
        pull(card(weights=other))
    assert not caught.value.retryable
    folder = settings().data_dir / "models/small/abc123"
    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["config.json"]
    with pytest.raises(NotPulled, match="tonewheel pull small"):
        require_pulled(card(weights=other))


def test_a_source_that_sends_too_much_is_refused(hub: HubServer) -> None:
    with pytest.raises(WrongHash, match="longer"):
        pull(card(weights=WEIGHTS[:1000]))


def test_a_file_changed_after_its_pull_is_noticed(hub: HubServer) -> None:
    folder = pull(card())
    with (folder / "sub/model.safetensors").open("r+b") as file:
        file.write(b"xx")
    assert not is_pulled(card())
    pull(card())
    assert (folder / "sub/model.safetensors").read_bytes() == WEIGHTS


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(hub: HubServer) -> None:
    store = HubServer(hub.files)
    server = serve(store)
    hub.redirect_to = store.url
    try:
        pull(card())
    finally:
        server.shutdown()
        server.server_close()
    assert {key for _, _, key in hub.asked} == {"Bearer secret-token"}
    assert {key for _, _, key in store.asked} == {None}


@pytest.mark.parametrize(("status", "words"), [(404, "has no"), (403, "agree to its licence"), (500, "try again")])
def test_what_the_hub_says_no_to_is_told(hub: HubServer, status: int, words: str) -> None:
    hub.status = status
    with pytest.raises(PullFailed, match=words) as caught:
        pull(card())
    assert caught.value.retryable == (status == 500)


def test_a_folder_is_a_source_too(hub: HubServer, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    (stick / "sub").mkdir(parents=True)
    (stick / "config.json").write_bytes(CONFIG)
    (stick / "sub/model.safetensors").write_bytes(WEIGHTS)
    pull(card(), source=str(stick))
    assert is_pulled(card()) and not hub.asked
    (stick / "sub/model.safetensors").unlink()
    remove(card())
    with pytest.raises(PullFailed, match=r"has no file sub/model\.safetensors"):
        pull(card(), source=stick.as_uri())


def test_a_source_without_weights_says_so_and_pickles_need_a_yes(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    (stick / "config.json").write_bytes(CONFIG)
    (stick / "pytorch_model.bin").write_bytes(WEIGHTS)
    named = card().model_copy(update={"files": (), "patterns": ("config.json", "model*.safetensors")})
    with pytest.raises(PullFailed, match=f"TONEWHEEL_PICKLED_MODELS={named.id}"):
        pull(named, source=str(stick))
    assert not is_pulled(named)
    monkeypatch.setenv("TONEWHEEL_PICKLED_MODELS", f"other,{named.id}")
    settings.cache_clear()
    folder = pull(named, source=str(stick))
    assert is_pulled(named) and (folder / "pytorch_model.bin").read_bytes() == WEIGHTS


def test_sources_that_are_none_are_refused(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequest, match="no folder"):
        pull(card(source="/nowhere/at/all"))
    with pytest.raises(InvalidRequest, match="built in"):
        pull(card(source="built-in"))


@pytest.mark.parametrize("path", ["../escape", "/etc/passwd", "a/../../b", "a\\b"])
def test_no_card_writes_outside_its_folder(hub: HubServer, path: str) -> None:
    with pytest.raises(ModelBroken, match="no place inside"):
        pull(card(path=path))
    assert not (settings().data_dir / "models" / "escape").exists()


def test_removing_frees_what_was_pulled(hub: HubServer) -> None:
    folder = pull(card())
    assert remove(card()) >= len(WEIGHTS) + len(CONFIG)
    assert not folder.exists() and not is_pulled(card())
    with pytest.raises(NotPulled):
        remove(card())


def test_two_pulls_of_one_model_do_not_mix(hub: HubServer) -> None:
    folder = settings().data_dir / "models/small/abc123"
    folder.mkdir(parents=True)
    with pull_module._alone(folder, card()), pytest.raises(Conflict):
        pull(card())


def test_a_lock_that_its_holder_deletes_as_it_is_taken_holds_nobody_off_and_is_taken_anew(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings().data_dir / "models/small/abc123"
    folder.mkdir(parents=True)
    lock, take = folder.parent / ".abc123.lock", fcntl.flock
    taken: list[int] = []

    def late(descriptor: int, how: int) -> None:
        if not taken:
            lock.unlink()  # its holder has ended, after we had opened it
        taken.append(descriptor)
        take(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pull_module._alone(folder, card()):
        assert len(taken) == 2 and lock.exists()
        with pytest.raises(Conflict):
            pull(card())


def test_a_file_that_gets_its_name_while_the_folder_is_measured_is_no_fault(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pull(card())
    part, look = folder / "config.json", os.lstat

    def gone(path: Path) -> os.stat_result:
        if path == part:
            part.unlink(missing_ok=True)
        return look(path)

    monkeypatch.setattr(os, "lstat", gone)
    assert len(WEIGHTS) <= here_bytes(card()) < len(WEIGHTS) + 1000
    assert not part.exists()


def test_too_small_a_disk_is_told_before_anything_is_fetched(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TONEWHEEL_MIN_FREE_MB", "1e12")
    settings.cache_clear()
    with pytest.raises(DiskFull, match="TONEWHEEL_MODELS_DIR"):
        pull(card())
    assert not hub.asked


def test_weights_that_restrict_their_use_need_one_yes(hub: HubServer) -> None:
    restricted = card().model_copy(update={"consent_required": True, "forbids": "no commercial use"})
    with pytest.raises(ConsentRequired, match=r"CC-BY-NC-4\.0.*\(no commercial use\).*--accept-license"):
        pull(restricted)
    assert not hub.asked
    record_consent(restricted)
    before = consents()
    record_consent(restricted)
    assert consents() == before  # once
    assert json.dumps(before) and before["small"]["license"] == "CC-BY-NC-4.0"
    pull(restricted)
    changed = restricted.model_copy(update={"weight_license": "Stricter-1.0"})
    assert not has_consent(changed)  # another licence is another question


def test_the_catalogue_tells_how_far_a_model_has_come(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from tonewheel.fleet.remote import Remotes
    from tonewheel.models import registry

    family = SimpleNamespace(cards=(card(),), service="small")
    monkeypatch.setattr(registry, "families", lambda: {"small": family})
    records = Records(settings().data_dir)

    def state() -> str:
        return _entry(card(), records, Remotes(), False).state

    assert state() == "not pulled"
    hub.break_after = [len(CONFIG), 1_000_000, 0, 0, 0, 0]
    with pytest.raises(PullFailed):
        pull(card())
    assert state() == "partly pulled"
    hub.break_after.clear()
    pull(card())
    assert state() == "pulled"


def test_any_web_folder_is_a_source_and_never_sees_the_hub_s_token(hub: HubServer) -> None:
    hub.files = {"/share/config.json": CONFIG, "/share/sub/model.safetensors": WEIGHTS}
    hub.break_after = [len(CONFIG), 2_000_000]
    web = card(source=f"{hub.url}/share/")
    pull(web)
    assert is_pulled(web)
    paths, ranges, _ = zip(*hub.asked, strict=True)
    assert paths == ("/share/config.json", "/share/sub/model.safetensors", "/share/sub/model.safetensors")
    assert ranges[:2] == (None, None) and str(ranges[2]).startswith("bytes=")
    assert all(key is None for *_, key in hub.asked)


def test_a_web_folder_that_cannot_be_listed_or_read_says_what_to_do(hub: HubServer) -> None:
    unknown = card(source=f"{hub.url}/share").model_copy(update={"files": (), "patterns": ("final1.ckpt",)})
    with pytest.raises(PullFailed, match=r"fetch final1\.ckpt yourself and pull it with --from") as listed:
        pull(unknown)
    with pytest.raises(PullFailed, match=r"answered 404 for config\.json") as gone:
        pull(card(source=f"{hub.url}/share"))
    assert not listed.value.retryable
    assert not gone.value.retryable
