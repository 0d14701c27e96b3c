"""Without BPF it still observes, marks what it reports, and says what is missing and why."""

import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from producers.process.assembly import EventAssembler
from producers.process.boot_clock import BootClock
from producers.process.errors import AttachError
from producers.process.identity import ProcessNames
from producers.process.observer import ProcessObserver
from producers.process.proc_connector import ConnectorSource
from producers.process.proc_polling import PollingSource
from producers.process.process_table import ProcessTable
from producers.process.redaction import RedactionSettings, Redactor
from producers.process.settings import ProcessSettings
from producers.process.source import ProcessSource
from tests.producers.process.support import NODE, ListSink, cgroup, run_in, truth
from tests.support.polling import eventually_sync


@contextmanager
def without_bpf(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ProcessObserver, ListSink]]:
    def refuse(_: ProcessSettings) -> None:
        raise AttachError("BPF is not permitted: this process lacks CAP_BPF")

    monkeypatch.setattr("producers.process.observer.attach", refuse)
    observer, sink = ProcessObserver(NODE, ProcessSettings()), ListSink()
    observer.start(sink)
    try:
        yield observer, sink
    finally:
        observer.stop()


def test_the_process_connector_sees_every_exec_and_exit(
    storm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cgroup() as path, without_bpf(monkeypatch) as (observer, sink):
        assert observer.ready() is None
        lacking, how = observer.degraded()
        assert "CAP_BPF" in lacking
        assert "process connector" in how
        children = truth(run_in(path, storm, "codes"))
    assert sink.losses == []
    for child in children:
        assert len(sink.of(child.pid, "exec")) == 1
        event = sink.only(child.pid, "exit")
        assert (event.exit_code, event.signal) == (child.exit_code, None)
        assert event.exec_id == sink.of(child.pid)[0].exec_id
    assert all(event.degraded for event in sink.events)


@pytest.mark.parametrize(
    ("scenario", "code"),
    [("thread-exec", 7), ("leader-exit", 9), ("leader-return", 0), ("re-exec", 8)],
)
def test_the_connector_counts_threads(
    storm: Path, scenario: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cgroup() as path, without_bpf(monkeypatch) as (_, sink):
        children = truth(run_in(path, storm, scenario))
    for child in children:
        assert sink.only(child.pid, "exit").exit_code == code


def test_the_connector_tells_signals_and_forked_children(
    storm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cgroup() as path, without_bpf(monkeypatch) as (_, sink):
        children = truth(run_in(path, storm, "signals", cwd=tmp_path))
        (forked,) = truth(run_in(path, storm, "fork-only"))
    for child in children:
        event = sink.only(child.pid, "exit")
        assert (event.exit_code, event.signal) == (None, child.signal)
        assert event.core_dumped == child.core_dumped
    (event,) = sink.of(forked.pid)
    assert (event.exit_code, event.forked, event.argv) == (6, True, [])


def test_the_connector_reads_the_rest_of_longer_programs_from_proc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with without_bpf(monkeypatch) as (_, sink):
        child = subprocess.Popen(
            ["/bin/sh", "-c", "read line; exit 5", "--password=hunter2"],
            cwd="/usr/lib",
            stdin=subprocess.PIPE,
        )
        eventually_sync(lambda: sink.of(child.pid, "exec"))
        expected_id = ProcessNames(NODE).of_living(child.pid)
        child.communicate(b"\n")
    for event in (sink.of(child.pid, "exec")[-1], sink.only(child.pid, "exit")):
        assert event.argv == ["/bin/sh", "-c", "read line; exit 5", "--password=***"]
        assert event.cwd == "/usr/lib"
        assert event.exe == os.path.realpath("/bin/sh")
        assert event.exec_id == expected_id
        assert event.hostname == os.uname().nodename
        assert event.ppid == os.getpid()
        assert event.parent_exec_id == ProcessNames(NODE).of_living(os.getpid())


def test_the_connector_reports_an_overflow_and_goes_on(storm: Path) -> None:
    sink = ListSink()
    source = source_with(lambda *parts: ConnectorSource(*parts), sink)
    assert isinstance(source, ConnectorSource)
    # As small as the kernel allows, so that a few hundred messages overflow it.
    source.use_receive_buffer(1)
    with cgroup() as path:
        run_in(path, storm, "flood", "300", "1", "mark")
        source.poll(0.1)
        source.use_receive_buffer(1 << 20)
        (child,) = truth(run_in(path, storm, "fork-only"))
        source.poll(0.1)
        source.finish()
    assert {(loss.reason, loss.count) for loss in sink.losses} == {("netlink_overflow", None)}
    assert sink.only(child.pid, "exit").exit_code == 6


def test_polling_sees_what_lives_longer_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = ListSink()
    before = subprocess.Popen(["/bin/sleep", "100"])
    source = source_with(lambda _, *parts: PollingSource(*parts), sink)
    after = subprocess.Popen(["/bin/sleep", "101"])
    eventually_sync(lambda: source.poll(0.1) or sink.of(after.pid, "exec"))
    for child in (before, after):
        child.kill()
        child.wait()
    source.finish()
    assert [(event.action, event.argv) for event in sink.of(before.pid)] == [
        ("exit", ["/bin/sleep", "100"])
    ]
    assert [event.action for event in sink.of(after.pid)] == ["exec", "exit"]
    event = sink.only(after.pid, "exit")
    assert (event.exit_code, event.signal, event.degraded) == (None, None, True)
    assert Counter(loss.reason for loss in sink.losses) == {"polling": 1}
    assert "every second" in source.degraded()[0]


def source_with(build: Callable[..., ProcessSource], sink: ListSink) -> ProcessSource:
    clock, names = BootClock(), ProcessNames(NODE)
    assembler = EventAssembler(
        names, Redactor(RedactionSettings()), ProcessTable(1000, 1 << 20), clock
    )
    return build(names, sink, assembler, clock)
