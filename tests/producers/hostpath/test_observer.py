"""What lies in folders of the node, as it is told."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import pytest

from producers.hostpath.errors import RootError
from producers.hostpath.observer import HostPathObserver
from producers.hostpath.settings import HostPathSettings
from stream.contract.batch import MAXIMUM_RAW_BYTES
from stream.contract.event import Event
from stream.contract.kinds.hostpath import HostPathEvent
from stream.contract.timestamps import parse_timestamp


@dataclass
class Recorder:
    """An event sink that keeps everything, and checks what every sink may rely on."""

    events: list[HostPathEvent] = field(default_factory=list)
    watermarked: int = 0
    lock: Lock = field(default_factory=Lock)

    def emit(self, kind: str, event: Event) -> None:
        self.emit_many(kind, [event])

    def emit_many(self, kind: str, events: list[Event]) -> None:
        with self.lock:
            for event in events:
                assert kind == "hostpath" and isinstance(event, HostPathEvent)
                assert parse_timestamp(event.ts) >= self.watermarked, "behind the watermark"
                self.events.append(event)

    def filtered(self, kind: str, count: int = 1) -> None:
        raise AssertionError("nothing is left out")

    def lost(self, kind: str, reason: str, count: int | None, **more: Any) -> None:
        raise AssertionError("nothing is lost")

    def watermark(self, kind: str, microseconds: int) -> None:
        with self.lock:
            assert microseconds >= self.watermarked
            self.watermarked = microseconds

    def changes(self) -> list[tuple[str, str]]:
        with self.lock:
            return [(each.action, each.path) for each in self.events if each.action != "listing"]

    def listings(self) -> list[HostPathEvent]:
        with self.lock:
            return [each for each in self.events if each.action == "listing"]


@dataclass
class Watched:
    observer: HostPathObserver
    sink: Recorder

    def until(self, condition: Callable[[], Any], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {seconds} s: {self.sink.changes()[-20:]}")
            time.sleep(0.01)

    def until_scanned(self) -> None:
        """Until a scan that began after this call has ended."""
        scans = self.observer.metrics()["hostpath_scans_total"]
        self.until(lambda: self.observer.metrics()["hostpath_scans_total"] >= scans + 2)


Start = Callable[..., Watched]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "host"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path: Path, root: Path) -> Iterator[Start]:
    running: list[Watched] = []

    def start_observer(**settings: Any) -> Watched:
        chosen = {"roots": (str(root),), "interval_seconds": 0.03, **settings}
        observer = HostPathObserver(HostPathSettings(**chosen), tmp_path / "data")
        watched = Watched(observer, Recorder())
        observer.start(watched.sink)
        running.append(watched)
        return watched

    yield start_observer
    for each in running:
        each.observer.stop()


def test_the_first_scan_is_a_listing_of_everything(start, root) -> None:
    (root / "sub").mkdir(mode=0o750)
    (root / "sub" / "a.txt").write_text("hello")
    (root / "sub" / "a.txt").chmod(0o640)
    (root / "link").symlink_to("/etc")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(root / "socket"))
        watched = start()
        watched.until_scanned()
    [listing] = watched.sink.listings()
    assert listing.root == str(root) and not listing.truncated and not listing.missing
    entries = {each.path: each for each in listing.entries}
    assert {path: each.type for path, each in entries.items()} == {
        "sub": "directory",
        "sub/a.txt": "file",
        "link": "symlink",
        "pipe": "fifo",
        "socket": "socket",
    }
    file = entries["sub/a.txt"]
    assert (file.size, file.mode) == (5, 0o640)
    assert parse_timestamp(file.mtime) == (root / "sub" / "a.txt").stat().st_mtime_ns // 1000
    assert watched.sink.changes() == []
    assert watched.observer.ready() is None


def test_what_appears_changes_and_vanishes_is_told_and_then_listed(start, root) -> None:
    watched = start()
    watched.until_scanned()
    (root / "a").write_text("1")
    watched.until_scanned()
    (root / "a").write_text("22")
    watched.until_scanned()
    (root / "a").unlink()
    watched.until_scanned()
    assert watched.sink.changes() == [("appeared", "a"), ("changed", "a"), ("vanished", "a")]
    listed = [[(each.path, each.size) for each in one.entries] for one in watched.sink.listings()]
    assert listed == [[], [("a", 1)], [("a", 2)], []]


def test_a_change_of_mode_alone_is_a_change(start, root) -> None:
    (root / "a").write_text("1")
    (root / "a").chmod(0o600)
    watched = start()
    watched.until_scanned()
    (root / "a").chmod(0o644)
    watched.until(lambda: watched.sink.changes() == [("changed", "a")])
    assert watched.sink.events[-1].mode == 0o644 or watched.sink.events[-2].mode == 0o644


def test_a_folder_vanishes_with_everything_beneath(start, root) -> None:
    deep = root / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    watched = start()
    watched.until_scanned()
    (root / "a").rename(root.parent / "elsewhere")
    watched.until_scanned()
    assert sorted(watched.sink.changes()) == [
        ("vanished", path) for path in ("a", "a/b", "a/b/c", "a/b/c/file")
    ]
    assert watched.sink.listings()[-1].entries == []


def test_a_folder_that_becomes_a_file_is_another_entry(start, root) -> None:
    (root / "a").mkdir()
    (root / "a" / "inside").write_text("x")
    watched = start()
    watched.until_scanned()
    (root / "a" / "inside").unlink()
    (root / "a").rmdir()
    (root / "a").write_text("now a file")
    watched.until_scanned()
    assert sorted(watched.sink.changes()) == [
        ("appeared", "a"),
        ("vanished", "a"),
        ("vanished", "a/inside"),
    ]


def test_an_unchanged_folder_is_listed_again_only_at_the_heartbeat(start, root) -> None:
    (root / "a").write_text("1")
    watched = start(heartbeat_seconds=0.4)
    watched.until(lambda: len(watched.sink.listings()) == 3)
    first, second, third = (parse_timestamp(each.ts) for each in watched.sink.listings())
    assert second - first >= 390_000 and third - second >= 390_000


def test_a_missing_root_is_told_once_and_found_when_it_comes(start, root) -> None:
    (root / "a").write_text("1")
    watched = start()
    watched.until_scanned()
    root.rename(root.parent / "away")
    watched.until(lambda: watched.sink.listings()[-1].missing)
    assert watched.sink.changes() == [("vanished", "a")]
    watched.until_scanned()
    assert sum(each.missing for each in watched.sink.listings()) == 1
    assert "does not exist" in (watched.observer.ready() or "")
    (root.parent / "away").rename(root)
    watched.until(lambda: not watched.sink.listings()[-1].missing)
    assert watched.sink.changes()[-1] == ("appeared", "a")
    watched.until(lambda: watched.observer.ready() is None)


def test_a_root_that_never_existed_is_missing_and_not_fatal(start, root) -> None:
    root.rmdir()
    watched = start()
    watched.until_scanned()
    [listing] = watched.sink.listings()
    assert listing.missing and listing.entries == []


def test_links_are_never_followed_out_of_the_root(start, root, tmp_path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("private")
    (root / "sub").mkdir()
    watched = start()
    watched.until_scanned()
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "sub").rmdir()
    (root / "sub").symlink_to(tmp_path / "secret")
    watched.until_scanned()
    assert "key" not in json.dumps(msgspec.to_builtins(watched.sink.events))
    assert ("appeared", "link") in watched.sink.changes()


def test_names_that_are_not_utf8_are_escaped(start, root) -> None:
    (root / os.fsdecode(b"\xff\xfe")).write_text("x")
    (root / "ö").write_text("x")
    watched = start()
    watched.until_scanned()
    assert {each.path for each in watched.sink.listings()[0].entries} == {r"\xff\xfe", "ö"}


def test_limits_of_depth_and_number_hold_and_are_told(start, root) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    for number in range(50):
        (root / f"f{number}").write_text("x")
    deep = start(depth_limit=2)
    deep.until_scanned()
    paths = {each.path for each in deep.sink.listings()[0].entries}
    assert "a/b" in paths and "a/b/c" not in paths
    deep.observer.stop()

    narrow = start(entry_limit=20)
    narrow.until_scanned()
    narrow.until_scanned()
    [listing] = narrow.sink.listings()
    assert listing.truncated and len(listing.entries) == 20
    assert narrow.sink.changes() == []
    assert "entry_limit" in narrow.observer.degraded()[0]


def test_a_large_listing_comes_in_parts_that_fit_a_message(start, root) -> None:
    for number in range(60):
        folder = root / ("d" * 200) / str(number)
        folder.mkdir(parents=True)
        for each in range(40):
            (folder / f"{'n' * 100}{each}").touch()
    watched = start()
    watched.until(lambda: watched.sink.listings() and watched.observer.ready() is None)
    parts = watched.sink.listings()
    assert len(parts) == parts[0].parts > 1
    assert [each.part for each in parts] == list(range(len(parts)))
    assert len({each.ts for each in parts}) == 1
    assert all(len(msgspec.json.encode(each)) < 400 * 1024 < MAXIMUM_RAW_BYTES for each in parts)
    paths = [each.path for part in parts for each in part.entries]
    assert len(paths) == len(set(paths)) == 1 + 60 + 60 * 40


def test_what_changed_while_it_was_down_is_told_after_the_start(start, root) -> None:
    (root / "stays").write_text("1")
    (root / "goes").write_text("1")
    before = start()
    before.until_scanned()
    before.observer.stop()
    (root / "goes").unlink()
    (root / "comes").write_text("1")
    after = start()
    after.until_scanned()
    assert sorted(after.sink.changes()) == [("appeared", "comes"), ("vanished", "goes")]
    assert {each.path for each in after.sink.listings()[0].entries} == {"stays", "comes"}


def test_a_damaged_inventory_is_set_aside(start, root, tmp_path) -> None:
    (root / "a").write_text("1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hostpath.sqlite3").write_bytes(b"not a database" * 1000)
    watched = start()
    watched.until_scanned()
    assert [each.path for each in watched.sink.listings()[0].entries] == ["a"]
    assert (tmp_path / "data" / "hostpath.sqlite3.damaged").exists()


def test_stopping_breaks_off_a_long_scan(start, root) -> None:
    for number in range(3000):
        (root / f"{number}").touch()
    watched = start(interval_seconds=60)
    begun = time.monotonic()
    watched.observer.stop()
    assert time.monotonic() - begun < 2
    again = start()
    again.until_scanned()
    assert len(again.sink.listings()[0].entries) == 3000


KILLED = """
import os, sys, time
from pathlib import Path
from producers.hostpath.observer import HostPathObserver
from producers.hostpath.settings import HostPathSettings
import msgspec
class Printer:
    def emit(self, kind, event): os.write(1, msgspec.json.encode(event) + b"\\n")
    def emit_many(self, kind, events): [self.emit(kind, each) for each in events]
    def watermark(self, kind, microseconds): pass
