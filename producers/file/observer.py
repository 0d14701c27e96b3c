"""The file producer: kernel events in, settled changes out."""

import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

from producers.base.observer import EventSink
from producers.file.changes import Change, Changes, FolderChange
from producers.file.clock import Clock
from producers.file.errors import FolderUnreachableError, RootError
from producers.file.roots import Root, RootNews
from producers.file.rules import Rules
from producers.file.scan import Scanner
from producers.file.settings import FileSettings
from producers.file.settle import Settler
from producers.file.state_file import open_state
from stream.contract.kinds.file import FileEvent
from stream.contract.timestamps import format_timestamp

_log = logging.getLogger(__name__)

_CHANGES_PER_PASS: Final = 256
_SCAN_SECONDS_PER_PASS: Final = 0.03
_SNAPSHOT_BYTES_PER_PASS: Final = 4 * 1024 * 1024
_COMMIT_SECONDS: Final = 1.0
_TICK_SECONDS: Final = 0.25
_FINISH_SECONDS: Final = 10.0
"""What has not settled by then is found by the scan of the next start."""
_LOSS_SECONDS: Final = 1.0
"""Overflows within this time are one loss."""


@dataclass(slots=True)
class _Scan:
    root: Root
    steps: Iterator[None]
    whole: bool = False
    """It compares the whole root."""


