"""Reading files whole, and never outside."""

import os
import threading
from pathlib import Path

import pytest

from producers.base import beneath
from producers.file.disk import Disk, count_lines
from producers.file.errors import FolderUnreachableError


@pytest.fixture(params=["openat2", "stepwise"])
def disk(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With openat2(2), and as on kernels and under seccomp filters that have none."""
    if request.param == "stepwise":
        monkeypatch.setattr(beneath, "_SYS_OPENAT2", 100_000)  # ENOSYS
    root = tmp_path / "root"
    root.mkdir()
    with Disk(os.fsencode(root), 1000) as disk:
        yield disk


def root_of(disk: Disk) -> Path:
    return Path(os.fsdecode(disk.root))


def test_content_is_read_with_hash_and_lines(disk: Disk) -> None:
    (root_of(disk) / "sub").mkdir()
    (root_of(disk) / "sub" / "a").write_text("one\ntwo")
    look = disk.look(b"sub/a")
    assert look is not None and look.content is not None
    assert (look.content.data, look.content.lines) == (b"one\ntwo", 2)


def test_reading_leaves_no_trace_in_the_access_time(disk: Disk) -> None:
    path = root_of(disk) / "a"
    path.write_text("x")
    os.utime(path, ns=(0, 0))
    assert disk.look(b"a") is not None
    assert path.stat().st_atime_ns == 0


def test_nothing_is_there(disk: Disk) -> None:
    (root_of(disk) / "folder").mkdir()
    (root_of(disk) / "file").touch()
    for name in (b"missing", b"missing/deep", b"file/beneath", b"folder", b"x" * 300):
        assert disk.look(name) is None


def test_links_are_not_followed_anywhere_in_a_path(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("private")
    (root_of(disk) / "out").symlink_to(tmp_path / "secret")
    (root_of(disk) / "key").symlink_to(tmp_path / "secret" / "key")
    assert disk.look(b"out/key") is None
    assert not disk.is_folder(b"out")
    assert disk.list(b"out") is None
    look = disk.look(b"key")
    assert look is not None and look.content is None


def test_a_root_that_is_gone_says_nothing_of_its_files(disk: Disk) -> None:
    root_of(disk).rmdir()
    with pytest.raises(FolderUnreachableError, match="No such file"):
        disk.look(b"a")


def test_a_file_that_changes_is_read_whole_or_not_at_all(disk: Disk) -> None:
    path = root_of(disk) / "a"
    path.write_bytes(b"0" * 999)
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (root_of(disk) / "b").write_bytes(b"%d" % (number % 10) * (number % 999 + 1))
            (root_of(disk) / "b").replace(path)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(300):
            look = disk.look(b"a")
            assert look is not None
            if look.content is not None:
                assert len(set(look.content.data)) == 1
                assert len(look.content.data) == look.stat.st_size
    finally:
        stop.set()
        writer.join()


def test_what_was_read_before_a_change_is_read_again(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root_of(disk) / "a"
    path.write_bytes(b"old")
    read, changes = os.read, iter([b"new", b"and newer"])

    def read_then_change(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        if (change := next(changes, None)) is not None:
            path.write_bytes(change)
        return data

    monkeypatch.setattr(os, "read", read_then_change)
    look = disk.look(b"a")
    assert look is not None and look.content is not None
    assert look.content.data == b"and newer"


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2)]
)
def test_lines_are_counted_as_people_do(data: bytes, lines: int) -> None:
    assert count_lines(data) == lines
