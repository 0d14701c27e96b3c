"""What the kernel could not hand over is counted there, to the last record."""

import subprocess
from pathlib import Path

import pytest

from producers.process.assembly import EventAssembler
from producers.process.attach import AttachedProgram, attach
from producers.process.boot_clock import BootClock
from producers.process.bpf_source import BpfSource
from producers.process.errors import RecordError
from producers.process.identity import ProcessNames
from producers.process.process_table import ProcessTable
from producers.process.record import Record, RecordDecoder
from producers.process.redaction import RedactionSettings, Redactor
from producers.process.settings import ProcessSettings
from stream.contract.timestamps import parse_timestamp
from tests.producers.process.support import CGROUP_ROOT, NODE, ListSink, cgroup, observing, run_in
from tests.support.polling import eventually_sync

SMALL_RING = 1 << 16


def test_with_the_consumer_frozen_seen_is_delivered_plus_lost(storm: Path, rounds: int) -> None:
    """The sink holds up the reader, as a full queue does, until the ring is long full."""
    for _ in range(rounds):
        count = 2000
        sink = ListSink()
        sink.gate.clear()
        with cgroup() as path:
            with observing(sink, cgroup_prefixes=[path], ring_bytes=SMALL_RING):
                result = run_in(path, storm, "flood", str(count), "2", "mark")
                assert result.returncode == 0, result.stderr
            # The storm's own exec and exit, and the exits of its two workers.
            seen = 2 * count + 2 + 2
            assert sink.lost_count > count
            assert len(sink.events) + sink.lost_count == seen
        for loss in sink.losses:
            assert (loss.reason, loss.stage) == ("ring_full", "kernel")
            assert loss.first_ts is not None
            assert loss.last_ts is not None
            assert parse_timestamp(loss.first_ts) < parse_timestamp(loss.last_ts)


def test_the_kernels_own_counters_agree_with_what_was_handed_over(storm: Path) -> None:
    with cgroup() as path:
        sink = ListSink()
        settings = ProcessSettings(cgroup_prefixes=[path], ring_bytes=SMALL_RING)
        source = source_of(attach(settings), sink)
        run_in(path, storm, "flood", "1500", "2", "mark")
        source.poll(0)
        run_in(path, storm, "flood", "10", "1", "mark")
        source.finish()
    numbers = source.metrics()
    assert numbers["kernel_lost_total"] == sink.lost_count > 0
    assert numbers["kernel_filtered_total"] == sink.filtered_count > 0
    assert numbers["records_delivered_total"] == len(sink.events)
    assert numbers["kernel_seen_total"] == len(sink.events) + sink.lost_count + sink.filtered_count


def test_an_exit_whose_exec_was_lost_is_reported_and_marked(storm: Path) -> None:
    with cgroup() as path:
        sink = ListSink()
        settings = ProcessSettings(cgroup_prefixes=[path], ring_bytes=SMALL_RING)
        attached = attach(settings)
        source = source_of(attached, sink)
        run_in(path, storm, "flood", "1000", "2", "mark")
        late = start_cat(path)
        attached.records.read(1 << 20)
        attached.records.release(attached.records.position)
        late.communicate(b"")
        source.finish()
    (event,) = sink.events
    assert (event.pid, event.action, event.exit_code) == (late.pid, "exit", 0)
    assert (event.argv, event.exe, event.cwd) == ([], "", "")
    assert (event.comm, event.cgroup) == ("cat", path)
    assert event.degraded
    assert not event.forked
    assert event.duration_us is not None
    assert source.metrics()["exits_without_exec_total"] == 1


def test_after_a_loss_the_living_are_looked_up_again(storm: Path) -> None:
    sink = ListSink()
    sink.gate.clear()
    with cgroup() as path, observing(sink, cgroup_prefixes=[path], ring_bytes=SMALL_RING):
        run_in(path, storm, "flood", "1000", "2", "mark")
        survivor = start_cat(path)
        sink.gate.set()
        eventually_sync(lambda: sink.losses)
        # The look-up follows the account that found the loss, in the same turn of the reader.
        turn = len(sink.watermarks)
        eventually_sync(lambda: len(sink.watermarks) > turn + 1)
        survivor.communicate(b"")
    assert not sink.of(survivor.pid, "exec")
    event = sink.only(survivor.pid, "exit")
    assert event.argv == ["cat", "-"]
    assert event.cwd == "/usr/lib"
    assert not event.degraded


def test_a_record_that_makes_no_event_is_one_loss_and_stops_nobody(
    storm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = RecordDecoder.decode

    def faulty(self: RecordDecoder, raw: bytes) -> Record:
        if b"broken" in raw:
            raise RecordError("a record was damaged")
        if b"unforeseen" in raw:
            raise ZeroDivisionError
        return whole(self, raw)

    monkeypatch.setattr(RecordDecoder, "decode", faulty)
    sink = ListSink()
    with cgroup() as path:
        source = source_of(attach(ProcessSettings(cgroup_prefixes=[path])), sink)
        for name in ("fine", "broken", "unforeseen", "fine"):
            run_in(path, storm, "exit", "1", name)
        source.finish()
    # The exits of the two do not carry their arguments, and came through.
    assert [event.action for event in sink.events] == [
        "exec",
        "exit",
        "exit",
        "exit",
        "exec",
        "exit",
    ]
    assert [(loss.reason, loss.stage, loss.count) for loss in sink.losses] == [
        ("undecodable", "observer", 1)
    ] * 2


def source_of(attached: AttachedProgram, sink: ListSink) -> BpfSource:
    """The source without a thread that drives it."""
    clock = BootClock()
    table = ProcessTable(1000, 1 << 20)
    assembler = EventAssembler(ProcessNames(NODE), Redactor(RedactionSettings()), table, clock)
    return BpfSource(attached, sink, assembler, table, clock)


def start_cat(path: str) -> "subprocess.Popen[bytes]":
    """A process in a cgroup that lives until it is given the end of its input."""
    procs = CGROUP_ROOT / path[1:] / "cgroup.procs"
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'echo $$ > "$0" && exec cat -', procs],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/usr/lib",
    )
    eventually_sync(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "cat\n")
    return process
