"""A pinned program outlives the producer: what happens meanwhile is neither lost nor repeated."""

import hashlib
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from producers.process.attach import attach
from producers.process.errors import AttachError
from producers.process.handover import Place
from producers.process.observer import ProcessObserver
from producers.process.settings import ProcessSettings
from stream.contract.event import Event
from stream.contract.kinds.process import ProcessEvent
from tests.producers.process.support import NODE, ListSink, cgroup, pinned_in, run_in, truth
from tests.support.polling import eventually_sync


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    with pinned_in(tmp_path) as folder:
        yield folder


@dataclass
class LivesSink(ListSink):
    """A sink with a disk: events are durable once :meth:`write` was called."""

    boot: str = "life-1"
    earlier: tuple[str, int] | None = None
    written: int = 0
    automatic: bool = True
    offsets: list[int] = field(default_factory=list)

    def durable(self, kind: str) -> int:
        return len(self.events) if self.automatic else self.written

    def recovered(self, kind: str) -> tuple[str, int] | None:
        return self.earlier

    def write(self, count: int) -> None:
        self.written = count


@contextmanager
def life(sink: LivesSink, pins: Path, path: str, **settings: int) -> Iterator[ProcessObserver]:
    observer = ProcessObserver(
        NODE,
        ProcessSettings(
            cgroup_prefixes=[path], pin_directory=str(pins), fallback=False, **settings
        ),
    )
    observer.start(sink)
    try:
        yield observer
    finally:
        observer.stop()


def test_a_restarted_producer_continues_where_the_last_one_stopped(storm: Path, pins: Path) -> None:
    with cgroup() as path:
        first, second = LivesSink(), LivesSink(boot="life-2")
        with life(first, pins, path) as observer:
            assert not observer.bridged
            run_in(path, storm, "exit", "1")
        run_in(path, storm, "exit", "2")
        second.earlier = (first.boot, len(first.events))
        with life(second, pins, path) as observer:
            assert observer.bridged
            run_in(path, storm, "exit", "3")
    codes = [
        [event.exit_code for event in sink.events if event.action == "exit"]
        for sink in (first, second)
    ]
    assert codes == [[1], [2, 3]]
    assert [event.action for event in second.events] == ["exec", "exit"] * 2
    assert first.losses == second.losses == []