class FileObserver:
    """Watches folders and emits ``file`` and ``snapshot`` events.

    The time of an event is when the last event of the kernel that it settles was read; a
    difference that a scan found carries the time of the scan. The watermark stays below the time
    of everything that has not settled yet.

    Raises :class:`~producers.file.errors.RootError` for folders that can't be watched together.
    """

    kinds: tuple[str, ...] = ("file", "snapshot")

    def __init__(
        self,
        settings: FileSettings,
        data_folder: Path,
        *,
        own_folders: Sequence[Path] = (),
    ) -> None:
        """``data_folder`` keeps the state. Nothing beneath it and ``own_folders`` is reported."""
        self._settings = settings
        self._data_folder = data_folder
        own = {os.fsencode(os.path.realpath(each)) for each in (data_folder, *own_folders)}
        self._own = tuple(each.rstrip(b"/") for each in own)
        self._clock = Clock()
        self._rules = Rules(settings.include, settings.exclude, settings.snapshot_include)
        self._changes = Changes(
            self._rules,
            is_own=self._is_own,
            quiet=settings.quiet_ms / 1000,
            maximum_delay=settings.maximum_delay_ms / 1000,
            limit=settings.pending_limit,
        )
        self._roots = [
            Root(
                path,
                settings,
                rules=self._rules,
                changes=self._changes,
                clock=self._clock,
                is_own=self._is_own,
            )
            for path in self._root_paths()
        ]
        self._scans: deque[_Scan] = deque()
        self._stopping = Event()
        self._promised_us = 0
        self._failure: str | None = "it has not been started"
        self._state_failure: str | None = None
        self._numbers: dict[str, float] = {
            "file_scans_total": 0,
            "file_kernel_overflows_total": 0,
            "file_errors_total": 0,
        }

    def _root_paths(self) -> list[bytes]:
        if not self._settings.roots:
            raise RootError("no folder to watch is configured; name some in file.roots")
        for each in self._settings.roots:
            if not Path(each).is_absolute():
                raise RootError(f"file.roots: {each!r} is not an absolute path")
        paths = sorted({os.fsencode(os.path.realpath(each)) for each in self._settings.roots})
        for path in paths:
            if path == b"/":
                raise RootError("file.roots: / can't be watched whole; name the folders in it")
            if self._is_own(path):
                raise RootError(
                    f"file.roots: {os.fsdecode(path)} belongs to this program's own data, "
                    "whose every change would make another"
                )
        return [path for path in paths if not any(path.startswith(other + b"/") for other in paths)]

    def _is_own(self, path: bytes) -> bool:
        return any(path == own or path.startswith(own + b"/") for own in self._own)

    # --- the protocol of observers --------------------------------------------------------------

    def start(self, sink: EventSink) -> None:
        """Watch first, then compare with the saved state, so that nothing falls between."""
        self._sink = sink
        self._state, history = open_state(
            self._data_folder / "files.sqlite3",
            self._clock.now_us(),
            self._settings.repeat_window_ms * 1000,
        )
        for loss in history.losses:
            sink.lost(
                "file",
                loss.reason,
                None,
                stage="observer",
                first_ts=format_timestamp(loss.first_us) if loss.first_us else None,
                last_ts=format_timestamp(loss.last_us),
                detail=loss.detail,
            )
        self._settler = Settler(
            self._state, self._changes, self._rules, self._settings.tracked_limit
        )
        self._scanner = Scanner(
            self._state,
            self._changes,
            self._rules,
            self._settler,
            self._clock,
            is_own=self._is_own,
            quiet_us=self._settings.quiet_ms * 1000,
        )
        self._last_loss = 0.0
        self._committed = self._checked = self._rescanned = time.monotonic()
        for root in self._roots:
            steps = self._scanner.repeat_ends(root.disk, history.doubtful_ends)
            self._scans.append(_Scan(root, steps))
        self._check_roots()
        self._failure = None
        self._thread = Thread(target=self._run, name="file settler", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Settle everything that happened so far without waiting for quiet, and save the state."""
        if self._failure == "it has not been started":
            return
        for root in self._roots:
            root.drain()
        self._stopping.set()
        self._changes.close()
        self._thread.join()

    def ready(self) -> str | None:
        """None when every folder is watched."""
        failures = [self._failure, *(root.failure for root in self._roots)]
        return next((each for each in failures if each), None)

    def degraded(self) -> list[str]:
        """What does not work fully."""
        found = [root.degraded for root in self._roots if root.degraded]
        for root in self._roots:
            if root.unwatched_folders:
                found.append(
                    f"{root.unwatched_folders} folders beneath {root.text} are not watched "
                    "(fs.inotify.max_user_watches reached, or not readable); their changes are "
                    f"found by a scan each {self._settings.rescan_seconds} s"
                )
            elif root.failure:
                found.append(root.failure)
        if self._state_failure:
            found.append(self._state_failure)
        if self._failure is None and self._settler.untracked:
            found.append(
                f"more files than file.tracked_limit ({self._settings.tracked_limit}); what "
                "happens to the others while this producer is down goes unseen"
            )
        return found

    def metrics(self) -> dict[str, float]:
        """Numbers of its own, by Prometheus name."""
        found = dict(self._numbers)
        found["file_pending_paths"] = len(self._changes)
        found["file_roots_watched"] = sum(root.is_present for root in self._roots)
        found["file_outside_events_total"] = sum(root.outside() for root in self._roots)
        if self._failure is None:
            found["file_tracked_files"] = self._state.count
            found["file_unreadable_total"] = self._settler.unreadable
            found["file_too_large_total"] = self._settler.too_large
            found["file_unsteady_reads_total"] = self._settler.unsteady
            found["file_untracked_total"] = self._settler.untracked
            found["file_unreadable_folders_total"] = self._scanner.unreadable_folders
            found["file_scanned_entries_total"] = self._scanner.entries
        return found

    @property
    def is_scanning(self) -> bool:
        """Whether a comparison with the disk is under way."""
        return bool(self._scans)

    # --- the settling thread --------------------------------------------------------------------

    def _run(self) -> None:
        self._ignored = 0
        try:
            while not self._stopping.is_set():
                self._pass()
                self._changes.wait(0.0 if self._scans else _TICK_SECONDS)
            self._finish()
        except Exception as error:
            _log.exception("the file producer stopped observing")
            self._failure = f"it stopped observing: {error}"

    def _pass(self) -> None:
        for folder in self._changes.take_folders():
            self._apply(folder)
        for change in self._changes.take_due(_CHANGES_PER_PASS):
            self._settle(change)
            if self._settler.content_bytes > _SNAPSHOT_BYTES_PER_PASS:
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
        self._numbers["file_kernel_overflows_total"] += 1
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

    # --- scans ----------------------------------------------------------------------------------

    def _cancel_scans(self, root: Root) -> None:
        for scan in [each for each in self._scans if each.root is root]:
            self._scans.remove(scan)

    def _scan(self, root: Root) -> None:
        """Compare a whole root; takes the place of its scans that have not ended."""
        self._cancel_scans(root)
        self._numbers["file_scans_total"] += 1
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
        """Only after what it remembers was handed over."""
        self._committed = time.monotonic()
        now_us = self._clock.now_us()
        try:
            self._state.set_meta("alive_us", now_us)
            self._state.commit(now_us - 2 * self._settings.repeat_window_ms * 1000)
            self._state_failure = None
        except sqlite3.Error as error:
            self._state_failed(error)

    def _state_failed(self, error: sqlite3.Error) -> None:
        if self._state_failure is None:
            _log.error("the state of files can't be saved: %s", error)
        self._numbers["file_errors_total"] += 1
        self._state_failure = (
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
        for kind in self.kinds:
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
