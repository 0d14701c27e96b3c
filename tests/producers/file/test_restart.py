"""What happens while the producer is down, killed, or its state is damaged."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from producers.file.state import Row, State
from stream.contract.kinds.file import FileEvent

WATCHING = Path(__file__).with_name("watching.py")
any_method = pytest.mark.parametrize("method", ["fanotify"])
"""For what does not depend on how the kernel is asked."""


@contextmanager
def watching(data: Path, settings: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """The observer as a program; killed at the end unless it has ended."""
    command = [sys.executable, str(WATCHING), str(data), json.dumps(settings)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        deadline = threading.Timer(120, process.kill)
        deadline.daemon = True
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def read_until(process: subprocess.Popen[bytes], what: str, times: int = 1) -> list[FileEvent]:
    """The file events until something was printed a number of times, a path or a first word."""
    assert process.stdout is not None
    found: list[FileEvent] = []
    for line in process.stdout:
        kind, value = json.loads(line)
        if kind == "file":
            found.append(msgspec.convert(value, FileEvent))
        times -= kind == what or (kind == "file" and value["path"].endswith(what))
        if times == 0:
            return found
    raise AssertionError(f"{what} was not printed")


def test_differences_of_the_time_it_was_down_are_told(start, root, on_disk) -> None:
    for name in ("stays", "grows", "goes", "moves"):
        (root / f"{name}.c").write_text(name)
    for name in ("folder", "dead"):
        (root / name).mkdir()
        (root / name / "in.c").write_text(name)
    before = start()
    before.until_quiet()
    before.observer.stop()

    with (root / "grows.c").open("a") as file:
        file.write(" more")
    (root / "goes.c").unlink()
    (root / "moves.c").rename(root / "moved.c")
    (root / "comes.c").write_text("comes")
    (root / "folder").rename(root / "other")
    shutil.rmtree(root / "dead")
    after = start()
    after.until_quiet()

    assert after.sink.counts() == {"modified": 1, "deleted": 2, "moved": 2, "created": 1}
    [moved] = after.sink.of(root / "moved.c")
    assert moved.old_path == str(root / "moves.c")
    [moved] = after.sink.of(root / "other" / "in.c")
    assert moved.old_path == str(root / "folder" / "in.c")
    after.sink.files[:0] = before.sink.files
    assert after.sink.final_state() == on_disk(root)


@any_method
def test_nothing_is_told_twice_when_nothing_changed(start, root) -> None:
    for number in range(50):
        (root / f"{number}.c").write_text(str(number))
    before = start()
    before.until_quiet()
    assert before.sink.counts() == {"found": 50}
    before.observer.stop()
    after = start()
    after.until_quiet()
    assert after.sink.files == [] and after.sink.snapshots == []


@any_method
def test_what_is_found_first_can_be_left_out(start, root) -> None:
    (root / "old.c").write_text("old")
    watched = start(report_found=False)
    watched.until_quiet()
    (root / "old.c").write_text("new content")
    watched.until_quiet()
    assert watched.sink.actions(root / "old.c") == ["modified"]


@any_method
def test_changes_that_wait_to_settle_are_told_at_the_stop(start, root) -> None:
    watched = start(quiet_ms=60_000, maximum_delay_ms=600_000)
    (root / "a.c").write_text("a")
    (root / "b.c").write_text("b")
    watched.observer.stop()
    assert watched.sink.actions(root / "a.c") == ["created"]
    assert watched.sink.actions(root / "b.c") == ["created"]
    assert len(watched.sink.snapshots) == 2


def test_a_stop_reads_what_the_kernel_still_holds(start, root, on_disk) -> None:
    watched = start()
    for number in range(500):
        (root / f"{number}.c").write_text(str(number))
    watched.observer.stop()
    assert watched.sink.final_state() == on_disk(root)


def test_after_kill_9_all_events_together_tell_what_the_disk_has(
    start, root, on_disk, tmp_path, method, rounds
) -> None:
    settings = {"roots": [str(root)], "method": method, "quiet_ms": 50, "maximum_delay_ms": 200}
    told: list[FileEvent] = []
    for number in range(rounds + 1):
        with watching(tmp_path / "data", settings) as process:
            told += read_until(process, "ready")
            for each in range(200):
                (root / f"{each}.c").write_text(f"{number} {each}" * (each % 5))
                if each % 7 == number:
                    (root / f"{each}.c").unlink()
            told += read_until(process, ".c", times=100)
            os.kill(process.pid, signal.SIGKILL)
            assert process.stdout is not None
            for line in process.stdout:
                kind, value = json.loads(line) if line.endswith(b"\n") else ("", None)
                if kind == "file":
                    told.append(msgspec.convert(value, FileEvent))
    watched = start()
    watched.until_quiet()
    watched.sink.files[:0] = told
    assert watched.sink.final_state() == on_disk(root)


def test_after_kill_9_what_may_not_have_left_is_told_again(start, root, tmp_path, method) -> None:
    for name in ("goes", "grows", "old"):
        (root / f"{name}.c").write_text(name)
    settings = {"roots": [str(root)], "method": method, "quiet_ms": 50, "repeat_window_ms": 60_000}
    with watching(tmp_path / "data", settings | {"repeat_window_ms": 0}) as process:
        read_until(process, ".c", times=3)
        assert process.stdin is not None
        process.stdin.close()
        read_until(process, "metrics")
    with watching(tmp_path / "data", settings) as process:
        read_until(process, "ready")
        (root / "goes.c").unlink()
        (root / "grows.c").write_text("has grown")
        (root / "comes.c").write_text("comes")
        read_until(process, ".c", times=3)
        read_until(process, "watermark", times=30)  # long enough for the state to be saved
        os.kill(process.pid, signal.SIGKILL)
    watched = start(repeat_window_ms=60_000)
    watched.until_quiet()
    assert watched.sink.actions(root / "goes.c") == ["deleted"]
    assert watched.sink.actions(root / "grows.c") == ["modified"]
    assert watched.sink.actions(root / "comes.c") == ["created"]
    assert {each.path for each in watched.sink.snapshots} >= {
        str(root / "grows.c"),
        str(root / "comes.c"),
    }


@any_method
def test_a_damaged_state_is_set_aside_and_told(start, root, tmp_path) -> None:
    (root / "a.c").write_text("a")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "files.sqlite3").write_bytes(b"garbage" * 10_000)
    watched = start()
    watched.until_quiet()
    assert watched.sink.actions(root / "a.c") == ["found"]
    assert [each.reason for each in watched.sink.losses] == ["state_damaged"]
    assert (tmp_path / "data" / "files.sqlite3.damaged").exists()


@any_method
def test_a_full_disk_costs_the_memory_of_files_and_no_event(start, root, on_disk) -> None:
    watched = start()
    (root / "a.c").write_text("a")
    watched.until_quiet()
    database = watched.observer._state._database
    database.execute("PRAGMA max_page_count = 1")
    for number in range(400):
        (root / f"{'n' * 100}{number}.c").write_text(str(number))
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
    assert any("can't be written" in each for each in watched.observer.degraded())
    database.execute("PRAGMA max_page_count = 1000000")
    (root / "b.c").write_text("b")
    watched.until_quiet()
    watched.until(lambda: watched.observer.degraded() == [])
    assert watched.sink.final_state() == on_disk(root)


@any_method
def test_an_unforeseen_error_is_a_loss_and_everything_is_compared(
    start, root, on_disk, monkeypatch
) -> None:
    watched = start()
    (root / "before.c").write_text("before")
    watched.until_quiet()
    settler = watched.observer._settler
    settle, failing = settler.settle, iter([True, True])

    def fail_sometimes(change, disk, now_us):  # type: ignore[no-untyped-def]
        settle(change, disk, now_us)
        if next(failing, False):
            raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(settler, "settle", fail_sometimes)
    for number in range(20):
        (root / f"{number}.c").write_text(str(number))
    (root / "before.c").unlink()
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
    assert {each.reason for each in watched.sink.losses} == {"internal_error"}
    assert watched.observer.ready() is None


@any_method
def test_what_the_state_keeps_does_not_grow_with_files_that_are_gone(start, root) -> None:
    watched = start(repeat_window_ms=0, rescan_seconds=1)
    for round_number in range(3):
        folder = root / f"round{round_number}"
        folder.mkdir()
        for number in range(30):
            (folder / f"{number}.c").write_text("x")
        watched.until_quiet()
        for number in range(30):
            (folder / f"{number}.c").unlink()
        folder.rmdir()
        watched.until_quiet()
    watched.until(lambda: watched.observer.metrics()["file_tracked_files"] <= 6)  # the markers
    watched.until(lambda: not gone_or_empty(watched.observer._data_folder / "files.sqlite3"))


def gone_or_empty(database: Path) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as reader:
        [count] = reader.execute(
            "SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM folders "
            "WHERE NOT EXISTS (SELECT 1 FROM files WHERE folder = id))"
        ).fetchone()
    return int(count)


def test_the_state_finds_files_by_folder_and_by_inode(tmp_path: Path) -> None:
    state = State(tmp_path / "state")
    row = Row(7, 1, 2, 3, b"h", 1, b"", 4, True)
    for path in (b"/r/a/1", b"/r/a/b/2", b"/r/ab/3", b"/r/a/\xff"):
        state.put(path, row, is_new=True)
    assert sorted(state.folders_at(b"/r/a")) == [b"/r/a", b"/r/a/b"]
    assert sorted(state.files_in(b"/r/a")) == [b"/r/a/1", b"/r/a/\xff"]
    assert {path for path, _ in state.with_inode(7)} == {
        b"/r/a/1",
        b"/r/a/b/2",
        b"/r/ab/3",
        b"/r/a/\xff",
    }
    state.move_folder(b"/r/a", b"/r/z")
    assert state.get(b"/r/a/1") is None
    assert state.get(b"/r/z/1") == row
    state.put(b"/r/y/1", row._replace(inode=8), is_new=True)
    state.move_folder(b"/r/y", b"/r/z")
    assert state.get(b"/r/z/1") == row._replace(inode=8)
    assert state.count == 4


@pytest.mark.slow
def test_kill_9_in_a_storm(start, root, on_disk, tmp_path, method) -> None:
    settings = {"roots": [str(root)], "method": method}
    told: list[FileEvent] = []
    storm = [sys.executable, str(Path(__file__).with_name("storm.py")), str(root), "20000", "100"]
    with subprocess.Popen(storm) as running:
        while running.poll() is None:
            with watching(tmp_path / "data", settings) as process:
                told += read_until(process, "ready")
                deadline = time.monotonic() + 2
                assert process.stdout is not None
                for line in process.stdout:
                    kind, value = json.loads(line) if line.endswith(b"\n") else ("", None)
                    if kind == "file":
                        told.append(msgspec.convert(value, FileEvent))
                    if time.monotonic() > deadline:
                        break
    watched = start()
    watched.until_quiet(60)
    watched.sink.files[:0] = told
    assert watched.sink.final_state() == on_disk(root)
