"""Debouncing and merging, on a clock of the test's own."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watchdog.observers.api import ObservedWatch

from producers.file.changes import Changes
from producers.file.events import (
    FileClosed,
    FileDeleted,
    FileMoved,
    FolderMoved,
    KernelEvent,
    QueueOverflowed,
)
from producers.file.rules import Rules

ROOT = b"/r"
WATCH = ObservedWatch(ROOT, recursive=True)  # type: ignore[arg-type]


class Time:
    """Seconds since some moment, and the same as microseconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    @property
    def microseconds(self) -> int:
        return int(self.now * 1_000_000)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def changes(time: Time) -> Changes:
    return make(time)


def make(time: Time, limit: int = 1000) -> Changes:
    return Changes(
        Rules(("*",), (".git",), ()),
        is_own=lambda path: path.startswith(b"/r/own"),
        quiet=0.6,
        maximum_delay=3.0,
        limit=limit,
        monotonic=time,
    )


def put(changes: Changes, time: Time, event: KernelEvent, pid: int = 0) -> None:
    event.read_us, event.pid = time.microseconds, pid
    changes.put((event, WATCH))


def due(changes: Changes) -> list[bytes]:
    return [each.path for each in changes.take_due(1000)]


def test_a_change_settles_after_the_quiet_time(changes: Changes, time: Time) -> None:
    put(changes, time, FileClosed(b"/r/a"))
    time.now += 0.59
    assert due(changes) == []
    time.now += 0.02
    assert due(changes) == [b"/r/a"]
    assert due(changes) == []


def test_each_further_change_begins_the_quiet_time_anew(changes: Changes, time: Time) -> None:
    for _ in range(4):
        put(changes, time, FileClosed(b"/r/a"), pid=7)
        time.now += 0.5
    assert due(changes) == []
    time.now += 0.11
    [change] = changes.take_due(10)
    assert (change.events, change.pid) == (4, 7)
    assert change.last_us == 101_500_000


def test_a_file_that_never_rests_is_told_after_the_maximum(changes: Changes, time: Time) -> None:
    told = []
    for _ in range(100):
        put(changes, time, FileClosed(b"/r/a"))
        time.now += 0.1
        told += [time.now for _ in due(changes)]
    assert len(told) == 3
    assert all(2.9 < after - before < 3.2 for before, after in pairwise(told))


def test_the_oldest_time_that_may_still_come_bounds_the_watermark(
    changes: Changes, time: Time
) -> None:
    assert changes.oldest_us() is None
    put(changes, time, FileClosed(b"/r/a"))
    time.now += 0.3
    put(changes, time, FileClosed(b"/r/b"))
    assert changes.oldest_us() == 100_000_000
    time.now += 0.1
    put(changes, time, FileClosed(b"/r/a"))
    assert changes.oldest_us() == 100_300_000


def test_a_move_leads_from_the_first_name_to_the_last(changes: Changes, time: Time) -> None:
    put(changes, time, FileMoved(b"/r/a", b"/r/b"))
    put(changes, time, FileMoved(b"/r/b", b"/r/c"))
    time.now += 1
    found = {each.path: each for each in changes.take_due(10)}
    assert found[b"/r/c"].moved_from == b"/r/a"
    assert found[b"/r/a"].moved_to == b"/r/c"
    assert [each for each in found.values() if not each.gone] == [found[b"/r/c"]]


def test_a_folder_that_moves_takes_along_what_waits_in_it(changes: Changes, time: Time) -> None:
    put(changes, time, FileClosed(b"/r/old/a"))
    put(changes, time, FileMoved(b"/r/x", b"/r/old/b"))
    put(changes, time, FolderMoved(b"/r/old", b"/r/new"))
    put(changes, time, FileClosed(b"/r/old/later"))
    [folder] = changes.take_folders()
    assert (folder.kind, folder.old_path, folder.path) == ("moved", b"/r/old", b"/r/new")
    time.now += 1
    found = {each.path: each for each in changes.take_due(10)}
    assert set(found) == {b"/r/new/a", b"/r/new/b", b"/r/x", b"/r/old/later"}
    assert found[b"/r/x"].moved_to == b"/r/new/b"
    assert found[b"/r/new/b"].moved_from == b"/r/x"


def test_folders_that_are_left_out_move_in_and_out(changes: Changes, time: Time) -> None:
    put(changes, time, FolderMoved(b"/r/a", b"/r/.git"))
    put(changes, time, FolderMoved(b"/r/.git", b"/r/b"))
    put(changes, time, FolderMoved(b"/r/.git/x", b"/r/.git/y"))
    assert [(each.kind, each.path) for each in changes.take_folders()] == [
        ("deleted", b"/r/a"),
        ("created", b"/r/b"),
    ]


def test_what_is_left_out_is_counted(changes: Changes, time: Time) -> None:
    put(changes, time, FileClosed(b"/r/.git/index"))
    put(changes, time, FileClosed(b"/r/own/spool"))
    put(changes, time, FileMoved(b"/r/.git/a", b"/r/.git/b"))
    assert changes.take_filtered() == 3
    assert changes.take_filtered() == 0
    assert len(changes) == 0


def test_an_overflow_comes_through(changes: Changes, time: Time) -> None:
    put(changes, time, QueueOverflowed(ROOT))
    assert [each.kind for each in changes.take_folders()] == ["overflowed"]


def test_at_the_limit_the_oldest_settle_at_once(time: Time) -> None:
    changes = make(time, limit=8)
    for number in range(7):
        put(changes, time, FileClosed(b"/r/%d" % number))
    assert due(changes) == [b"/r/%d" % number for number in range(7)]


def test_closing_lets_go_of_whoever_waits_for_room(time: Time) -> None:
    changes = make(time, limit=2)
    changes.close()
    for number in range(5):
        put(changes, time, FileClosed(b"/r/%d" % number))
    assert len(changes) == 5


NAMES = st.sampled_from([b"/r/a", b"/r/b", b"/r/d/a", b"/r/d/b", b"/r/e/a"])
FOLDERS = st.sampled_from([b"/r/d", b"/r/e"])
EVENTS: list[Callable[..., KernelEvent]] = [FileClosed, FileDeleted]
STEPS = st.lists(
    st.one_of(
        st.builds(lambda kind, path: kind(path), st.sampled_from(EVENTS), NAMES),
        st.builds(FileMoved, NAMES, NAMES),
        st.builds(FolderMoved, FOLDERS, FOLDERS),
        st.floats(0, 1),
    ),
    max_size=40,
)


@given(STEPS)
def test_whatever_happens_every_path_settles_and_no_time_goes_back(steps) -> None:  # type: ignore[no-untyped-def]
    time = Time()
    changes = make(time)
    promised = 0
    for step in steps:
        if isinstance(step, float):
            time.now += step
            for change in changes.take_due(3):
                assert change.last_us >= promised
        else:
            put(changes, time, step)
        changes.take_folders()
        oldest = changes.oldest_us()
        promised = max(promised, time.microseconds if oldest is None else oldest)
        if oldest is not None:
            assert oldest >= promised or oldest == promised
    time.now += 0.61
    changes.take_due(1000)
    assert len(changes) == 0 and changes.oldest_us() is None
