"""What people do with files, and what is reported of it; each by fanotify and by inotify."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from producers.file.errors import RootError
from producers.file.observer import FileObserver
from producers.file.settings import FileSettings
from stream.contract.timestamps import parse_timestamp

any_method = pytest.mark.parametrize("method", ["fanotify"])
"""For what does not depend on how the kernel is asked."""


def test_a_new_file_is_told_with_size_hash_and_lines(start, root, method) -> None:
    watched = start()
    (root / "main.c").write_text("int main() {\n}\n")
    watched.until_quiet()
    [event] = watched.sink.of(root / "main.c")
    found = (root / "main.c").stat()
    assert event.action == "created"
    assert (event.size, event.lines) == (15, 2)
    assert event.mtime is not None and parse_timestamp(event.mtime) == found.st_mtime_ns // 1000
    assert event.hash.startswith("blake2b:") and len(event.hash) == len("blake2b:") + 32
    assert event.writer_pid == (os.getpid() if method == "fanotify" else None)


def test_a_save_is_modified_and_a_removal_deleted(start, root) -> None:
    watched = start()
    path = root / "main.c"
    for content in ("one\n", "one\ntwo\n"):
        path.write_text(content)
        watched.until_quiet()
    path.unlink()
    watched.until_quiet()
    assert watched.sink.actions(path) == ["created", "modified", "deleted"]
    assert watched.sink.of(path)[-1].size is None


def test_a_move_stays_a_move_and_keeps_the_hash(start, root) -> None:
    watched = start()
    (root / "one.c").write_text("content\n")
    (root / "folder").mkdir()
    watched.until_quiet()
    (root / "one.c").rename(root / "folder" / "two.c")
    watched.until_quiet()
    [created] = watched.sink.of(root / "one.c")
    [moved] = watched.sink.of(root / "folder" / "two.c")
    assert (moved.action, moved.old_path) == ("moved", str(root / "one.c"))
    assert moved.hash == created.hash


def test_two_moves_in_a_row_are_one_from_the_first_name_to_the_last(start, root) -> None:
    watched = start()
    (root / "a.c").write_text("content\n")
    watched.until_quiet()
    (root / "a.c").rename(root / "b.c")
    (root / "b.c").rename(root / "c.c")
    watched.until_quiet()
    [moved] = watched.sink.of(root / "c.c")
    assert (moved.action, moved.old_path) == ("moved", str(root / "a.c"))
    assert watched.sink.actions(root / "b.c") == []


def test_a_move_there_and_back_is_nothing(start, root) -> None:
    watched = start()
    (root / "a.c").write_text("content\n")
    watched.until_quiet()
    (root / "a.c").rename(root / "b.c")
    (root / "b.c").rename(root / "a.c")
    watched.until_quiet()
    assert watched.sink.actions(root / "a.c") == ["created"]
    assert watched.sink.actions(root / "b.c") == []


def test_a_move_of_a_folder_moves_every_file_beneath(start, root, on_disk) -> None:
    watched = start()
    deep = root / "hw1" / "src" / "deep"
    deep.mkdir(parents=True)
    for number in range(5):
        (deep / f"{number}.c").write_text(str(number))
    watched.until_quiet()
    (root / "hw1").rename(root / "hw2")
    watched.until_quiet()
    for number in range(5):
        [moved] = watched.sink.of(root / "hw2" / "src" / "deep" / f"{number}.c")
        assert (moved.action, moved.old_path) == ("moved", str(deep / f"{number}.c"))
    assert watched.sink.final_state() == on_disk(root)


def test_a_file_that_is_written_while_its_folder_moves_keeps_both(start, root, on_disk) -> None:
    watched = start()
    (root / "hw1").mkdir()
    (root / "hw1" / "main.c").write_text("one")
    watched.until_quiet()
    (root / "hw1" / "main.c").write_text("two!")
    (root / "hw1").rename(root / "hw2")
    (root / "hw1").mkdir()
    (root / "hw1" / "main.c").write_text("three")
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
    assert watched.sink.actions(root / "hw2" / "main.c") == ["moved", "modified"]


def test_removing_a_folder_deletes_every_file_beneath(start, root) -> None:
    watched = start()
    deep = root / "hw1" / "src"
    deep.mkdir(parents=True)
    for number in range(20):
        (deep / f"{number}.c").write_text(str(number))
    watched.until_quiet()
    shutil.rmtree(root / "hw1")
    watched.until_quiet()
    assert watched.sink.counts() == {"created": 20, "deleted": 20}
    assert watched.sink.final_state() == {}


def test_a_folder_moved_in_or_out_is_its_files_created_or_deleted(start, root, tmp_path) -> None:
    watched = start()
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "sub" / "a.c").write_text("a")
    outside.rename(root / "inside")
    watched.until(lambda: watched.sink.actions(root / "inside" / "sub" / "a.c") == ["created"])
    (root / "inside").rename(outside)
    watched.until(lambda: watched.sink.final_state() == {})
    assert watched.sink.actions(root / "inside" / "sub" / "a.c") == ["created", "deleted"]


def test_an_editor_that_saves_by_renaming_modifies_the_file(start, root) -> None:
    watched = start()
    path = root / "main.c"
    path.write_text("one\n")
    watched.until_quiet()
    (root / "main.c.tmp").write_text("two\n")
    (root / "main.c.tmp").replace(path)
    watched.until_quiet()
    assert watched.sink.actions(path) == ["created", "modified"]
    assert watched.sink.actions(root / "main.c.tmp") == []


@any_method
def test_an_editor_that_keeps_a_backup_modifies_one_and_creates_the_other(start, root) -> None:
    watched = start()
    path = root / "main.c"
    path.write_text("one\n")
    watched.until_quiet()
    path.rename(root / "main.c~")
    path.write_text("two\n")
    watched.until_quiet()
    assert watched.sink.actions(path) == ["created", "modified"]
    assert watched.sink.actions(root / "main.c~") == ["created"]


@any_method
def test_a_write_through_one_hard_link_is_told_of_the_other(start, root, on_disk) -> None:
    watched = start()
    (root / "a.c").write_text("one")
    os.link(root / "a.c", root / "b.c")
    watched.until_quiet()
    (root / "a.c").write_text("two and more")
    watched.until(lambda: watched.sink.actions(root / "b.c") == ["created", "modified"])
    assert watched.sink.actions(root / "a.c") == ["created", "modified"]
    assert watched.sink.final_state() == on_disk(root)


@any_method
def test_a_last_write_through_a_link_that_is_then_removed_is_told(start, root, on_disk) -> None:
    watched = start()
    (root / "a.c").write_text("one")
    os.link(root / "a.c", root / "b.c")
    watched.until_quiet()
    (root / "a.c").write_text("two and more")
    (root / "a.c").unlink()
    watched.until(lambda: watched.sink.final_state() == on_disk(root))
    assert watched.sink.actions(root / "b.c") == ["created", "modified"]


def test_a_link_is_told_as_itself_and_never_followed(start, root, tmp_path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.c").write_text("private")
    watched = start()
    (root / "link.c").symlink_to(secret / "key.c")
    (root / "folder").symlink_to(secret)
    watched.until_quiet()
    (secret / "key.c").write_text("more private")
    watched.until_quiet()
    [link] = watched.sink.of(root / "link.c")
    assert (link.action, link.hash) == ("created", "")
    assert watched.sink.actions(root / "folder") == ["created"]
    assert len(watched.sink.files) == 2
    assert watched.sink.snapshots == []


def test_a_folder_replaced_by_a_link_does_not_lead_out(start, root, tmp_path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.c").write_text("private")
    watched = start()
    (root / "hw").mkdir()
    (root / "hw" / "a.c").write_text("mine")
    watched.until_quiet()
    (root / "hw" / "a.c").write_text("mine too")
    (root / "hw").rename(tmp_path / "away")
    (root / "hw").symlink_to(tmp_path / "secret")
    watched.until(lambda: watched.sink.actions(root / "hw" / "a.c")[-1:] == ["deleted"])
    assert "private" not in [each.content for each in watched.sink.snapshots]


@any_method
def test_pipes_and_sockets_are_not_opened(start, root) -> None:
    watched = start()
    os.mkfifo(root / "pipe.c")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "socket.c"))
        watched.until_quiet()
    assert watched.sink.files == []
    assert watched.observer.ready() is None


def test_names_that_are_not_utf8_are_escaped(start, root, on_disk) -> None:
    watched = start()
    folder = root / os.fsdecode(b"h\xffw")
    folder.mkdir()
    for name in (b"\xc3\x28.c", rb"\xff.c", b"\xff.c", "é.c".encode(), b"new\nline.c"):
        (folder / os.fsdecode(name)).write_bytes(name)
    watched.until_quiet()
    assert len({each.path for each in watched.sink.files}) == 5
    assert str(root) + r"/h\xffw/\xff.c" in {each.path for each in watched.sink.files}
    assert watched.sink.final_state() == on_disk(root)


@any_method
def test_a_huge_file_is_told_by_size_and_not_read(start, root) -> None:
    watched = start(content_limit_bytes=1000)
    with (root / "huge.c").open("wb") as file:
        file.truncate(10 << 30)
    watched.until_quiet()
    [event] = watched.sink.of(root / "huge.c")
    assert (event.size, event.hash, event.lines, event.truncated) == (10 << 30, "", None, True)
    assert watched.observer.metrics()["file_too_large_total"] == 1


def test_a_file_that_lives_shorter_than_it_settles_is_counted_not_told(start, root) -> None:
    watched = start()
    for number in range(50):
        (root / f"{number}.tmp").write_text("x")
        (root / f"{number}.tmp").unlink()
    watched.until_quiet()
    assert watched.sink.files == []
    assert watched.sink.filtered_count >= 50


def test_opening_for_writing_without_a_change_is_nothing(start, root) -> None:
    watched = start()
    (root / "a.c").write_text("x")
    watched.until_quiet()
    with (root / "a.c").open("r+"):
        pass
    watched.until_quiet()
    assert watched.sink.actions(root / "a.c") == ["created"]


@any_method
def test_a_change_that_keeps_size_and_time_is_seen(start, root) -> None:
    watched = start()
    path = root / "a.c"
    path.write_text("one")
    watched.until_quiet()
    before = path.stat()
    with path.open("r+") as file:
        file.write("two")
        file.flush()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.until_quiet()
    assert watched.sink.actions(path) == ["created", "modified"]


def test_rules_leave_out_and_let_in(start, root) -> None:
    watched = start(include=("*.c", "hw*/**/*.txt"))
    for name in (
        "a.c",
        "a.o",
        ".git/a.c",
        "x/node_modules/m/a.c",
        "hw1/notes/a.txt",
        "other/a.txt",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "a.o").rename(root / "b.c")
    (root / "done.c").write_text("")
    watched.until(lambda: watched.sink.of(root / "done.c"))
    told = {os.path.relpath(each.path, root) for each in watched.sink.files}
    assert told == {"a.c", "b.c", "hw1/notes/a.txt", "done.c"}
    assert watched.sink.filtered_count > 0


@any_method
def test_own_data_in_a_watched_folder_makes_no_events(start, root) -> None:
    spool = root / "spool"
    spool.mkdir()
    (spool / "segment").write_bytes(b"x")
    watched = start(data_folder=root / "own", own_folders=[spool])
    for _ in range(3):
        (spool / "segment").write_bytes(os.urandom(100))
        watched.until_quiet()
    assert watched.sink.files == []
    assert (root / "own" / "files.sqlite3").exists()


def test_a_watched_root_that_vanishes_and_comes_back(start, root, tmp_path, on_disk) -> None:
    watched = start(root_grace_seconds=0.2)
    (root / "a.c").write_text("a")
    watched.until_quiet()
    root.rename(tmp_path / "away")
    watched.until(lambda: watched.sink.actions(root / "a.c") == ["created", "deleted"])
    assert "does not exist" in (watched.observer.ready() or "")
    (tmp_path / "away" / "b.c").write_text("b")
    (tmp_path / "away").rename(root)
    watched.until(lambda: watched.sink.final_state() == on_disk(root))
    watched.until(lambda: watched.observer.ready() is None)
    (root / "c.c").write_text("c")
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)


def test_a_root_that_is_removed_and_made_again_at_once(start, root, on_disk) -> None:
    watched = start()
    (root / "a.c").write_text("a")
    (root / "same.c").write_text("same")
    watched.until_quiet()
    shutil.rmtree(root)
    root.mkdir()
    (root / "same.c").write_text("same")
    (root / "sub").mkdir()
    (root / "sub" / "new.c").write_text("new")
    watched.until(lambda: watched.sink.final_state() == on_disk(root))
    (root / "sub" / "later.c").write_text("later")
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)


@any_method
def test_a_root_that_does_not_exist_yet_is_waited_for(start, root) -> None:
    root.rmdir()
    watched = start()
    assert "does not exist" in (watched.observer.ready() or "")
    assert watched.observer.degraded()
    root.mkdir()
    watched.until(lambda: watched.observer.ready() is None)
    (root / "a.c").write_text("a")
    watched.until_quiet()
    assert watched.sink.actions(root / "a.c") in (["created"], ["found"])


def test_a_file_that_is_never_closed_is_told_when_asked_for(start, root) -> None:
    watched = start(open_writes=True)
    with (root / "log.txt").open("w") as file:
        file.write("a line\n")
        file.flush()
        watched.until(lambda: watched.sink.of(root / "log.txt"))
        file.write("another line\n")
        file.flush()
        watched.until(lambda: watched.sink.of(root / "log.txt")[-1].size == 20)


@pytest.mark.parametrize(
    ("roots", "problem"),
    [((), "no folder"), (("relative",), "absolute"), (("/",), "/ can't be watched whole")],
)
def test_roots_that_make_no_sense_are_refused(roots, problem, tmp_path) -> None:
    with pytest.raises(RootError, match=problem):
        FileObserver(FileSettings(roots=roots), tmp_path)


def test_a_root_within_the_programs_own_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RootError, match="own data"):
        FileObserver(FileSettings(roots=(str(tmp_path / "data" / "x"),)), tmp_path / "data")
