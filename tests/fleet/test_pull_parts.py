"""A model put together from several sources: HeartMuLa's language model and codec beside its tokenizer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_pull import HubServer, serve
from test_pull_patterns import listed

from tonewheel.errors import ConsentRequired, PullFailed, WrongHash
from tonewheel.fleet.pull import here_bytes, is_pulled, pull, remove
from tonewheel.models import registry
from tonewheel.models.base import Card, CardFile, CardPart
from tonewheel.settings import settings

Run = Callable[..., Any]  # tests/conftest.py: code, out, err

WEIGHTS = bytes(range(256)) * 8_000  # 2 MB
CONFIG = b'{"model_type": "some"}'
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
REPOSITORIES = {
    "HeartMuLaGen": {"gen_config.json": b"{}", "tokenizer.json": b'{"model": 1}', "README.md": b"# no"},
    "HeartMuLa-oss-3B": {
        "config.json": CONFIG, FIRST: WEIGHTS, SECOND: WEIGHTS[::-1], "model.safetensors.index.json": b"{}",
    },
    "HeartCodec-oss": {"config.json": CONFIG, "model.safetensors": WEIGHTS[:1_000_000], "LICENSE": b"no"},
}  # fmt: skip
WANTED = sorted([
    "gen_config.json", "tokenizer.json", "HeartCodec-oss/config.json", "HeartCodec-oss/model.safetensors",
    *(f"HeartMuLa-oss-3B/{n}" for n in REPOSITORIES["HeartMuLa-oss-3B"]),
])  # fmt: skip


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    hub = HubServer()
    for name, files in REPOSITORIES.items():
        listing = [listed(n, d, large=len(d) > 1000) for n, d in files.items()]
        hub.files[f"/api/models/HeartMuLa/{name}/tree/main"] = json.dumps(listing).encode()
        hub.files |= {f"/HeartMuLa/{name}/resolve/main/{n}": d for n, d in files.items()}
    server = serve(hub)
    monkeypatch.setenv("TONEWHEEL_HUB_URL", hub.url)
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    yield hub
    settings.cache_clear()
    server.shutdown()
    server.server_close()


@pytest.fixture
def card() -> Card:
    return registry.card("heartmula-3b")


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")


def test_every_part_comes_from_its_own_source_into_its_own_folder(hub: HubServer, card: Card) -> None:
    told: dict[str, tuple[int, int]] = {}
    folder = pull(card, progress=lambda file, here, total: told.update({file: (here, total)}))
    assert files_in(folder) == WANTED == sorted(told)
    assert all(here == total for here, total in told.values())
    assert (folder / "HeartMuLa-oss-3B" / SECOND).read_bytes() == WEIGHTS[::-1]
    assert is_pulled(card)
    hub.asked.clear()
    pull(card)
    assert not any(SECOND in path for path, *_ in hub.asked)  # what is here is not fetched again


def test_a_pull_cut_off_within_a_part_goes_on_there(hub: HubServer, card: Card) -> None:
    hub.files["/HeartMuLa/HeartCodec-oss/resolve/main/model.safetensors"] = WEIGHTS[:300_000]
    with pytest.raises(PullFailed, match=r"HeartCodec-oss/model\.safetensors ended after 300,000 of 1,000,000 bytes"):
        pull(card)
    assert not is_pulled(card)
    assert here_bytes(card) > 2 * len(WEIGHTS) + 300_000
    hub.files["/HeartMuLa/HeartCodec-oss/resolve/main/model.safetensors"] = WEIGHTS[:1_000_000]
    hub.asked.clear()
    pull(card)
    assert is_pulled(card)
    weights = [(path, given) for path, given, _ in hub.asked if path.endswith(".safetensors")]
    assert weights == [("/HeartMuLa/HeartCodec-oss/resolve/main/model.safetensors", "bytes=300000-")]


def test_a_part_that_is_not_what_its_source_states_is_refused(hub: HubServer, card: Card) -> None:
    hub.files[f"/HeartMuLa/HeartMuLa-oss-3B/resolve/main/{FIRST}"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(WrongHash, match=f"HeartMuLa-oss-3B/{FIRST} is not the file"):
        pull(card)
    assert not is_pulled(card)


def test_a_part_gone_or_changed_later_is_noticed_and_fetched_again(card: Card) -> None:
    folder = pull(card)
    shutil.rmtree(folder / "HeartCodec-oss")
    assert not is_pulled(card)
    pull(card)
    assert is_pulled(card)
    manifest = folder / ".pulled.json"  # as a release that knew no parts left it
    manifest.write_text(json.dumps({n: e for n, e in json.loads(manifest.read_text()).items() if "/" not in n}))
    assert not is_pulled(card)


def test_one_folder_with_all_of_it_is_a_source_too(hub: HubServer, card: Card, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    for name, files in REPOSITORIES.items():
        place = stick if name == "HeartMuLaGen" else stick / name
        place.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (place / file).write_bytes(data)
    assert files_in(pull(card, source=str(stick))) == WANTED
    assert is_pulled(card) and not hub.asked
    remove(card)
    (stick / "HeartCodec-oss").rename(stick / "HeartCodec-oss-20260123")  # the codec of another release
    with pytest.raises(PullFailed, match=r"none of the files of this model \(HeartCodec-oss/config\.json"):
        pull(card, source=str(stick))
    assert not is_pulled(card)


def test_show_rm_and_sizes_count_the_parts(tonewheel: Run, card: Card) -> None:
    assert "HeartCodec-oss from hf:HeartMuLa/HeartCodec-oss main" in " ".join(tonewheel("show", card.id).out.split())
    size = sum(len(d) for files in REPOSITORIES.values() for n, d in files.items() if n not in ("README.md", "LICENSE"))
    done = tonewheel("pull", card.id, "--json")
    assert done.code == 0, done.err
    *_, last = (json.loads(line) for line in done.out.splitlines())
    assert last["event"] == "pulled"
    shown = json.loads(tonewheel("show", card.id, "--json").out)
    assert shown["state"] == "pulled" and shown["disk_bytes"] >= size
    assert [part["folder"] for part in shown["parts"]] == ["HeartMuLa-oss-3B", "HeartCodec-oss"]
    assert json.loads(tonewheel("rm", card.id, "--json").out)["freed_bytes"] >= size
    assert json.loads(tonewheel("show", card.id, "--json").out)["disk_bytes"] == 0


RL, NEW_YEAR = "heartmula-3b-rl", "heartmula-3b-happy-new-year"
CODEC = "HeartCodec-oss-20260123/model.safetensors"


@pytest.fixture
def releases(hub: HubServer) -> tuple[Card, Card]:
    """Two releases with a codec in common."""
    for name, like in (
        ("HeartMuLa-RL-oss-3B-20260123", "HeartMuLa-oss-3B"), ("HeartMuLa-oss-3B-happy-new-year", "HeartMuLa-oss-3B"),
        ("HeartCodec-oss-20260123", "HeartCodec-oss"),
    ):  # fmt: skip
        mark = b"" if "Codec" in name else name.encode()
        files = {n: d + mark * n.endswith(".safetensors") for n, d in REPOSITORIES[like].items()}
        listing = [listed(n, d, large=len(d) > 1000) for n, d in files.items()]
        hub.files[f"/api/models/HeartMuLa/{name}/tree/main"] = json.dumps(listing).encode()
        hub.files |= {f"/HeartMuLa/{name}/resolve/main/{n}": d for n, d in files.items()}
    return registry.card(RL), registry.card(NEW_YEAR)


def weights_asked(hub: HubServer) -> list[str]:
    return [path.partition("/resolve/main/")[0].rpartition("/")[2]
            for path, *_ in hub.asked if path.endswith(".safetensors")]  # fmt: skip


def test_a_part_that_another_release_has_is_shared_with_it_and_stays_when_that_is_removed(
    hub: HubServer, releases: tuple[Card, Card]
) -> None:
    first, second = releases
    there = pull(first)
    hub.asked.clear()
    told: list[tuple[str, str]] = []
    seen: dict[str, tuple[int, int]] = {}
    here = pull(
        second,
        shared=lambda file, model: told.append((file.path, model)),
        progress=lambda file, at, total: seen.update({file: (at, total)}),
    )
    assert told == [(CODEC, RL)] and seen[CODEC] == (1_000_000, 1_000_000)
    assert set(weights_asked(hub)) == {"HeartMuLa-oss-3B-happy-new-year"}
    assert (here / CODEC).samefile(there / CODEC)
    size = here_bytes(first)
    assert size - remove(first) == 1_000_000  # what stays for the other is not freed
    assert not is_pulled(first) and is_pulled(second)
    assert (here / CODEC).read_bytes() == WEIGHTS[:1_000_000]
    assert remove(second) > 1_000_000


def test_where_files_cannot_be_linked_the_part_is_copied(
    hub: HubServer, releases: tuple[Card, Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    there = pull(releases[0])
    hub.asked.clear()
    monkeypatch.setattr("tonewheel.fleet.shared_files.os.link", refused)
    here = pull(releases[1])
    assert set(weights_asked(hub)) == {"HeartMuLa-oss-3B-happy-new-year"}
    assert (here / CODEC).read_bytes() == (there / CODEC).read_bytes() and not (here / CODEC).samefile(there / CODEC)
    assert is_pulled(releases[1])


@pytest.mark.parametrize("how", ["changed", "changed unseen", "gone"])
def test_a_part_of_another_release_that_is_not_what_was_pulled_is_fetched(
    hub: HubServer, releases: tuple[Card, Card], how: str
) -> None:
    codec = pull(releases[0]) / CODEC
    stat = codec.stat()
    if how == "gone":
        codec.unlink()
    else:
        codec.write_bytes(WEIGHTS[1:1_000_001])
    if how == "changed unseen":  # of the same size and time: only its hash tells
        os.utime(codec, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    hub.asked.clear()
    here = pull(releases[1], shared=lambda *_: pytest.fail("nothing there is fit to be shared"))
    assert "HeartCodec-oss-20260123" in weights_asked(hub)
    assert (here / CODEC).read_bytes() == WEIGHTS[:1_000_000] and is_pulled(releases[1])


def test_a_shared_part_that_is_spoilt_is_mended_in_both(hub: HubServer, releases: tuple[Card, Card]) -> None:
    folders = [pull(card) for card in releases]
    (folders[0] / CODEC).write_bytes(b"spoilt")
    assert not any(is_pulled(card) for card in releases)
    for card in releases:
        pull(card)
    assert all(is_pulled(card) for card in releases)
    assert (folders[0] / CODEC).samefile(folders[1] / CODEC)


def test_pull_tells_what_is_shared(tonewheel: Run, releases: tuple[Card, Card]) -> None:
    assert tonewheel("pull", RL).code == 0
    done = tonewheel("pull", NEW_YEAR)
    assert f"Shared with {RL}, which is here already: 1 file, 1 MB" in done.err
    assert tonewheel("rm", NEW_YEAR).code == 0
    events = [json.loads(line) for line in tonewheel("pull", NEW_YEAR, "--json").out.splitlines()]
    assert {"event": "shared", "file": CODEC, "with": RL, "size_bytes": 1_000_000} in events


def test_a_dry_run_tells_what_would_be_fetched_and_fetches_nothing(
    tonewheel: Run, hub: HubServer, releases: tuple[Card, Card], tmp_path: Path
) -> None:
    first, second = releases
    plan = json.loads(tonewheel("pull", first.id, "--dry-run", "--json").out)
    assert plan["fetch_bytes"] == sum(f["size_bytes"] for f in plan["files"]) > 2 * len(WEIGHTS)
    assert not (tmp_path / "data").exists() and not weights_asked(hub)
    pull(first)
    plan = json.loads(tonewheel("pull", second.id, "--dry-run", "--json").out)
    assert {f["path"]: f["shared_with"] for f in plan["files"]}[CODEC] == RL
    assert plan["fetch_bytes"] == sum(f["size_bytes"] for f in plan["files"]) - 1_000_000
    shown = tonewheel("pull", second.id, "--dry-run").out
    assert f"shared with {RL}" in shown and "to fetch into" in shown
    pull(second)
    told = tonewheel("pull", second.id, "--dry-run")
    assert "nothing to fetch into" in told.out and "shared" not in told.out, told


def test_parts_with_known_hashes_count_and_are_held_to_them(hub: HubServer) -> None:
    def known(name: str, *, wrong: bool = False) -> tuple[CardFile, ...]:
        data = REPOSITORIES["HeartCodec-oss"][name]
        digest = hashlib.sha256(data + b"!" * wrong).hexdigest()
        return (CardFile(path=name, size_bytes=len(data), sha256=digest),)

    def made(**changes: Any) -> Card:
        part = CardPart(folder="codec", source="hf:HeartMuLa/HeartCodec-oss", **changes)
        return Card(
            id="parted", family="some", title="Some", tasks=("music",), source="hf:HeartMuLa/HeartMuLaGen",
            revision="main", patterns=("*.json",), parts=(part,), code_license="MIT", weight_license="X",
            service="some", default_port=9000,
        )  # fmt: skip

    right = made(files=known("model.safetensors"))
    assert right.size_bytes == 1_000_000 and "files" not in right.shown()["parts"][0]
    assert files_in(pull(right)) == ["codec/model.safetensors", "gen_config.json", "tokenizer.json"]
    assert is_pulled(right)
    assert not is_pulled(made(files=known("model.safetensors", wrong=True)))
    with pytest.raises(WrongHash):
        pull(made(files=known("model.safetensors", wrong=True)))
    restricted = right.model_copy(update={"consent_required": True})
    hub.asked.clear()
    with pytest.raises(ConsentRequired):
        pull(restricted)
    assert not hub.asked


def test_a_pattern_may_name_a_folder_of_its_source(hub: HubServer, tmp_path: Path) -> None:
    files = {
        "model_index.json": b"{}",
        "unet/config.json": CONFIG,
        "unet/model.safetensors": WEIGHTS,
        "vae/no.json": b"0",
    }
    hub.files = {f"/a/b/resolve/main/{n}": d for n, d in files.items()}
    for folder in ("", "unet"):
        here = [listed(n, d, large=len(d) > 1000) for n, d in files.items() if n.rpartition("/")[0] == folder]
        hub.files["/api/models/a/b/tree/main" + f"/{folder}" * bool(folder)] = json.dumps(here).encode()
    some = Card(
        id="foldered", family="some", title="Some", tasks=("music",), source="hf:a/b", revision="main",
        patterns=("*.json", "unet/*.json", "unet/*.safetensors"), code_license="MIT", weight_license="X",
        service="some", default_port=9000,
    )  # fmt: skip
    folder = pull(some)
    assert files_in(folder) == ["model_index.json", "unet/config.json", "unet/model.safetensors"]
    copy = shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    remove(some)
    assert files_in(pull(some, source=str(copy))) == files_in(copy)
