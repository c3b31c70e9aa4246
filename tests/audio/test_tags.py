"""Tags survive every container, whatever they hold."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import RATE, stereo, tone

from tonewheel.audio import id3, vorbis
from tonewheel.audio.formats import FORMATS, Format
from tonewheel.audio.read import decode
from tonewheel.audio.tags import MAX_TAG_BYTES, TEXT_FIELDS, Tags, embed, read_tags
from tonewheel.audio.write import encode
from tonewheel.errors import InvalidRequest, TonewheelError, UnreadableAudio

FILES = {format: encode(stereo(tone(440, 0.2)), RATE, format) for format in FORMATS}

_texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
_keys = st.from_regex(r"[a-z0-9][a-z0-9_.\-]{0,20}", fullmatch=True).filter(lambda k: k not in {*TEXT_FIELDS, "bpm"})
_tags = st.builds(
    Tags,
    bpm=st.one_of(st.none(), st.floats(0, 9999)),
    extra=st.dictionaries(_keys, _texts.filter(lambda t: t is not None), max_size=4),
    **dict.fromkeys(TEXT_FIELDS, _texts),
)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(tags=_tags)
def test_any_tags_come_back_as_they_were(format: Format, tags: Tags) -> None:
    assert read_tags(embed(FILES[format], tags)) == tags


@pytest.mark.parametrize("format", FORMATS)
def test_a_long_plan_and_empty_values_survive_and_the_sound_is_untouched(format: Format) -> None:
    plan = json.dumps(
        {"sections": [{"lyrics": ["日本語 ñ \U0001f3b5"] * 50, "n": n} for n in range(150)]}, ensure_ascii=False
    )
    assert len(plan.encode()) > 100_000
    tags = Tags(title="", lyrics="[Verse]\r\none\n\n two ", comment="", extra={"tonewheel_plan": plan, "empty": ""})
    data = embed(FILES[format], tags)
    assert read_tags(data) == tags
    assert np.array_equal(decode(data).samples, decode(FILES[format]).samples)


@pytest.mark.parametrize("format", FORMATS)
def test_new_tags_replace_the_old(format: Format) -> None:
    once = embed(FILES[format], Tags(title="old", lyrics="old words", extra={"gone": "x"}))
    assert read_tags(embed(once, Tags(title="new"))) == Tags(title="new")
    assert embed(once, Tags(title="new")) == embed(FILES[format], Tags(title="new"))


def test_tags_are_read_from_a_path_too(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(embed(FILES["mp3"], Tags(title="T")))
    assert read_tags(tmp_path / "a.bin") == Tags(title="T")
    assert read_tags(str(tmp_path / "a.bin")) == Tags(title="T")
    with pytest.raises(UnreadableAudio, match="does not exist"):
        read_tags(tmp_path / "missing")


def test_what_no_container_can_hold_is_taken_out() -> None:
    tags = Tags(title="a\0b", extra={"k": "x\udcffy"})
    assert tags.title == "ab"
    assert tags.extra["k"] == "x?y"


@pytest.mark.parametrize("key", ["", "Title", "a b", "title", "bpm", "ä", "x" * 65, "a=b", "-a"])
def test_a_name_that_cannot_be_written_everywhere_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="tag name"):
        Tags(extra={key: "x"})


def test_tags_larger_than_any_song_needs_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="shorten"):
        Tags(lyrics="x" * (MAX_TAG_BYTES + 1))


def test_players_find_tempo_and_key_in_their_own_frames() -> None:
    data = embed(FILES["mp3"], Tags(bpm=92.5, key="F# minor"))
    assert b"TBPM\0\0\0\x03\0\0\x0392" in data
    assert b"TKEY\0\0\0\x04\0\0\x03F#m" in data
    assert read_tags(data) == Tags(bpm=92.5, key="F# minor")


@pytest.mark.parametrize("bpm", [float("nan"), float("inf"), -1.0, 10_000.0])
def test_a_tempo_that_is_none_is_refused(bpm: float) -> None:
    with pytest.raises(InvalidRequest, match="bpm"):
        Tags(bpm=bpm)


@pytest.mark.parametrize(
    ("said", "bpm"),
    [("92", 92), ("92.50", 92.5), ("92,5 BPM", 92.5), ("85.33333333333333", 85.333), ("fast", None), ("", None)],
)
def test_the_tempo_is_read_as_other_programs_write_it(said: str, bpm: float | None) -> None:
    body = b"TBPM" + id3._syncsafe(len(said) + 1) + b"\0\0\x03" + said.encode()
    assert read_tags(_id3(4, body) + FILES["mp3"]).bpm == bpm


def test_tags_cannot_be_written_into_other_files() -> None:
    with pytest.raises(UnreadableAudio, match="WAV, FLAC, MP3"):
        embed(b"not audio at all", Tags(title="x"))
    assert read_tags(b"not audio at all") == Tags()


def _old_frame(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack(">I", len(content)) + b"\0\0" + content


def _id3(version: int, body: bytes, flags: int = 0) -> bytes:
    return b"ID3" + bytes([version, 0, flags]) + id3._syncsafe(len(body)) + body


def test_tags_of_other_programs_are_read() -> None:
    """ID3 2.3 in UTF-16 with byte order marks, as Windows programs write it."""
    body = _old_frame("TIT2", b"\x01" + "Tïtel".encode("utf-16"))
    body += _old_frame("TYER", b"\x002019")
    body += _old_frame("TPE1", b"\x00" + "Künstler".encode("latin-1"))
    body += _old_frame("COMM", b"\x01eng" + "iTunNORM".encode("utf-16") + b"\0\0" + "0001".encode("utf-16"))
    body += _old_frame("COMM", b"\x01eng" + "".encode("utf-16") + b"\0\0" + "Kommentar".encode("utf-16"))
    body += _old_frame("USLT", b"\x00eng\0line\nline")
    body += _old_frame("TXXX", b"\x00MusicBrainz Album Id\0abc")
    body += bytes(64)  # padding
    tags = read_tags(_id3(3, body) + FILES["mp3"])
    assert tags == Tags(
        title="Tïtel", artist="Künstler", date="2019", comment="Kommentar", lyrics="line\nline",
        extra={"musicbrainz_album_id": "abc"},
    )  # fmt: skip


def test_the_oldest_tags_are_read() -> None:
    body = b"TT2" + (6).to_bytes(3, "big") + b"\0Title"
    assert read_tags(_id3(2, body) + FILES["mp3"]) == Tags(title="Title")
    version_1 = b"TAG" + b"Title".ljust(30, b"\0") + b"Artist".ljust(30) + bytes(30) + b"1999" + bytes(31)
    assert read_tags(FILES["mp3"] + version_1) == Tags(title="Title", artist="Artist", date="1999")


def test_unsynchronised_tags_are_read() -> None:
    body = _old_frame("TIT2", b"\x01" + "ÿ".encode("utf-16"))
    assert read_tags(_id3(3, body.replace(b"\xff", b"\xff\0"), 0x80) + FILES["mp3"]) == Tags(title="ÿ")


def test_several_values_and_other_names_are_joined_and_translated() -> None:
    block = vorbis.pack(b"v", {"artist": "A"}).replace(struct.pack("<I", 1), struct.pack("<I", 4), 1)
    # The vendor's length is 1 too: build the list by hand instead.
    comments = ["ARTIST=A", "artist=B", "DESCRIPTION=about", "UNSYNCEDLYRICS=la"]
    block = struct.pack("<I", 1) + b"v" + struct.pack("<I", len(comments))
    block += b"".join(struct.pack("<I", len(c)) + c.encode() for c in comments)
    assert vorbis.unpack(block) == (b"v", {"artist": "A; B", "comment": "about", "lyrics": "la"})


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_broken_files_are_refused_in_one_line(format: Format, data: st.DataObject) -> None:
    whole = bytearray(embed(FILES[format], Tags(title="T", lyrics="la " * 50, extra={"k": "v" * 200})))
    head = min(len(whole) - 1, 900)
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, head))] = data.draw(st.integers(0, 255))
    broken = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for work in (read_tags, decode, lambda b: embed(b, Tags(title="x"))):
        try:
            work(broken)
        except TonewheelError as e:
            assert "\n" not in e.message