root, data = sys.argv[1:]
observer = HostPathObserver(
    HostPathSettings(roots=(root,), interval_seconds=0.2), Path(data)
)
observer.start(Printer())
time.sleep(60)
"""


def test_after_kill_9_what_was_told_last_is_told_again(start, root, tmp_path) -> None:
    (root / "a").write_text("1")
    command = [sys.executable, "-c", KILLED, str(root), str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b'"listing"' in process.stdout.readline()
        remembered = f"file:{tmp_path}/data/hostpath.sqlite3?mode=ro"
        deadline = time.monotonic() + 15
        with contextlib.closing(sqlite3.connect(remembered, uri=True)) as inventory:
            while not inventory.execute("SELECT 1 FROM entries").fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        (root / "b").write_text("1")
        assert b'"appeared"' in process.stdout.readline()
        process.kill()
    watched = start()
    watched.until_scanned()
    assert watched.sink.changes() == [("appeared", "b")]


def test_a_full_disk_is_told_and_survived(start, root, tmp_path) -> None:
    watched = start()
    watched.until_scanned()
    other = sqlite3.connect(tmp_path / "data" / "hostpath.sqlite3")
    watched.observer._inventory._database.execute("PRAGMA max_page_count = 1")
    for number in range(300):
        (root / f"{'n' * 100}{number}").touch()
    watched.until(lambda: any("can't be written" in each for each in watched.observer.degraded()))
    watched.observer._inventory._database.execute("PRAGMA max_page_count = 100000")
    watched.until(lambda: len(watched.sink.listings()[-1].entries) == 300)
    watched.until(lambda: watched.observer.degraded() == [])
    other.close()


@pytest.mark.slow
def test_a_hundred_thousand_entries_do_not_block(start, root) -> None:
    for number in range(100_000):
        if number % 1000 == 0:
            (root / f"{number // 1000}").mkdir()
        (root / f"{number // 1000}" / f"file{number}").touch()
    watched = start(entry_limit=200_000, interval_seconds=60)
    longest = 0.0
    while not watched.sink.listings() or len(watched.sink.listings()) < (
        watched.sink.listings()[0].parts
    ):
        begun = time.monotonic()
        watched.observer.metrics()
        longest = max(longest, time.monotonic() - begun)
        time.sleep(0.01)
    assert sum(len(each.entries) for each in watched.sink.listings()) == 100_100
    assert longest < 0.5


def test_without_roots_it_rests(tmp_path) -> None:
    watched = Watched(HostPathObserver(HostPathSettings(), tmp_path), Recorder())
    watched.observer.start(watched.sink)
    try:
        watched.until(lambda: watched.observer.ready() is None and watched.sink.watermarked)
        assert watched.observer.degraded() == [] and watched.sink.events == []
    finally:
        watched.observer.stop()


def test_a_root_that_is_not_absolute_is_refused(tmp_path) -> None:
    with pytest.raises(RootError, match="absolute"):
        HostPathObserver(HostPathSettings(roots=("relative",)), tmp_path)
