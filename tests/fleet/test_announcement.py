"""A process tells where it listens, and is understood whatever else writes into the same log."""

import subprocess
import sys
from pathlib import Path

import pytest

from tonewheel.announcement import announced
from tonewheel.fleet.spawn import listening_port

_NOISY = """
import sys, threading
from tonewheel.announcement import announce
done = threading.Event()
def talk():
    while not done.is_set():
        print("loading the weights", file=sys.stderr)
talker = threading.Thread(target=talk)
talker.start()
for number in range(200):
    announce({"url": "http://127.0.0.1:2006", "number": number})
done.set()
talker.join()
"""


def test_an_announcement_is_one_piece_beside_a_thread_that_never_stops_talking(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab") as output:
        subprocess.run([sys.executable, "-u", "-c", _NOISY], stdout=output, stderr=subprocess.STDOUT, check=True)
    said = log.read_text()
    assert said.count('"number"') == 200
    for number in range(200):
        assert f'{{"event": "listening", "url": "http://127.0.0.1:2006", "number": {number}}}\n' in said
    assert listening_port(log) == 2006


def test_it_is_found_however_much_a_library_says_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("loading the weights\n" * 50_000)
    assert listening_port(log) is None
    with log.open("a") as output:
        output.write('{"event": "listening", "url": "http://127.0.0.1:2006"}\n')
    assert listening_port(log) == 2006


@pytest.mark.parametrize("before", ["", "half a line", '{"event": "load', "{}\n"])
@pytest.mark.parametrize("after", ["\n", "the weights are mouldy\n", ""])
def test_others_words_around_it_do_not_hide_it(before: str, after: str) -> None:
    about = announced(f'{before}{{"event": "listening", "url": "http://[::1]:80", "pid": 7}}{after}')
    assert about == {"event": "listening", "url": "http://[::1]:80", "pid": 7}


@pytest.mark.parametrize("said", ["", "loading\n", '{"event": "load"}\n', '{"event": "listening", "url": "http://127'])
def test_nothing_is_announced_before_all_of_it_is_there(said: str) -> None:
    assert announced(said) is None
