"""Ranges, file names, variations, origins: what is decided without a server."""

from __future__ import annotations

import asyncio
import signal
import ssl
import subprocess
import sys
import threading
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from tonewheel.errors import Forbidden, InvalidRequest
from tonewheel.gateway.access import Gate, gate
from tonewheel.gateway.contracts import ComposeRequest, MusicGeneration
from tonewheel.gateway.metrics import GatewayMetrics
from tonewheel.gateway.names import Named, Names, checked_name
from tonewheel.gateway.options import check_options
from tonewheel.gateway.orders import SongOrder, shown_key, variations
from tonewheel.gateway.outwards import trust
from tonewheel.gateway.reference import page
from tonewheel.gateway.supervise import ServeOptions, Supervisor, _Patience
from tonewheel.jobs import song_request
from tonewheel.library import Database
from tonewheel.models import registry
from tonewheel.serving.edge import Edge
from tonewheel.serving.metrics import Metrics
from tonewheel.serving.ranges import RangeNotSatisfiable, Stored, byte_range, disposition, file_response
from tonewheel.songs.planner import make_plan
from tonewheel.songs.request import plan_request


@pytest.mark.parametrize(
    ("given", "size", "part"),
    [
        (None, 10, None), ("bytes=0-0", 10, (0, 0)), ("bytes=3-", 10, (3, 9)), ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)), ("BYTES = 2-99", 10, (2, 9)), ("bytes=5-2", 10, None), ("bytes=-", 10, None),
        ("items=0-1", 10, None), ("bytes=x", 10, None), ("bytes=0-" + "9" * 40, 10, None),
    ],
)  # fmt: skip
def test_ranges_are_read_as_http_says(given: str | None, size: int, part: tuple[int, int] | None) -> None:
    assert byte_range(given, size) == part


@pytest.mark.parametrize("given", ["bytes=10-", "bytes=-0", "bytes=0-1,3-4"])
def test_ranges_that_cannot_be_had(given: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        byte_range(given, 10)


def test_the_head_of_a_file_is_told_without_opening_it() -> None:
    opened: list[str] = []

    def open_it() -> BytesIO:
        opened.append("it")
        return BytesIO(b"0123456789")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        stored = Stored("song.mp3", "audio/mpeg", 10, "0" * 64, "private", open_it)
        await (await file_response(stored, Request(scope, receive)))(scope, receive, send)

    async def ask() -> None:
        transport = httpx.ASGITransport(Edge(app, cast(Metrics, GatewayMetrics()), Gate(None, None)))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            head = await client.head("/", headers={"Range": "bytes=0-1"})
            assert (head.status_code, head.headers["content-length"]) == (200, "10")  # RFC 9110: ranges are for GET
            assert not opened
            part = await client.get("/", headers={"Range": "bytes=0-1"})
            assert (part.status_code, part.content, opened) == (206, b"01", ["it"])
            assert {k: v for k, v in part.headers.items() if k in ("etag", "content-type")} == {
                k: v for k, v in head.headers.items() if k in ("etag", "content-type")
            }

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("song.mp3", 'attachment; filename="song.mp3"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ('a";\r\nX: y.mp3', "attachment; filename=\"a____X_ y.mp3\"; filename*=UTF-8''a%22%3B%0D%0AX%3A%20y.mp3"),
        ("Größe.mp3", "attachment; filename=\"Gr__e.mp3\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.mp3"),
    ],
)
def test_download_names_break_no_header_and_no_folder(name: str, said: str) -> None:
    found = disposition(name)
    assert "\r" not in found and "\n" not in found
    assert found == said


def test_variations_of_a_plan_change_its_seed() -> None:
    plan = make_plan(plan_request(narrative="x y z", duration_s=10, seed=1))
    three = variations(song_request(plan=plan), 3)
    assert three[0].plan == plan
    assert len({r.plan.seed for r in three if r.plan}) == 3
    assert variations(song_request(narrative="a", seed=None), 2)[1].seed is None


def test_an_order_is_a_song_request_and_more() -> None:
    order = SongOrder(narrative="a", variations=4, priority=1, seed=2)
    assert order.request().to_dict() == {"narrative": "a", "seed": 2}


def test_keys_are_shown_as_they_were_sent() -> None:
    assert shown_key("local abc 0/1") == "abc"
    assert shown_key("name my-song 2") == "my-song"
    assert shown_key(None) is None


def test_a_name_that_was_freed_while_it_was_ordered_under_stays_free(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'names.sqlite'}")
    names = Names(database)
    names.create_tables()
    free = names.get("evening")
    assert names.set(free, "job_1") and names.set(free, "job_1")  # two who send the same order at once
    ordered = names.get("evening")
    names.free(ordered)
    assert not names.set(free, "job_1") and not names.set(ordered, "job_1")
    names.free(ordered)  # two who delete it at once
    assert names.get("evening") == Named("evening", 1, None)
    database.close()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "job_" + "a" * 22, "ü", "x" * 129])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_name(name)


def test_a_style_is_never_sung_and_lyrics_are_told_from_prompts() -> None:
    one = MusicGeneration(prompt="warm synthwave", tags=["dark", "slow"], style="80s").order()
    assert (one.prompt, one.lyrics) == ("80s, dark, slow, warm synthwave", None)
    two = MusicGeneration(prompt="I walk\nalone", style="folk").order()
    assert (two.prompt, two.lyrics) == ("folk", "I walk\nalone")
    long = " ".join(["word"] * 21)
    assert MusicGeneration(input=long).order().lyrics == long
    assert MusicGeneration(input=" ".join(["word"] * 20)).order().lyrics is None
    assert one.format == "wav" and one.duration_s == 30
    with pytest.raises(InvalidRequest) as short:
        MusicGeneration(prompt="warm synthwave", duration=5, model="composer").order()
    assert short.value.param == "duration" and "duration_s" not in short.value.message
    with pytest.raises(InvalidRequest):
        MusicGeneration().order()


