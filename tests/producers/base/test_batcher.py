"""Batches: gap-free seqs, bounds in events, bytes and age, and events that can't be written."""

import json

from hypothesis import given
from hypothesis import strategies as st

from producers.base.batcher import LOAD_EVENTS, TOO_LARGE, UNENCODABLE, Batch, Batcher
from producers.base.settings import ProducerSettings
from stream.contract.batch import MAXIMUM_RAW_BYTES
from stream.contract.kinds.file import FileEvent

SETTINGS = ProducerSettings(batch_events=10, batch_bytes=2048)


def event(path: str = "/p", ts: str = "2026-01-01T00:00:00.000000Z") -> FileEvent:
    return FileEvent(ts=ts, action="created", path=path)


def make(settings: ProducerSettings = SETTINGS) -> Batcher:
    return Batcher("file", "node-a", "boot-1", settings)


def lines(batch: Batch) -> list[dict[str, object]]:
    return [json.loads(line) for line in batch.payload.splitlines()]


@given(
    st.lists(st.lists(st.integers(0, 1500), min_size=1, max_size=40), max_size=8),
    st.integers(1, 64),
)
def test_every_event_gets_the_next_seq_and_every_batch_keeps_the_bounds(
    calls: list[list[int]], batch_events: int
) -> None:
    batcher = make(ProducerSettings(batch_events=batch_events, batch_bytes=2048))
    batches: list[Batch] = []
    for sizes in calls:
        batches += batcher.add([event("x" * size) for size in sizes], 0.0)
    batches += batcher.close()
    sizes = [size for call in calls for size in call]
    assert batcher.next_seq == len(sizes)
    written = [line for batch in batches for line in lines(batch)]
    assert [line["seq"] for line in written] == list(range(len(sizes)))
    assert [len(str(line["path"])) for line in written] == sizes
    assert {(line["node"], line["boot"]) for line in written} <= {("node-a", "boot-1")}
    following = 0
    for batch in batches:
        assert (batch.meta.kind, batch.meta.version) == ("file", 1)
        assert batch.meta.first_seq == following
        assert batch.meta.count == len(lines(batch)) <= batch_events
        assert len(batch.payload) <= 2048 or batch.meta.count == 1
        following = batch.meta.last_seq + 1


def test_a_batch_knows_the_times_of_its_first_and_last_event() -> None:
    batcher = make()
    assert list(batcher.add([event(ts="t1"), event(ts="t2")], 0.0)) == []
    assert list(batcher.add([event(ts="t3")], 0.0)) == []
    [batch] = batcher.close()
    assert (batch.meta.first_ts, batch.meta.last_ts, batch.meta.count) == ("t1", "t3", 3)
    assert list(batcher.close()) == []
    assert not batcher.open


def test_the_age_is_short_under_load_and_long_when_little_happens() -> None:
    batcher = make(ProducerSettings(batch_age_seconds=0.1, batch_idle_age_seconds=1.0))
    list(batcher.add([event()], 5.0))
    assert batcher.deadline == 6.0
    assert not batcher.due(5.9)
    assert batcher.due(6.0)
    list(batcher.add([event() for _ in range(LOAD_EVENTS)], 5.05))
    assert batcher.deadline == 5.1
    list(batcher.close())
    batcher.tick()
    list(batcher.add([event()], 7.0))
    assert batcher.deadline == 7.1, "the second before was busy"
    list(batcher.close())
    batcher.tick()
    list(batcher.add([event()], 9.0))
    assert batcher.deadline == 10.0


def test_one_large_event_is_a_batch_and_a_too_large_one_is_refused_without_a_gap() -> None:
    batcher = make(ProducerSettings())
    found = [
        batch
        for events in (
            [event("a"), event("b" * 400_000), event("c")],
            [event("d" * MAXIMUM_RAW_BYTES)],
            [event("e")],
        )
        for batch in batcher.add(events, 0.0)
    ]
    found += batcher.close()
    assert [line["seq"] for batch in found for line in lines(batch)] == [0, 1, 2, 3]
    assert [str(line["path"])[0] for batch in found for line in lines(batch)] == list("abce")
    assert all(len(batch.payload) <= MAXIMUM_RAW_BYTES for batch in found)
    assert batcher.refused == {TOO_LARGE: 1}


def test_an_event_that_is_no_text_takes_no_other_with_it() -> None:
    batcher = make()
    events = [event("good"), event("\ud800"), event("good"), event("\udfff"), event("good")]
    assert list(batcher.add(events, 0.0)) == []
    [batch] = batcher.close()
    assert [line["seq"] for line in lines(batch)] == [0, 1, 2]
    assert batcher.refused == {UNENCODABLE: 2}
