"""A file observer on real folders, and what it emitted."""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Signal
from threading import Lock
from typing import Any
from uuid import uuid4

import pytest

from producers.base.path_text import path_bytes
from producers.file import inotify_emitter
from producers.file.disk import content_hash
from producers.file.observer import FileObserver
from producers.file.settings import FileSettings
from stream.contract.event import Event
from stream.contract.kinds.file import FileEvent
from stream.contract.kinds.snapshot import SnapshotEvent
from stream.contract.timestamps import parse_timestamp

MARKER = ".marker"
FAST = {"quiet_ms": 40, "maximum_delay_ms": 400, "root_check_seconds": 0.05}


@dataclass
class Loss:
    kind: str
    reason: str
    count: int | None
    first_ts: str | None
    last_ts: str | None


@dataclass
class Recorder:
    """An event sink that keeps everything, and checks what every sink may rely on."""

    files: list[FileEvent] = field(default_factory=list)
    snapshots: list[SnapshotEvent] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    filtered_count: int = 0
    markers: set[str] = field(default_factory=set)
    watermarks: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    open: Signal = field(default_factory=Signal)
    """While it is clear, whoever emits waits, as for a full queue with the policy ``block``."""

    def __post_init__(self) -> None:
        self.open.set()

    def emit(self, kind: str, event: Event) -> None:
        self.emit_many(kind, [event])

    def emit_many(self, kind: str, events: list[Event]) -> None:
        self.open.wait()
        with self.lock:
            for event in events:
                promised = self.watermarks.get(kind, 0)
                assert parse_timestamp(event.ts) >= promised, "an event behind the watermark"
                if isinstance(event, FileEvent):
                    assert kind == "file"
                    if MARKER in event.path:
                        self.markers.add(event.path)
                        continue
                    self.files.append(event)
                else:
                    assert kind == "snapshot" and isinstance(event, SnapshotEvent)
                    self.snapshots.append(event)

    def filtered(self, kind: str, count: int = 1) -> None:
        assert count > 0
        with self.lock:
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
        with self.lock:
            self.losses.append(Loss(kind, reason, count, first_ts, last_ts))

    def watermark(self, kind: str, microseconds: int) -> None:
        with self.lock:
            assert microseconds >= self.watermarks.get(kind, 0), "a watermark went back"
            self.watermarks[kind] = microseconds

    def of(self, path: Path | bytes) -> list[FileEvent]:
        """The events of one path, in order."""
        wanted = os.fsencode(path)
        with self.lock:
            return [each for each in self.files if path_bytes(each.path) == wanted]

    def actions(self, path: Path | bytes) -> list[str]:
        return [each.action for each in self.of(path)]

    def counts(self) -> Counter[str]:
        with self.lock:
            return Counter(each.action for each in self.files)

    def final_state(self) -> dict[bytes, tuple[int | None, str]]:
        """Size and hash of every file, as someone who reads only the events believes them."""
        state: dict[bytes, tuple[int | None, str]] = {}
        with self.lock:
            for each in self.files:
                if each.action == "moved":
                    state.pop(path_bytes(each.old_path), None)
                if each.action == "deleted":
                    state.pop(path_bytes(each.path), None)
                else:
                    state[path_bytes(each.path)] = (each.size, each.hash)
        return state


def on_disk(root: Path, limit: int = 64 * 1024) -> dict[bytes, tuple[int | None, str]]:
    """The same, as the disk has it."""
    state: dict[bytes, tuple[int | None, str]] = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            if name.startswith(MARKER.encode()):
                continue
            path = Path(os.fsdecode(folder + b"/" + name))
            size = path.lstat().st_size
            if path.is_symlink() or size > limit:
                state[os.fsencode(path)] = (size, "")
            else:
                text = f"blake2b:{content_hash(path.read_bytes()).hex()}"
                state[os.fsencode(path)] = (size, text)
    return state


@dataclass
class Watched:
    """A running observer and what it said."""

    observer: FileObserver
    sink: Recorder
    root: Path

    def until(self, condition: Callable[[], Any], seconds: float = 15.0) -> None:
        """Wait for something to become true; fail with what was seen when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                seen = [(each.action, each.path, each.old_path) for each in self.sink.files[-20:]]
                raise AssertionError(f"not seen within {seconds} s; last events: {seen}")
            time.sleep(0.01)

    def until_quiet(self, seconds: float = 30.0) -> None:
        """Wait until all that happened before this call has been reported."""
        marker = self.root / f"{MARKER}{uuid4().hex}"
        marker.touch()
        self.until(lambda: str(marker) in self.sink.markers, seconds)
        for _ in range(2):  # what was in the hands of the observer at the first is told by now
            now = time.time_ns() // 1000
            self.until(lambda: self._rests(now), seconds)  # noqa: B023 - called at once

    def _rests(self, since: int) -> bool:
        return (
            self.sink.watermarks.get("file", 0) > since
            and not self.observer.is_scanning
            and not self.observer.metrics()["file_pending_paths"]
        )


Start = Callable[..., Watched]


@pytest.fixture(params=["fanotify", "inotify"])
def method(request: pytest.FixtureRequest) -> str:
    """Each test runs with both ways of asking the kernel."""
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def memory_root() -> Iterator[Path]:
    """A folder on tmpfs, where many files are made fast."""
    folder = Path(tempfile.mkdtemp(prefix="tenwatch-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@contextmanager
def small_queues(method: str) -> Iterator[None]:
    """Queues of the kernel, and ours behind it, that overflow soon. They get their size when an
    observer starts, so that the setting of the whole machine is put right at once."""
    setting = Path(f"/proc/sys/fs/{method}/max_queued_events")
    before, ours = setting.read_text(), inotify_emitter.QUEUED_EVENTS
    setting.write_text("64")
    inotify_emitter.QUEUED_EVENTS = 64
    try:
        yield
    finally:
        setting.write_text(before)
        inotify_emitter.QUEUED_EVENTS = ours


@pytest.fixture
def start(tmp_path: Path, root: Path, method: str) -> Iterator[Start]:
    """Start an observer of ``root``; a second one of the same test uses the same saved state."""
    running: list[Watched] = []

    def start_observer(
        data_folder: Path | None = None,
        own_folders: Sequence[Path] = (),
        small_kernel_queue: bool = False,
        **settings: Any,
    ) -> Watched:
        chosen = {"roots": (str(root),), "method": method, **FAST, **settings}
        watched_root = Path(chosen["roots"][0])
        observer = FileObserver(
            FileSettings(**chosen), data_folder or tmp_path / "data", own_folders=own_folders
        )
        watched = Watched(observer, Recorder(), watched_root)
        with small_queues(method) if small_kernel_queue else nullcontext():
            observer.start(watched.sink)
        running.append(watched)
        # What a test makes afterwards is made, not found.
        watched.until(lambda: not observer.is_scanning, 60)
        return watched

    yield start_observer
    for each in running:
        each.sink.open.set()
        each.observer.stop()


@pytest.fixture(name="on_disk")
def _on_disk() -> Callable[..., dict[bytes, tuple[int | None, str]]]:
    """What the disk holds, in the form of :meth:`Recorder.final_state`."""
    return on_disk
