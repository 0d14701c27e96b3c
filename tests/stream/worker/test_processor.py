"""One partition of a worker: what is refused, what is published, and that nothing stops it."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contract.batch import MAXIMUM_ENRICHED_BYTES
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.loss import LossEvent
from stream.contract.kinds.process import ProcessEvent
from stream.contract.timestamps import format_timestamp
from stream.worker.errors import StateFormatError
from stream.worker.processor import Processor
from tests.support.raw_log import MemoryStore, RawLog, RawMessage, Run, at, process

NODE = "node.a b"
"""Escaped in subjects."""


def saves(count: int = 3) -> RawLog:
    log = RawLog()
    for number in range(count):
        log.add(NODE, FileEvent(ts=at(number), action="modified", path=f"/f{number}", size=1))
    return log


def reasons(run: Run) -> list[tuple[str, int | None]]:
    return [(each["reason"], each.get("seq")) for each in run.lines("dead.")]


def test_what_is_published_carries_the_identity_of_the_raw_batch() -> None:
    (raw,) = saves().messages()
    run = process([raw])
    (message,) = run.published
    assert message.subject == "events.file.node_2Ea_20b"
    rules = message.headers.pop("Tenwatch-Rules")
    assert rules == "none"
    assert message.headers == raw.headers
    assert [line["log_line"] for line in run.lines()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Tenwatch-Schema", "file/2", "unknown_version"),
        ("Tenwatch-Schema", "process/1", "bad_header"),
        ("Tenwatch-Schema", "", "bad_header"),
        ("Tenwatch-Node", "node-b", "bad_header"),
        ("Tenwatch-Count", "4", "bad_batch"),
        ("Tenwatch-Count", "0", "bad_header"),
        ("Tenwatch-Count", "x", "bad_header"),
        ("Tenwatch-First-Seq", "-1", "bad_header"),
        ("Tenwatch-Boot", "b" * 200, "bad_batch"),
    ],
)
def test_a_message_whose_headers_are_wrong_is_refused_whole_and_kept(
    name: str, value: str, reason: str
) -> None:
    (raw,) = saves().messages()
    raw.headers[name] = value
    run = process([raw, *saves().messages()])
    (letter,) = run.lines("dead.worker.")
    assert letter["reason"] == reason
    assert letter["payload"].encode() == raw.payload
    assert len(run.lines("events.")) == 3


def test_a_message_without_headers_is_refused() -> None:
    (raw,) = saves().messages()
    run = process([])
    (message,) = run.processor.process(raw.key, None, raw.payload, 1)
    assert message.subject == "dead.worker.file"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (b'"seq":1', b'"seq":7'),
        (b'"boot":"boot-1","seq":1', b'"boot":"other","seq":1'),
        (b'"action":"modified","path":"/f1"', b'"action":"burnt","path":"/f1"'),
        (b'"path":"/f1"', b'"path":3'),
        (b'"path":"/f1","size":1', b'"path":"/f1","size":-1'),
        (b'"path":"/f1","size":1', b'"path":"/f1","size":99999999999999999999'),
        (b'"path":"/f1","size":1}', b'"path":"/f1","size":1'),
        (b'"path":"/f1","size":1}', b'"path":"/f1\xff","size":1}'),
        (at(1).encode(), b"2027-01-15T08:00:01Z"),
        (at(1).encode(), b"2027-13-15T08:00:01.000000Z"),
        (at(1).encode(), b"1969-12-31T23:59:59.000000Z"),
        (at(1).encode(), "2027-01-15T08:00:01.00000²Z".encode()),
    ],
)
def test_a_bad_line_is_refused_and_its_neighbours_go_on(change: bytes, word: bytes) -> None:
    (raw,) = saves().messages()
    assert change in raw.payload
    raw.payload = raw.payload.replace(change, word)
    run = process([raw])
    assert reasons(run) == [("bad_line", 1)]
    assert [line["seq"] for line in run.lines("events.")] == [0, 2]
    first, second = (each for each in run.published if each.subject.startswith("events."))
    assert (first.headers["Tenwatch-First-Seq"], first.headers["Tenwatch-Count"]) == ("0", "1")
    assert (second.headers["Tenwatch-First-Seq"], second.headers["Tenwatch-Count"]) == ("2", "1")


def test_a_refused_line_is_not_waited_for() -> None:
    log = saves()
    log.progress(NODE, "file", 15)
    messages = log.messages()
    messages[0].payload = messages[0].payload.replace(b'"path":"/f1"', b'"path":3')
    run = process(messages)
    assert run.row(kind="file", scope="node")["samples"] == 2


@pytest.mark.parametrize("ending", ["", "\n", " \n", "\r\n"])
def test_lines_may_end_as_they_like(ending: str) -> None:
    (raw,) = saves().messages()
    raw.payload = raw.payload.strip().replace(b"\n", ending.strip("\n").encode() + b"\n")
    raw.payload += ending.encode()
    assert len(process([raw]).lines("events.")) == 3


def test_a_progress_record_of_no_kind_or_time_is_refused() -> None:
    for word, other in (
        (b'"producer":"file"', b'"producer":"x"'),
        (b'"watermark":"2', b'"watermark":"y'),
    ):
        log = RawLog()
        log.progress(NODE, "file", 1)
        (raw,) = log.messages()
        raw.payload = raw.payload.replace(word, other)
        assert reasons(process([raw])) == [("bad_line", 0)]


def test_a_loss_goes_to_the_subject_of_its_stage() -> None:
    log = RawLog()
    for stage in ("kernel", "kernel", "spool", ""):
        log.add(NODE, LossEvent(ts=at(0), stage=stage, kind="file", reason="x", count=1))
    run = process(log.messages())
    assert [(each.subject, each.headers["Tenwatch-Count"]) for each in run.published] == [
        ("loss.kernel.node_2Ea_20b", "2"),
        ("loss.spool.node_2Ea_20b", "1"),
        ("loss.unknown.node_2Ea_20b", "1"),
    ]


def test_a_batch_that_grows_too_large_is_split_in_two() -> None:
    log = RawLog()
    argv = ["gcc", *(f"{'s' * 60}{number}.c" for number in range(110))]
    for number in range(60):
        log.add(
            NODE,
            ProcessEvent(
                ts=at(0), action="exec", pid=1, ppid=0, uid=0, exec_id=f"{number}", comm="gcc",
                exe="/usr/bin/gcc", argv=[*argv, str(number)],
            ),
        )  # fmt: skip
    (raw,) = log.messages()
    assert len(raw.payload) < 512 * 1024
    run = process([raw])
    assert all(len(each.payload) <= MAXIMUM_ENRICHED_BYTES for each in run.published)
    assert len(run.lines()) == 60
    assert sum(int(each.headers["Tenwatch-Count"]) for each in run.published) == 60


def test_a_replay_runs_on_subjects_of_its_own_and_from_the_middle() -> None:
    log = saves()
    log.progress(NODE, "file", 30)
    messages = log.messages(1)[2:]
    run = process(messages, prefix="replay.r1.", from_the_middle=True)
    assert {each.subject.rpartition(".")[0] for each in run.published} == {
        "replay.r1.events.file",
        "replay.r1.events.progress",
    }
    assert run.row(kind="file", scope="node")["samples"] == 1


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["process", "file", "progress", "loss", "cgroup", "pod", "hostpath", "x", ""]),
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.dictionaries(
        st.sampled_from(
            ["Tenwatch-Schema", "Tenwatch-Node", "Tenwatch-Boot", "Tenwatch-First-Seq",
             "Tenwatch-Count", "Nats-Msg-Id"]
        ),
        st.text(max_size=20) | st.sampled_from(["file/1", "process/1", "n", "1", "0"]),
    ),
)  # fmt: skip
def test_garbage_is_counted_and_never_stops_the_worker(
    kind: str, payload: bytes, headers: dict[str, str]
) -> None:
    run = process([RawMessage(f"{kind}.n", headers, payload), *saves().messages()])
    assert len(run.lines("events.file.node")) == 3
    assert sum(run.processor.counts.dead.values()) >= 1


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_message_damaged_anywhere_is_refused_in_part_or_whole(seed: int, bytes_: int) -> None:
    chance = random.Random(seed)
    log = RawLog()
    kinds: list[Any] = [
        FileEvent(ts=at(1), action="modified", path="/f", size=1, writer_pid=3),
        ProcessEvent(ts=at(1), action="exit", pid=1, ppid=0, uid=0, exec_id="e", comm="c"),
        LossEvent(ts=at(1), stage="s", kind="file", reason="r", first_seq=1, last_seq=2),
    ]
    event = chance.choice(kinds)
    for _ in range(4):
        log.add(NODE, msgspec.structs.replace(event))
        log.progress(NODE, "file", 2)
    messages = log.messages()
    for each in messages:
        damaged = bytearray(each.payload)
        for _ in range(bytes_):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        each.payload = bytes(damaged)
    run = process([*messages, *saves(40).messages()], restart=lambda offset: offset % 3 == 0)
    assert run.store.committed
    for line in run.lines():
        assert line["log_partition"] == 0


def test_a_log_that_begins_in_the_middle_reports_no_loss_before_it_even_after_a_restart() -> None:
    log = RawLog()
    log.skip(NODE, "file", 100)
    log.add(NODE, FileEvent(ts=at(1), action="modified", path="/x", size=1))
    for second in range(2, 80):
        log.progress(NODE, "file", second)
    everything = process(log.messages(1))
    assert [each["count"] for each in everything.lines("loss.worker.")] == [100]
    emptied = process(log.messages(1)[:1], from_the_middle=True)
    later = Processor(0, MemoryStore(emptied.store.committed))
    published = [
        each.subject.partition(".")[0]
        for offset, raw in enumerate(log.messages(1)[1:])
        for each in later.process(raw.key, raw.headers, raw.payload, offset)
    ]
    assert set(published) == {"events"}


def test_a_state_of_another_format_is_refused() -> None:
    store = process(saves().messages()).store
    store["format"] = b"0"
    store.commit()
    with pytest.raises(StateFormatError, match="has format b'0'"):
        Processor(0, MemoryStore(store.committed))


def test_times_far_from_now_do_not_stop_the_worker() -> None:
    for microseconds in (0, 10**15, 250_000_000_000_000_000):
        log = RawLog()
        log.progress(NODE, "file", 1)
        log.add(
            NODE,
            FileEvent(ts=format_timestamp(microseconds), action="modified", path="/x", size=1),
        )
        log.progress(NODE, "file", 2)
        log.progress(NODE, "file", 30)
        assert len(process(log.messages()).lines("events.file")) == 1
