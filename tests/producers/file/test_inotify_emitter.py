"""What watchdog's inotify emitter lacked: bounds, times that bound the watermark, right paths."""

import threading
import time

import pytest
from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent

from producers.file import inotify_emitter
from producers.file.inotify_emitter import BoundedGrouper, StampedEvent


@pytest.fixture
def method() -> str:
    return "inotify"


def event(mask: Mask, read_us: int) -> PathedInotifyEvent:
    return PathedInotifyEvent(StampedEvent(WatchDescriptor(1), mask, 7, b"a", read_us), b"/a")


def until(condition, seconds: float = 10.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def grouper():
    """A grouper whose events are read by a thread, as the emitter does."""
    grouper = BoundedGrouper()
    reader = threading.Thread(target=lambda: all(iter(grouper.read_event, None)))
    reader.start()
    yield grouper
    grouper.close()
    reader.join()


def test_the_watermark_waits_for_what_is_queued_and_goes_on_after(grouper) -> None:
    grouper.put_event(event(InotifyConstants.IN_MOVED_FROM, 100))  # waits for its second half
    grouper.put_event(event(InotifyConstants.IN_CREATE, 200))
    assert grouper.waiting_since_us == 100
    until(lambda: grouper.waiting_since_us is None)


def test_what_an_overflow_makes_void_does_not_hold_the_watermark(grouper) -> None:
    grouper.put_event(event(InotifyConstants.IN_MOVED_FROM, 100))
    grouper.discard_pending_events()
    until(lambda: grouper.waiting_since_us is None)


def test_folders_that_changed_names_before_they_were_watched_are_watched_by_their_own(
    start, root, on_disk, monkeypatch
) -> None:
    monkeypatch.setattr(inotify_emitter, "QUEUED_EVENTS", 64)
    watched = start(pending_limit=16)
    watched.sink.open.clear()
    for number in range(400):  # so many that the reader waits, and comes late to what follows
        (root / f"{number}.c").write_text(str(number))
    (root / "a").mkdir()
    (root / "a").rename(root / "b")
    (root / "a").mkdir()
    watched.sink.open.set()
    watched.until_quiet()
    assert watched.sink.losses == []
    for name in ("a", "b"):
        (root / name / "late.c").write_text(name)
    watched.until_quiet()
    assert watched.sink.final_state() == on_disk(root)
