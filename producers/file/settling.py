"""The thread that settles changes: it alone touches the state, and hands events to the sink."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Final

from producers.base.clock import Clock
from producers.base.observer import EventSink
from producers.file.changes import Change, Changes, FolderChange
from producers.file.errors import FolderUnreachableError
from producers.file.roots import Root, RootNews
from producers.file.scan import Scanner
from producers.file.settings import FileSettings
from producers.file.settle import Settler
from producers.file.state import State
from stream.contract.kinds.file import FileEvent
from stream.contract.timestamps import format_timestamp

_log = logging.getLogger(__name__)

KINDS: Final = ("file", "snapshot")
_CHANGES_PER_PASS: Final = 256
_SCAN_SECONDS_PER_PASS: Final = 0.03
_CONTENT_BYTES_PER_PASS: Final = 4 * 1024 * 1024
_COMMIT_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.1
_FINISH_SECONDS: Final = 6.0
"""What has not settled by then is found by the scan of the next start."""
_CALM_SECONDS: Final = 2.0
"""Without an error of the state, after which it counts as well again."""
_FAILURES: Final = 5
"""Passes in a row that may fail before it gives up."""
_PAUSE_SECONDS: Final = 0.5
"""After such a failure."""
_LOSS_SECONDS: Final = 1.0
"""Overflows within this time are one loss."""


@dataclass(slots=True)
class _Scan:
    root: Root
    steps: Iterator[None]
    whole: bool = False
    """It compares the whole root."""
    replaceable: bool = True
    """A comparison of the whole root does what it does, too."""


class Settling(Thread):
    """Applies what happened to folders, settles files, scans, looks at the roots, promises times.

    What it remembers is committed before what it reports is handed over: a crash in between makes
    a repetition (see :func:`~producers.file.state_file.open_state`), never a gap.
    """

    def __init__(
        self,
        settings: FileSettings,
        sink: EventSink,
        *,
        roots: Sequence[Root],
        changes: Changes,
        state: State,
        settler: Settler,
        scanner: Scanner,
        clock: Clock,
    ) -> None:
        super().__init__(name="file settling", daemon=True)
        self._settings = settings
        self._sink = sink
        self._roots = roots
        self._changes = changes
        self._state = state
        self._settler = settler
        self._scanner = scanner
        self._clock = clock
        self._scans: deque[_Scan] = deque()
        self._stopping = Event()
        self._looking_at_roots = Lock()
        self._draining = False
        self._promised_us = 0
        self._ignored = 0
        self._last_loss = 0.0
        self._state_failed_at = 0.0
        self._committed = self._forgotten = self._checked = self._rescanned = time.monotonic()
        self.failure: str | None = None
        """Why this thread ended, when nobody asked it to."""
        self.state_failure: str | None = None
        """Why the state can't be saved now."""
        self.scans = 0
        self.overflows = 0
        self.errors = 0

    @property
    def is_scanning(self) -> bool:
        """Whether a comparison with the disk is under way."""
        return bool(self._scans)

    def prepare(self, doubtful_ends: Iterable[bytes]) -> None:
        """Begin to watch; to be called once before the thread starts."""
        for root in self._roots:
            self._repeat_ends(root, doubtful_ends)
        self._check_roots()

    def _repeat_ends(self, root: Root, paths: Iterable[bytes]) -> None:
        steps = self._scanner.repeat_ends(root.disk, paths)
        self._scans.append(_Scan(root, steps, replaceable=False))

    def finish(self) -> None:
        """Read what the kernel still holds, settle all of it at once, save the state, and end."""
        with self._looking_at_roots:
            self._draining = True
        for root in self._roots:
            root.drain()
        self._stopping.set()
        self._changes.close()
        self.join()

    def run(self) -> None:
        """Until :meth:`finish`."""
        failures = 0
        try:
            while not self._stopping.is_set():
                try:
                    self._pass()
                    failures = 0
                except Exception as error:
                    failures += 1
                    if failures == _FAILURES:
                        raise
                    self._start_over(error)
                self._changes.wait(0.0 if self._scans else _TICK_SECONDS)
            self._finish()
        except Exception as error:
            _log.exception("the file producer stopped observing")
            self.failure = f"it stopped observing: {error}"

    def _start_over(self, error: Exception) -> None:
        """After an error that nobody foresaw: say so, and compare everything."""
        _log.exception("the file producer compares everything after an error")
        self.errors += 1
        self._state.recover(undo=True)
        self._settler.discard()
        doubtful = self._settings.repeat_window_ms * 1000
        ends = self._state.doubt_since(self._clock.now_us() - doubtful)
        self._sink.lost(
            "file",
            "internal_error",
            None,
            stage="observer",
            last_ts=format_timestamp(self._clock.now_us()),
            detail=f"{type(error).__name__}: {error}; a scan reports the difference",
        )
        self._scans.clear()
        for root in self._roots:
            if root.is_present:
                self._repeat_ends(root, ends)
                self._scan(root)
        self._stopping.wait(_PAUSE_SECONDS)

    def _pass(self) -> None:
        for folder in self._changes.take_folders():
            self._apply(folder)
        for change in self._changes.take_due(_CHANGES_PER_PASS):
            self._settle(change)
            if self._settler.content_bytes > _CONTENT_BYTES_PER_PASS:
                self._flush()
        self._scan_a_little()
        self._flush()
        now = time.monotonic()
        if now - self._checked >= self._settings.root_check_seconds:
            self._checked = now
            self._check_roots()
        if self._settings.rescan_seconds and (
            now - self._rescanned >= self._settings.rescan_seconds
        ):
            self._rescanned = now
            for root in self._roots:
                self._scan(root)
        if now - self._committed >= _COMMIT_SECONDS:
            self._commit()
        self._promise()

    def _settle(self, change: Change) -> None:
        root = next(
            (each for each in self._roots if change.path.startswith(each.path + b"/")), None
        )
        if root is None:
            return
        try:
            self._settler.settle(change, root.disk, self._clock.now_us())
        except FolderUnreachableError:
            # The look at the roots decides what this means; a scan follows when it is back.
            self._settler.filtered += change.events
        except sqlite3.Error as error:
            self._state_failed(error)

    def _apply(self, folder: FolderChange) -> None:
        root = next((each for each in self._roots if each.path == folder.root), None)
        if root is None:
            return
        if folder.kind == "overflowed":
            self._overflowed(folder, root)
        elif folder.path == root.path:
            self._check_roots()
            self._scan(root)
        elif folder.kind == "deleted":
            self._scans.append(_Scan(root, self._scanner.sweep(root.disk, folder.path)))
        else:
            if folder.kind == "moved":
                for _ in self._settler.move_folder(
                    folder.old_path, folder.path, folder.read_us, folder.pid
                ):
                    if len(self._settler.files) >= _CHANGES_PER_PASS:
                        self._flush()
            if folder.may_hold_files:
                self._scans.append(_Scan(root, self._scanner.compare(root.disk, folder.path)))

    def _overflowed(self, folder: FolderChange, root: Root) -> None:
        self.overflows += 1
        now = time.monotonic()
        if now - self._last_loss >= _LOSS_SECONDS:
            self._last_loss = now
            self._sink.lost(
                "file",
                "queue_overflow",
                None,
                first_ts=format_timestamp(self._promised_us) if self._promised_us else None,
                last_ts=format_timestamp(folder.read_us),
                detail=f"{root.method} queue of {root.text}; a scan reports the difference",
            )
        self._scan(root)

    def _check_roots(self) -> None:
        for root in self._roots:
            with self._looking_at_roots:
                if self._draining:
                    return
                news = root.check()
            if news is RootNews.READER_FAILED:
                self._sink.lost(
                    "file",
                    "reader_failed",
                    None,
                    last_ts=format_timestamp(self._clock.now_us()),
                    detail=f"{root.text}; a scan reports the difference",
                )
            if news is RootNews.VANISHED:
                self._cancel_scans(root)
                steps = self._scanner.sweep_vanished_root(root.disk)
                self._scans.append(_Scan(root, steps))
            elif news is not RootNews.NOTHING:
                self._scan(root)
            changed, root.changed_mounts = root.changed_mounts, []
            for folder in changed:
                self._scans.append(_Scan(root, self._scanner.compare(root.disk, folder)))

    # --- scans ----------------------------------------------------------------------------------

    def _cancel_scans(self, root: Root) -> None:
        for scan in [each for each in self._scans if each.root is root and each.replaceable]:
            self._scans.remove(scan)

    def _scan(self, root: Root) -> None:
        """Compare a whole root; takes the place of its scans that have not ended."""
        self._cancel_scans(root)
        self.scans += 1
        is_first = not self._state.is_known_root(root.path)
        steps = self._scanner.compare(root.disk, root.path, found=is_first)
        self._scans.append(_Scan(root, steps, whole=True))

    def _scan_a_little(self) -> None:
        deadline = time.monotonic() + _SCAN_SECONDS_PER_PASS
        while self._scans and len(self._changes) < self._settings.pending_limit // 2:
            scan = self._scans[0]
            try:
                for _ in scan.steps:
                    if time.monotonic() >= deadline:
                        return
            except FolderUnreachableError:
                pass  # the look at the roots decides what this means
            except sqlite3.Error as error:
                self._state_failed(error)
            else:
                if scan.whole:
                    self._state.set_known_root(scan.root.path)
                    self._state.drop_empty_folders()
            if self._scans and self._scans[0] is scan:
                self._scans.popleft()

    # --- what leaves ----------------------------------------------------------------------------

    def _flush(self) -> None:
        settler = self._settler
        if settler.files or settler.snapshots:
            self._commit()
        if settler.files:
            files = settler.files
            if not self._settings.report_found:
                files = [
                    each
                    for each in files
                    if not (isinstance(each, FileEvent) and each.action == "found")
                ]
            self._sink.emit_many("file", files)
            settler.files = []
        if settler.snapshots:
            self._sink.emit_many("snapshot", settler.snapshots)
            settler.snapshots = []
            settler.content_bytes = 0
        ignored = sum(root.ignored() for root in self._roots)
        filtered = settler.filtered + self._changes.take_filtered() + ignored - self._ignored
        self._ignored = ignored
        settler.filtered = 0
        if filtered:
            self._sink.filtered("file", filtered)
        for root in self._roots:
            root.disk.release()

    def _commit(self) -> None:
        now = self._committed = time.monotonic()
        now_us = self._clock.now_us()
        try:
            if now - self._forgotten >= _COMMIT_SECONDS:
                self._forgotten = now
                self._state.forget_ends(now_us - 2 * self._settings.repeat_window_ms * 1000)
            self._state.set_meta("alive_us", now_us)
            self._state.commit()
            if now - self._state_failed_at > _CALM_SECONDS:
                self.state_failure = None
        except sqlite3.Error as error:
            self._state_failed(error)

    def _state_failed(self, error: sqlite3.Error) -> None:
        if self.state_failure is None:
            _log.error("the state of files can't be saved: %s", error)
        self.errors += 1
        self._state_failed_at = time.monotonic()
        self.state_failure = (
            f"{self._state.path} can't be written ({error}); changes are reported, but may be "
            "reported again after a restart. Free space there"
        )
        self._state.recover()

    def _promise(self) -> None:
        """The clock is read first: whatever is read from the kernel later has a later time."""
        times = [self._clock.now_us()]
        times.extend(
            since for root in self._roots if (since := root.reading_since_us()) is not None
        )
        oldest = self._changes.oldest_us()
        if oldest is not None:
            times.append(oldest)
        self._promised_us = min(times)
        for kind in KINDS:
            self._sink.watermark(kind, self._promised_us)

    def _finish(self) -> None:
        for folder in self._changes.take_folders():
            self._apply(folder)
        deadline = time.monotonic() + _FINISH_SECONDS
        while time.monotonic() < deadline and (
            due := self._changes.take_due(_CHANGES_PER_PASS, everything=True)
        ):
            for change in due:
                change.retries += 1
                change.gone = True
                self._settle(change)
            self._flush()
        self._flush()
        self._promise()
        self._state.set_meta("is_clean", 1)
        self._commit()
        self._state.close()
