"""Weights whose hashes no card knows: the source says what it has; and weights in a folder of the user's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_pull import HubServer, serve

from tonewheel.errors import InvalidRequest, NotPulled, PullFailed
from tonewheel.fleet.consent import record_consent
from tonewheel.fleet.pull import is_pulled, pull, remove, require_pulled
from tonewheel.models.base import Card
from tonewheel.settings import settings, weights_dir

WEIGHTS = bytes(range(256)) * 8_000  # 2 MB
CONFIG = b'{"hidden": 1}'
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": b"# no", "pytorch_model.bin": b"no"}


def card(source: str) -> Card:
    return Card(
        id="some-model", family="some", title="Some", tasks=("music",), source=source, revision="main",
        patterns=("*.json", "model*.safetensors"), code_license="MIT", weight_license="CC-BY-NC-4.0",
        consent_required=True, service="some", default_port=9000,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TONEWHEEL_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    yield
    settings.cache_clear()


def listed(name: str, data: bytes, *, large: bool) -> dict[str, object]:
    """A file as a hub lists it: git's hash, and the SHA-256 of large ones."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": git}
    return entry | ({"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}} if large else {})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    listing = [listed(n, d, large=len(d) > 1000) for n, d in FILES.items()]
    listing.append({"type": "directory", "path": "onnx", "oid": "0"})
    hub = HubServer({f"/someone/some/resolve/main/{n}": d for n, d in FILES.items()})
    hub.files["/api/models/someone/some/tree/main"] = json.dumps(listing).encode()
    server = serve(hub)
    monkeypatch.setenv("TONEWHEEL_HUB_URL", hub.url)
    settings.cache_clear()
    yield hub
    server.shutdown()
    server.server_close()


def test_files_that_match_are_taken_and_held_to_the_hashes_the_hub_lists(hub: HubServer) -> None:
    some = card("hf:someone/some")
    record_consent(some)
    assert not is_pulled(some)
    folder = pull(some)
    assert sorted(p.name for p in folder.iterdir() if p.name[0] != ".") == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert is_pulled(some)
    (folder / "model.safetensors").write_bytes(WEIGHTS[:-1])
    assert not is_pulled(some)  # a file that was changed is noticed
    pull(some)
    assert is_pulled(some)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_the_listed_one_is_refused(hub: HubServer, name: str) -> None:
    hub.files[f"/someone/some/resolve/main/{name}"] = FILES[name][:-1] + b"!"
    some = card("hf:someone/some")
    record_consent(some)
    with pytest.raises(PullFailed, match="is not the file"):
        pull(some)
    assert not is_pulled(some)


def test_a_pull_that_broke_off_goes_on(hub: HubServer) -> None:
    some = card("hf:someone/some")
    record_consent(some)
    hub.break_after += [10**9, 10**9, 10**9, 1_500_000]  # the listing, the configuration twice, then the weights
    pull(some)
    assert is_pulled(some) and any(given for _, given, _ in hub.asked)


def test_a_hub_without_such_files_or_with_nonsense_is_told(hub: HubServer) -> None:
    some = card("hf:someone/some")
    record_consent(some)
    hub.files["/api/models/someone/some/tree/main"] = b"[]"
    with pytest.raises(PullFailed, match=r"none of the files.*model\*\.safetensors"):
        pull(some)
    hub.files["/api/models/someone/some/tree/main"] = b"{"
    with pytest.raises(PullFailed, match="cannot be read"):
        pull(some)


def test_a_folder_is_a_source_too(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    some = card(str(tmp_path))
    record_consent(some)
    folder = pull(some)
    assert is_pulled(some) and (folder / "config.json").read_bytes() == CONFIG
    assert remove(some) >= len(WEIGHTS) and not is_pulled(some)


def test_a_folder_of_ones_own_is_used_as_it_is_and_never_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some, own = card("hf:someone/some"), tmp_path / "mine"
    record_consent(some)
    monkeypatch.setenv("TONEWHEEL_SOME_MODEL_PATH", str(own))
    with pytest.raises(NotPulled, match="is not there"):
        require_pulled(some)
    own.mkdir()
    (own / "config.json").write_bytes(CONFIG)
    require_pulled(some)
    assert pull(some) == weights_dir(some.id, some.revision) == own
    with pytest.raises(InvalidRequest, match="left as it is"):
        remove(some)
    assert [p.name for p in own.iterdir()] == ["config.json"]
