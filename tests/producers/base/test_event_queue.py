"""From many threads to the loop: order, bounds, and what each policy does."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.base.event_queue import PLACE_CHARACTERS, EventQueue, Loss
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from tests.support.polling import eventually_sync


def event(path: object) -> FileEvent:
    return FileEvent(ts="", action="created", path=str(path))


def paths(queue: EventQueue, kind: str = "file") -> list[str]:
    return [
        each.path
        for found, events in queue.take().events
        if found == kind
        for each in events
        if isinstance(each, FileEvent)
    ]


def test_order_is_kept_over_kinds_and_calls() -> None:
    wakes: list[int] = []
    queue = EventQueue(100, "block", lambda: wakes.append(1))
    queue.emit("file", event(0))
    queue.emit("file", event(1))
    queue.emit_many("snapshot", [event(2), event(3)])
    queue.emit_many("snapshot", [event(4)])
    queue.emit_many("file", [])
    queue.emit("file", event(5))
    assert queue.size == 6
    taken = queue.take()
    assert [(kind, [each.path for each in events]) for kind, events in taken.events] == [  # type: ignore[attr-defined]
        ("file", ["0", "1"]),
        ("snapshot", ["2", "3", "4"]),
        ("file", ["5"]),
    ]
    assert wakes == [1], "one wake-up until the loop has taken"
    assert queue.size == 0
    queue.emit("file", event(6))
    assert wakes == [1, 1]


def test_a_list_that_the_caller_goes_on_using_is_copied() -> None:
    queue = EventQueue(100, "block", lambda: None)
    mine = [event(0)]
    queue.emit_many("file", mine)
    mine.append(event(1))
    queue.emit("file", event(2))
    assert len(mine) == 2
    assert paths(queue) == ["0", "2"]


def test_counts_watermarks_and_losses_come_along() -> None:
    queue = EventQueue(100, "block", lambda: None)
    queue.filtered("file", 3)
    queue.filtered("file")
    queue.watermark("file", 10)
    queue.watermark("file", 5)
    queue.lost("file", "ring_full", 2, first_ts="t1", last_ts="t2")
    queue.lost("file", "ring_full", 3, first_ts="t0", last_ts="t1", detail="d")
    queue.lost("file", "ring_full", None)
    queue.lost("file", "queue_overflow", 1, stage="observer")
    taken = queue.take()
    assert taken.filtered == Counter(file=4)
    assert taken.watermarks == {"file": 10}
    assert taken.losses == [
        Loss("file", "ring_full", "kernel", 5, "t0", "t2", "d"),
        Loss("file", "ring_full", "kernel", None),
        Loss("file", "queue_overflow", "observer", 1),
    ]
    assert queue.take() == ([], {}, Counter(), [])


def test_a_full_queue_holds_up_the_observer_until_there_is_room() -> None:
    queue = EventQueue(10, "block", lambda: None)
    emitted: list[int] = []

    def emit() -> None:
        for number in range(1000):
            if number % 7:
                queue.emit("file", event(number))
            else:
                queue.emit_many("file", [event(number)])
            emitted.append(number)

    thread = threading.Thread(target=emit)
    thread.start()
    eventually_sync(lambda: len(emitted) == 10, 5)
    found: list[str] = []
    while thread.is_alive() or queue.size:
        assert queue.size <= 10
        found += paths(queue)
    thread.join()
    assert found == [str(number) for number in range(1000)]


def test_a_list_longer_than_the_queue_goes_in_alone() -> None:
    for policy in ("block", "drop_oldest", "drop_newest"):
        queue = EventQueue(10, policy, lambda: None)
        queue.emit_many("file", [event(number) for number in range(50)])
        assert len(paths(queue)) == 50


def test_closing_lets_everybody_go_and_counts_what_comes_later() -> None:
    queue = EventQueue(1, "block", lambda: None)
    queue.emit("file", event(0))
    thread = threading.Thread(target=queue.emit, args=("file", event(1)))
    thread.start()
    queue.close()
    thread.join(5)
    assert not thread.is_alive()
    queue.emit_many("file", [event(2), event(3)])
    taken = queue.take()
    assert [len(each.events) for each in taken.events] == [1]
    assert taken.losses == [Loss("file", "producer_stopped", "observer", 3)]


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_oldest", range(90, 100)), ("drop_newest", range(10))]
)
def test_dropped_events_are_counted(policy: str, kept: range) -> None:
    queue = EventQueue(10, policy, lambda: None)  # type: ignore[arg-type]
    for number in range(100):
        queue.emit("file", event(number))
    taken = queue.take()
    assert [each.path for _, events in taken.events for each in events] == [  # type: ignore[attr-defined]
        str(number) for number in kept
    ]
    assert taken.losses == [Loss("file", "queue_full", "observer", 90)]


calls = st.lists(st.tuples(st.sampled_from(["file", "snapshot"]), st.integers(1, 15)), max_size=30)


@given(calls, st.sampled_from(["drop_oldest", "drop_newest"]), st.integers(1, 20))
def test_emitted_is_taken_plus_lost_under_every_policy(
    calls: list[tuple[str, int]], policy: str, limit: int
) -> None:
    queue = EventQueue(limit, policy, lambda: None)  # type: ignore[arg-type]
    emitted: Counter[str] = Counter()
    for kind, count in calls:
        queue.emit_many(kind, [event(emitted[kind] + number) for number in range(count)])
        emitted[kind] += count
        assert queue.size <= max(limit, *(each for _, each in calls))
    taken = queue.take()
    together: Counter[str] = Counter()
    for kind, events in taken.events:
        together[kind] += len(events)
        numbers = [int(each.path) for each in events]  # type: ignore[attr-defined]
        assert numbers == sorted(numbers)
    for loss in taken.losses:
        together[loss.kind] += loss.count or 0
    assert together == emitted


def test_eight_threads_lose_nothing() -> None:
    queue = EventQueue(500, "block", lambda: None)

    def emit(thread: int) -> None:
        for number in range(2000):
            queue.emit("file", event(thread * 10_000 + number))

    threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    found: list[int] = []
    while any(thread.is_alive() for thread in threads) or queue.size:
        found += map(int, paths(queue))
    assert len(found) == 16_000
    for thread in range(8):
        mine = [each for each in found if each // 10_000 == thread]
        assert mine == [thread * 10_000 + number for number in range(2000)]


def test_content_takes_room_by_its_size_so_that_memory_is_bounded() -> None:
    def snapshot(number: int) -> SnapshotEvent:
        return SnapshotEvent(
            ts="", path=f"/{number}", hash="", size=0, encoding="utf-8",
            content="x" * 3 * PLACE_CHARACTERS,
        )  # fmt: skip

    queue = EventQueue(10, "drop_oldest", lambda: None)
    for number in range(5):
        queue.emit("snapshot", snapshot(number))
    assert queue.size == 8, "two of four places each"
    taken = queue.take()
    kept = [each.path for batch in taken.events for each in batch.events]  # type: ignore[attr-defined]
    assert kept == ["/3", "/4"]
    assert sum(loss.count or 0 for loss in taken.losses) == 3

    newest = EventQueue(10, "drop_newest", lambda: None)
    newest.emit_many("snapshot", [snapshot(number) for number in range(2)])
    newest.emit_many("snapshot", [snapshot(number) for number in range(2, 4)])
    assert [loss.count for loss in newest.take().losses] == [2], "events are counted, not places"