def test_what_was_handed_over_and_not_yet_durable_is_handed_over_again(
    storm: Path, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first life gets 3 of 8 events onto the disk, the second one 2 more, then both die."""
    monkeypatch.setattr("producers.process.bpf_source._SETTLE_SECONDS", 0.1)
    with cgroup() as path:
        first = LivesSink(automatic=False)
        with life(first, pins, path, drain_interval_ms=1):
            for code in range(4):
                run_in(path, storm, "exit", str(code))
            eventually_sync(lambda: len(first.events) == 8)
            first.write(3)
        second = LivesSink(boot="life-2", automatic=False, earlier=("life-1", 3))
        with life(second, pins, path, drain_interval_ms=1):
            eventually_sync(lambda: len(second.events) == 5)
            second.write(2)
        third = LivesSink(boot="life-3", earlier=("life-2", 2))
        with life(third, pins, path):
            pass
    stored = first.events[:3] + second.events[:2] + third.events
    assert [(event.action, event.argv[2]) for event in stored] == [
        (action, str(code)) for code in range(4) for action in ("exec", "exit")
    ]
    # An exit repeats the exec that an earlier life had stored.
    assert all(event.argv and not event.degraded for event in stored)


def test_an_exit_while_nobody_runs_is_known_by_its_exec_in_the_ring(
    storm: Path, pins: Path
) -> None:
    with cgroup() as path:
        with life(LivesSink(), pins, path):
            pass
        children = truth(run_in(path, storm, "codes"))
        sink = LivesSink(boot="life-2")
        with life(sink, pins, path):
            pass
    for child in children:
        event = sink.only(child.pid, "exit")
        assert event.exit_code == child.exit_code
        assert event.argv == ["storm", "exit", child.label, "codes"]


def test_a_loss_while_nobody_ran_is_counted_exactly(storm: Path, pins: Path) -> None:
    count = 1000
    with cgroup() as path:
        with life(LivesSink(), pins, path, ring_bytes=1 << 16):
            pass
        assert run_in(path, storm, "flood", str(count), "2", "mark").returncode == 0
        sink = LivesSink(boot="life-2")
        with life(sink, pins, path, ring_bytes=1 << 16):
            pass
        again = LivesSink(boot="life-3", earlier=("life-2", len(sink.events)))
        with life(again, pins, path, ring_bytes=1 << 16):
            pass
    assert sink.lost_count > 0
    assert len(sink.events) + sink.lost_count == 2 * count + 2 + 2
    assert (again.events, again.losses) == ([], [])


def test_another_version_takes_over_and_reports_the_moment_between(storm: Path, pins: Path) -> None:
    """Other filters make another program."""
    with cgroup() as path:
        with life(LivesSink(), pins, path):
            pass
        run_in(path, storm, "exit", "1")
        sink = LivesSink(boot="life-2")
        with life(sink, pins, path[:-1]) as observer:
            assert not observer.bridged
            run_in(path, storm, "exit", "2")
        assert len(list(pins.iterdir())) == 1
    assert [event.exit_code for event in sink.events if event.action == "exit"] == [1, 2]
    assert [(loss.reason, loss.count) for loss in sink.losses] == [("program_replaced", None)]


def test_two_producers_cannot_share_the_pins(pins: Path) -> None:
    with life(LivesSink(), pins, "/none"), pytest.raises(AttachError, match="another process"):
        attach(ProcessSettings(pin_directory=str(pins)))


def test_a_directory_that_is_no_bpf_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AttachError, match="must lie in a mounted BPF file system"):
        attach(ProcessSettings(pin_directory=str(tmp_path / "pins")))
    with pytest.raises(AttachError, match="must lie in a mounted BPF file system"):
        attach(ProcessSettings(pin_directory=str(tmp_path / "missing" / "pins")))


def test_the_cursor_survives_being_cut_off_while_it_is_written(pins: Path) -> None:
    attached = attach(ProcessSettings(pin_directory=str(pins)))
    assert attached.cursor is not None
    cursor = attached.cursor
    assert cursor.read() is None
    places = [Place(n, n * 2, hashlib.blake2b(b"%d" % n, digest_size=16).digest()) for n in (1, 2)]
    cursor.write(places[0])
    assert cursor.read() == places[0]
    current = cursor._words[0]
    cursor.write(places[1])
    assert cursor.read() == places[1]
    # As a kill before the last word leaves it.
    cursor._words[0] = current
    assert cursor.read() == places[0]
    attached.close()


KILLED = """
import os, sys
from pathlib import Path
import msgspec
from producers.process.observer import ProcessObserver
from producers.process.settings import ProcessSettings
from tests.producers.process.support import NODE
from tests.producers.process.test_pins import FileSink
pins, path, boot, folder = sys.argv[1:]
observer = ProcessObserver(NODE, ProcessSettings(
    cgroup_prefixes=[path], pin_directory=pins, fallback=False))
observer.start(FileSink(Path(folder), boot))
print("ready", flush=True)
sys.stdin.read()
observer.stop()
"""


class FileSink(ListSink):
    """Appends events to a file in pieces, some time after they came, as a spool does."""

    def __init__(self, folder: Path, boot: str) -> None:
        super().__init__()
        self.boot = boot
        self._folder = folder
        self._file = (folder / boot).open("ab", buffering=0)
        self._durable = 0
        self._held: list[bytes] = []

    def emit_many(self, kind: str, events: list[Event]) -> None:
        self._held += [msgspec.json.encode(event) + b"\n" for event in events]

    def durable(self, kind: str) -> int:
        # Every third time, so that most of the time some events are only in memory.
        if self._held and random.random() < 0.3:
            self._file.write(b"".join(self._held))
            self._durable += len(self._held)
            self._held = []
        return self._durable

    def recovered(self, kind: str) -> tuple[str, int] | None:
        others = sorted(each.name for each in self._folder.iterdir() if each.name != self.boot)
        if not others:
            return None
        return others[-1], (self._folder / others[-1]).read_bytes().count(b"\n")


def test_killed_again_and_again_under_load_nothing_is_lost_or_repeated(
    storm: Path, pins: Path, tmp_path: Path, rounds: int
) -> None:
    count, kills = 1500, 2 * rounds
    folder = tmp_path / "stored"
    folder.mkdir()

    def begin(number: int, path: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(pins), path, f"life-{number:04}", str(folder)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    with cgroup() as path:
        producer = begin(0, path)
        for number in range(1, kills + 1):
            flood = subprocess.Popen(
                [sys.executable, "-c", "import sys; from tests.producers.process.support import "
                 "run_in; sys.exit(run_in(*sys.argv[1:]).returncode)",
                 path, storm, "flood", str(count), "2", f"mark-{number}"],
                cwd=Path(__file__).parents[3],
            )  # fmt: skip
            before = sum(each.stat().st_size for each in folder.iterdir())
            enough = before + random.randrange(1, 300_000)
            eventually_sync(
                lambda enough=enough: sum(e.stat().st_size for e in folder.iterdir()) > enough,
                deadline=30,
            )
            producer.send_signal(signal.SIGKILL)
            producer.wait()
            producer = begin(number, path)
            assert flood.wait(60) == 0
        producer.communicate(b"")
        assert producer.returncode == 0
    stored = [
        msgspec.json.decode(line, type=ProcessEvent)
        for each in sorted(folder.iterdir())
        for line in each.read_bytes().splitlines()
    ]
    mine = [event for event in stored if event.argv[1:2] == ["exit"]]
    found = Counter((event.action, event.argv[4], int(event.argv[3])) for event in mine)
    expected = {
        (action, f"mark-{number}", child)
        for action in ("exec", "exit")
        for number in range(1, kills + 1)
        for child in range(count)
    }
    assert set(found) == expected
    assert set(found.values()) == {1}


def test_pins_can_be_removed_by_hand(pins: Path) -> None:
    """What documentation tells to do when the producer is removed for good."""
    with cgroup() as path:
        with life(LivesSink(), pins, path):
            pass
        for place in pins.iterdir():
            assert {each.name for each in place.iterdir()} == {
                "records", "counters", "cursor", "fork", "exec", "exit",
            }  # fmt: skip
            for each in place.iterdir():
                each.unlink()
            place.rmdir()
        sink = LivesSink(boot="life-2")
        with life(sink, pins, path) as observer:
            assert not observer.bridged
        assert list(pins.iterdir())
