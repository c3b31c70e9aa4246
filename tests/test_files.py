"""Files appear whole or not at all, and nothing is replaced unasked."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tonewheel.errors import DiskFull, OutputRefused, TonewheelError
from tonewheel.files import check_folder, check_target, whole_file, whole_folder, write_set


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_finished_file_is_there_with_its_content_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "song.mp3"
    with whole_file(target) as file:
        file.write(b"song")
        assert not target.exists()
    assert target.read_bytes() == b"song"
    assert _names(tmp_path) == ["song.mp3"]


def test_the_files_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a") as file:
            file.write(b"x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failure_leaves_nothing_and_keeps_its_own_type(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)), whole_file(tmp_path / "song.mp3") as file:
        file.write(b"half")
        raise failure
    assert _names(tmp_path) == []


def test_a_failure_keeps_the_old_file_when_forced(tmp_path: Path) -> None:
    target = tmp_path / "song.mp3"
    target.write_bytes(b"old")
    with contextlib.suppress(ValueError), whole_file(target, force=True) as file:
        file.write(b"half")
        raise ValueError
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["song.mp3"]


def test_ctrl_c_in_a_real_process_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom tonewheel.files import whole_file\n"
        "with whole_file(sys.argv[1]) as f:\n f.write(b'x' * 1000); f.flush(); print('in', flush=True); time.sleep(900)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "song.mp3")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        assert len(_names(tmp_path)) == 1
        process.send_signal(signal.SIGINT)
        process.wait(timeout=180)
    assert _names(tmp_path) == []


def test_an_existing_file_is_refused_and_force_named(tmp_path: Path) -> None:
    target = tmp_path / "song.mp3"
    target.write_bytes(b"old")
    with pytest.raises(OutputRefused, match="--force"):
        check_target(target)
    with pytest.raises(OutputRefused, match="--force"), whole_file(target):
        pass
    with whole_file(target, force=True) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "song.mp3"
    with pytest.raises(OutputRefused, match="--force"), whole_file(target) as file:
        file.write(b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert _names(tmp_path) == ["song.mp3"]


def test_without_hard_links_the_promise_holds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    with whole_file(tmp_path / "a") as file:
        file.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(OutputRefused, match="--force"), whole_file(tmp_path / "b") as file:
        (tmp_path / "b").write_bytes(b"theirs")
    assert _names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_is_refused_even_with_force(tmp_path: Path, force: bool) -> None:
    with pytest.raises(OutputRefused, match="folder"):
        check_target(tmp_path, force)


def test_a_device_is_never_replaced() -> None:
    with pytest.raises(OutputRefused, match="regular"):
        check_target("/dev/null", force=True)
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputRefused, match="regular"):
        check_target(tmp_path / "pipe", force=True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing/song.mp3", "does not exist"),
        ("file/song.mp3", "file, not a folder|does not exist"),
        ("x" * 300, "too long"),
        ("a\0b", "NUL"),
        ("loop", "loop"),
    ],
)
def test_an_impossible_target_is_refused_with_the_reason(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputRefused, match=why) as caught:
        check_target(tmp_path / name)
    assert "\n" not in caught.value.message


def test_a_longest_name_can_be_written(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("x" * 255)) as file:
        file.write(b"x")
    assert len(_names(tmp_path)) == 1


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OutputRefused):
        check_target(tmp_path / "link")
    with whole_file(tmp_path / "link", force=True) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; see the child process below")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputRefused, match="may not be written"):
            check_target(tmp_path / "song.mp3")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_elses_folder_is_refused() -> None:
    code = (
        "from tonewheel.files import check_target\nfrom tonewheel.errors import OutputRefused\nimport os\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: check_target('/root/song.mp3')\nexcept OutputRefused: print('refused')\n"
        "try: check_target('/etc/song.mp3')\nexcept OutputRefused: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "refused\nrefused\n", done.stderr


@contextlib.contextmanager
def _files_limited_to(size: int) -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_no_room_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with _files_limited_to(1 << 16), pytest.raises(DiskFull) as caught, whole_file(tmp_path / "song.wav") as file:
        file.write(bytes(1 << 20))
    assert _names(tmp_path) == []
    assert caught.value.exit_code == 1


def test_no_room_for_the_last_bytes_is_told_too(tmp_path: Path) -> None:
    """What still lies in a buffer when the block ends must not be lost silently."""
    with _files_limited_to(10), pytest.raises(DiskFull), whole_file(tmp_path / "song.wav") as file:
        file.write(b"x" * 100)
    assert _names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no tmpfs can be mounted here (needs root)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_nothing_is_left(small_disk: Path) -> None:
    with pytest.raises(DiskFull, match="free some space"), whole_file(small_disk / "song.wav") as file:
        file.write(bytes(1 << 20))
    assert _names(small_disk) == []


def test_a_full_disk_takes_no_file_of_a_set(small_disk: Path) -> None:
    with pytest.raises(DiskFull):
        write_set({small_disk / "a": b"a", small_disk / "b": bytes(1 << 20)})
    assert _names(small_disk) == []


def test_a_read_only_disk_is_refused(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputRefused):
        check_target(small_disk / "song.wav")


def test_errors_of_the_work_itself_are_not_taken_for_errors_of_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "song.wav"):
        (tmp_path / "nowhere").read_bytes()
    assert _names(tmp_path) == []


def test_a_set_is_written_whole(tmp_path: Path) -> None:
    write_set({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


def test_a_set_with_one_refused_target_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(OutputRefused, match="--force"):
        write_set({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"b": b"old"}


@pytest.mark.parametrize("force", [False, True])
def test_a_set_that_fails_while_names_are_given_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    if force:
        (tmp_path / "a").write_bytes(b"old")
    step = "replace" if force else "link"
    owner = Path if force else os
    real = getattr(owner, step)

    def failing(*args: object) -> object:
        if str(args[-1]).endswith("/b"):
            raise OSError(5, "Input/output error")
        return real(*args)

    monkeypatch.setattr(owner, step, failing)
    if not force:
        monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(TonewheelError):
        write_set({tmp_path / "a": b"1", tmp_path / "b": b"2"}, force=force)
    left = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert left == ({"a": b"old"} if force else {})


def test_a_set_names_no_file_twice(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(OutputRefused, match="twice"):
        write_set({tmp_path / "a": b"1", tmp_path / "sub" / ".." / "a": b"2"})
    assert _names(tmp_path) == ["sub"]


def test_a_folder_appears_with_all_its_files(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "stems") as folder:
        (folder / "a").write_bytes(b"1")
        (folder / "b").write_bytes(b"2")
        assert not (tmp_path / "stems").exists()
    assert _names(tmp_path) == ["stems"]
    assert _names(tmp_path / "stems") == ["a", "b"]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_folder_leaves_nothing(tmp_path: Path, failure: BaseException, exists: bool) -> None:
    if exists:
        (tmp_path / "stems").mkdir()
        (tmp_path / "stems" / "a").write_bytes(b"old")
    with pytest.raises(type(failure)), whole_folder(tmp_path / "stems", force=True) as folder:
        (folder / "a").write_bytes(b"half")
        raise failure
    assert _names(tmp_path) == (["stems"] if exists else [])
    if exists:
        assert _names(tmp_path / "stems") == ["a"]
        assert (tmp_path / "stems" / "a").read_bytes() == b"old"


def test_a_folder_with_files_is_refused_and_with_force_keeps_what_it_had(tmp_path: Path) -> None:
    """`--stems ~ --force` must not cost anybody their home."""
    target = tmp_path / "home"
    target.mkdir()
    with whole_folder(target) as folder:
        (folder / "a").write_bytes(b"into an empty folder")
    (target / "diary").write_bytes(b"dear")
    with pytest.raises(OutputRefused, match="--force"):
        check_folder(target)
    with pytest.raises(OutputRefused, match="--force"), whole_folder(target):
        pass
    with whole_folder(target, force=True) as folder:
        (folder / "a").write_bytes(b"new")
        (folder / "b").write_bytes(b"new")
    assert {p.name: p.read_bytes() for p in target.iterdir()} == {"a": b"new", "b": b"new", "diary": b"dear"}


def test_a_file_that_cannot_be_replaced_keeps_the_whole_folder_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "stems"
    (target / "b").mkdir(parents=True)
    (target / "a").write_bytes(b"old")
    with pytest.raises(OutputRefused, match="folder"), whole_folder(target, force=True) as folder:
        (folder / "a").write_bytes(b"new")
        (folder / "b").write_bytes(b"new")
    assert _names(target) == ["a", "b"]
    assert (target / "a").read_bytes() == b"old"


def test_impossible_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for force in (False, True):
        for name in ("file", "missing/stems", "file/stems", "a\0b", "x" * 300):
            with pytest.raises(OutputRefused):
                check_folder(tmp_path / name, force)


def test_a_full_disk_takes_no_folder(small_disk: Path) -> None:
    with pytest.raises(DiskFull), whole_folder(small_disk / "stems") as folder:
        (folder / "a").write_bytes(b"1")
        (folder / "b").write_bytes(bytes(1 << 20))
    assert _names(small_disk) == []
