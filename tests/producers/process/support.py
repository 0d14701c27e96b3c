"""A sink that keeps what it is given, a load with known truth, and cgroups to tell loads apart."""

import secrets
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from producers.process.observer import ProcessObserver
from producers.process.proc_files import uses_cgroup_v1
from producers.process.settings import ProcessSettings
from stream.contract.event import Event
from stream.contract.kinds.process import ProcessEvent
from tests.support.polling import eventually_sync

NODE = "node-1"
CGROUP_ROOT = Path("/sys/fs/cgroup/memory" if uses_cgroup_v1() else "/sys/fs/cgroup")


@dataclass
class Loss:
    reason: str
    count: int | None
    stage: str
    first_ts: str | None
    last_ts: str | None


class Selected:
    """Selects among events; mixed into whatever has some."""

    events: list[ProcessEvent]

    def of(self, pid: int, action: str | None = None) -> list[ProcessEvent]:
        """This process's events, in order."""
        return [
            event
            for event in self.events
            if event.pid == pid and (action is None or event.action == action)
        ]

    def only(self, pid: int, action: str) -> ProcessEvent:
        found = self.of(pid, action)
        assert len(found) == 1, f"{len(found)} {action} events of {pid}: {found}"
        return found[0]


@dataclass
class ListSink(Selected):
    """Keeps everything. While ``gate`` is not set, it lets nobody return from ``emit_many``."""

    events: list[ProcessEvent] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    filtered_count: int = 0
    watermarks: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def emit(self, kind: str, event: Event) -> None:
        self.emit_many(kind, [event])

    def emit_many(self, kind: str, events: list[Event]) -> None:
        assert kind == "process"
        self.gate.wait(60)
        for event in events:
            assert isinstance(event, ProcessEvent)
            self.events.append(event)

    def filtered(self, kind: str, count: int = 1) -> None:
        self.filtered_count += count

    def lost(
        self,
        kind: str,
        reason: str,
        count: int | None,
        *,
        stage: str = "kernel",
        first_ts: str | None = None,
        last_ts: str | None = None,
        detail: str = "",
    ) -> None:
        assert kind == "process"
        self.losses.append(Loss(reason, count, stage, first_ts, last_ts))

    def watermark(self, kind: str, microseconds: int) -> None:
        self.watermarks.append(microseconds)

    @property
    def lost_count(self) -> int:
        return sum(loss.count or 0 for loss in self.losses)


@contextmanager
def observing(sink: ListSink | None = None, **settings: Any) -> Iterator[ListSink]:
    """Observe inside the block by BPF; behind it, the sink holds all that happened inside."""
    sink = sink or ListSink()
    observer = ProcessObserver(NODE, ProcessSettings(fallback=False, **settings))
    observer.start(sink)
    try:
        assert observer.ready() is None
        assert observer.degraded() == []
        yield sink
    finally:
        sink.gate.set()
        observer.stop()
    assert not [loss for loss in sink.losses if loss.reason == "undecodable"]


class Watched(Selected):
    """What a shared observer saw since a moment, in one cgroup and below it, or everywhere."""

    def __init__(self, sink: ListSink, path: str) -> None:
        self._sink = sink
        self._path = path
        self._first_event = len(sink.events)
        self._first_loss = len(sink.losses)
        self._all: list[ProcessEvent] | None = None

    @property
    def events(self) -> list[ProcessEvent]:  # type: ignore[override]
        if self._all is not None:
            return self._all
        return [
            event
            for event in self._sink.events[self._first_event :]
            if event.cgroup.startswith(self._path)
        ]

    @property
    def losses(self) -> list[Loss]:
        return self._sink.losses[self._first_loss :]

    def complete(self) -> None:
        """Wait until everything has come that has happened by now."""
        last = subprocess.Popen(["/bin/true"])
        last.wait()
        seen = self._first_event

        def arrived() -> bool:
            nonlocal seen
            fresh = self._sink.events[seen:]
            seen += len(fresh)
            return any(event.pid == last.pid and event.action == "exit" for event in fresh)

        eventually_sync(arrived, deadline=30)
        self._all = self.events


class Watcher:
    """One observer for many tests; each looks at what is its own. Starting one takes a while."""

    def __init__(self) -> None:
        self._sink = ListSink()
        self._observer = ProcessObserver(NODE, ProcessSettings(fallback=False))
        self._observer.start(self._sink)

    @contextmanager
    def __call__(self, path: str = "") -> Iterator[Watched]:
        """Behind the block, what was watched is complete."""
        watched = Watched(self._sink, path)
        yield watched
        watched.complete()
        assert self._observer.ready() is None
        assert watched.losses == []

    def stop(self) -> None:
        self._observer.stop()


@contextmanager
def cgroup(name: str = "", root: Path = CGROUP_ROOT) -> Iterator[str]:
    """A cgroup of its own; its path from the hierarchy's root."""
    path = f"/{name or 'tenwatch-test-' + secrets.token_hex(6)}"
    folder = root / path[1:]
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True)
    try:
        yield path
    finally:
        for each in made:
            eventually_sync(partial(_removed, each))


@contextmanager
def pinned_in(folder: Path) -> Iterator[Path]:
    """A place for pins, in a BPF file system of its own."""
    mount = folder / "bpf"
    mount.mkdir()
    subprocess.run(["mount", "-t", "bpf", "none", mount], check=True)
    try:
        yield mount / "tenwatch"
    finally:
        # Without the mount nothing holds the program, so that it goes as well.
        subprocess.run(["umount", mount], check=True)


def _removed(folder: Path) -> bool:
    """A cgroup stays busy for a moment after its last process was waited for."""
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


def run_in(
    path: str, *argv: str | Path, cwd: Path | None = None, root: Path = CGROUP_ROOT
) -> subprocess.CompletedProcess[str]:
    """Run a program in a cgroup and wait for it. Its shell's exec is still outside."""
    join = 'echo $$ > "$0" && exec "$@"'
    procs = root / path[1:] / "cgroup.procs"
    return subprocess.run(
        ["/bin/sh", "-c", join, procs, *argv], cwd=cwd, text=True, capture_output=True, timeout=120
    )


@dataclass(frozen=True)
class Ended:
    """What the storm program knows of a child: how wait(2) said that it ended."""

    label: str
    pid: int
    status: int

    @property
    def exit_code(self) -> int | None:
        return None if self.status & 0x7F else self.status >> 8

    @property
    def signal(self) -> int | None:
        return self.status & 0x7F or None

    @property
    def core_dumped(self) -> bool:
        return bool(self.status & 0x80)


def truth(result: subprocess.CompletedProcess[str]) -> list[Ended]:
    """What the storm program printed."""
    assert result.returncode == 0, result.stderr
    lines = (line.split() for line in result.stdout.splitlines())
    return [Ended(label, int(pid), int(status)) for label, pid, status in lines]