def test_the_orchestrators_options_reach_the_order() -> None:
    order = ComposeRequest(narrative="x", duration=20, options={"genre": "folk", "mood": "sad", "seed": 3}).order()
    assert (order.style, order.moods, order.seed, order.duration_s) == ("folk", ("sad",), 3, 20)
    song = {"title": "T", "tempo": 90, "sections": [{"label": "Verse", "duration_s": 20, "lyrics": ["a"]}]}
    given = ComposeRequest(narrative="x", options={"generatedSong": song}).order()
    assert given.plan is not None and given.plan.title == "T"


def test_origins_are_named_one_by_one() -> None:
    named = gate(public=False, origins="https://a.example, http://b.example:81")
    headers = {"host": "localhost:8900", "origin": "https://a.example"}
    named.check("POST", "/v1/songs", Headers(headers))
    with pytest.raises(Forbidden):
        named.check("POST", "/v1/songs", Headers(headers | {"origin": "https://c.example"}))
    for wrong in ("*", "https://*.example", "a.example", "https://a.example/x"):
        with pytest.raises(InvalidRequest):
            gate(public=False, origins=wrong)
    with pytest.raises(Forbidden):
        gate(public=True, more_hosts="music.example").check("GET", "/", Headers({"host": "evil.example"}))
    gate(public=True).check("GET", "/", Headers({"host": "music.example"}))


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("musicgen", {"temprature": 1}, "did you mean temperature"),
        ("musicgen", {"temperature": "hot"}, "options.temperature: "),
        ("musicgen", {"temperature": 99}, "options.temperature: "),
        ("musicgen", {"num_variations": 4}, "order them as `variations`"),
        ("musicgen", {"duration": 300}, "in the order itself"),
        ("composer", {"client_job_id": "x"}, "in the order itself"),
        ("composer", {"a": {"b": 1}}, "options.a"),
    ],
)
def test_options_a_model_does_not_have_or_take_are_refused(model: str, options: dict[str, object], says: str) -> None:
    family = registry.families()[model]
    with pytest.raises(InvalidRequest) as caught:
        check_options(options, family)
    assert says in caught.value.message or says in str(caught.value.param)
    check_options({"temperature": 0.7, "top_k": 50}, registry.families()["musicgen"])
    check_options({"temperature": 0.7}, None)


def test_the_page_of_the_api_escapes_what_it_shows() -> None:
    operation = {"summary": "<script>", "responses": {"200": {"content": {"x": {"example": {"a": "</pre><b>"}}}}}}
    text = page({"info": {"title": "T", "version": "1", "description": "d"}, "paths": {"/<i>": {"get": operation}}})
    assert not any(tag in text for tag in ("<script>", "<b>", "<i>"))
    assert "&lt;script&gt;" in text


def test_only_services_elsewhere_by_https_are_asked_for_certificates_which_are_read_once() -> None:
    assert trust("http://127.0.0.1:4001") is False
    known = trust("https://music.example")
    assert isinstance(known, ssl.SSLContext) and known.verify_mode == ssl.CERT_REQUIRED and known.check_hostname
    assert trust("HTTPS://other.example") is known


def test_a_signal_waits_for_no_lock_that_what_it_interrupts_may_hold(tmp_path: Path) -> None:
    supervisor = Supervisor(ServeOptions("127.0.0.1", 0, 0, tmp_path))
    with supervisor._wake._cond:  # type: ignore[attr-defined]  # as in the middle of its wait
        handler = threading.Thread(target=supervisor._signal, args=(signal.SIGTERM, None), daemon=True)
        handler.start()
        handler.join(60)
        assert not handler.is_alive()
    supervisor._listening.close()


def test_time_in_which_everything_stood_still_is_no_reason_to_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("tonewheel.gateway.supervise.time", SimpleNamespace(monotonic=lambda: clock[0]))
    patience = _Patience(20.0)
    for _ in range(30):
        clock[0] += 60.0  # all processes were stopped
        assert patience.lasts()
    looks = 0
    while patience.lasts():
        clock[0] += 0.05
        looks += 1
    assert looks == pytest.approx(5.0 / 0.05, abs=2)


def test_help_loads_no_server() -> None:
    code = (
        "import sys; import tonewheel.cli.app; "
        "heavy = {'fastapi', 'uvicorn', 'sqlalchemy', 'dbos', 'numpy', 'httpx', 'tonewheel.gateway.app'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_gateway_loads_no_model_code_however_many_families_there_are() -> None:
    code = (
        "import sys; import tonewheel.gateway.process; "
        "from tonewheel.gateway.models import Models; from pathlib import Path; import tempfile; "
        "assert len(Models(Path(tempfile.mkdtemp())).list()) >= 2; "
        "print(sorted({'torch', 'transformers', 'diffusers', 'torchaudio'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_process_that_watches_stays_small() -> None:
    code = (
        "import sys; import tonewheel.gateway.supervise; "
        "heavy = {'fastapi', 'uvicorn', 'sqlalchemy', 'dbos', 'numpy', 'httpx'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
