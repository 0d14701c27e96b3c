"""The hostpath producer: scans its roots now and then, in a thread of its own."""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Final

from producers.base.clock import Clock
from producers.base.observer import EventSink
from producers.hostpath.errors import RootError
from producers.hostpath.inventory import Inventory
from producers.hostpath.scan import Scan
from producers.hostpath.settings import HostPathSettings

_log = logging.getLogger(__name__)

KIND: Final = "hostpath"
_PAUSE_SECONDS: Final = 0.001
"""Between the steps of a scan, so that a large one leaves the processor to others."""
_PART_SECONDS: Final = 0.05
"""Between the parts of a listing, so that they do not pile up on their way out."""
_WATERMARK_SECONDS: Final = 0.5


@dataclass(slots=True)
class _Root:
    path: bytes
    listed_at: float | None = None
    """When it was last listed, on the monotonic clock."""
    missing: bool = False
    failure: str | None = None


class HostPathObserver:
    """Emits ``hostpath`` events: what appears, changes, vanishes, and then the whole listing.

    The first scan of a root that was never seen tells of it by a listing alone. Times are those at
    which an entry was looked at. Raises :class:`~producers.hostpath.errors.RootError` for roots
    that make no sense; one that is missing or can't be read is reported and tried again.
    """

    kinds: tuple[str, ...] = (KIND,)

    def __init__(self, settings: HostPathSettings, data_folder: Path) -> None:
        """``data_folder`` keeps the inventory between scans and between lives."""
        for each in settings.roots:
            if not Path(each).is_absolute():
                raise RootError(f"hostpath.roots: {each!r} is not an absolute path")
        self._settings = settings
        self._data_folder = data_folder
        paths = dict.fromkeys(os.path.normpath(os.fsencode(each)) for each in settings.roots)
        self._roots = [_Root(path) for path in paths]
        self._clock = Clock()
        self._stopping = Signal()
        self._thread: Thread | None = None
        self._failure: str | None = None
        self._inventory_failure: str | None = None
        self._unfinished = False
        self._scans = 0
        self._scan_seconds = 0.0
        self._unreadable = 0
        self._truncated = 0

    def start(self, sink: EventSink) -> None:
        """Open the inventory and begin to scan; raises InventoryError when it can't be made."""
        self._sink = sink
        self._inventory = Inventory(self._data_folder / "hostpath.sqlite3")
        self._thread = Thread(target=self._run, name="hostpath scans", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Break off a scan that is under way; what it reported is remembered."""
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()

    def ready(self) -> str | None:
        """None when every root has been looked at and the last look succeeded."""
        if self._thread is None:
            return "it has not been started"
        if self._failure:
            return self._failure
        if not self._scans:
            return "the first scan has not ended yet"
        return next((root.failure for root in self._roots if root.failure), None)

    def degraded(self) -> list[str]:
        """Roots that can't be looked at, and limits that were reached."""
        found = [root.failure for root in self._roots if root.failure]
        if self._inventory_failure:
            found.append(self._inventory_failure)
        if self._truncated:
            found.append(
                f"{self._truncated} roots hold more than hostpath.entry_limit "
                f"({self._settings.entry_limit}) entries; the rest is left out"
            )
        if self._unreadable:
            found.append(f"{self._unreadable} folders in hostpath.roots may not be read")
        return found

    def metrics(self) -> dict[str, float]:
        """Numbers of its own, by Prometheus name."""
        return {
            "hostpath_scans_total": self._scans,
            "hostpath_scan_seconds": self._scan_seconds,
            "hostpath_roots_missing": sum(root.missing for root in self._roots),
            "hostpath_unreadable_folders": self._unreadable,
        }

    # --- the scanning thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._stopping.is_set():
                if time.monotonic() >= due:
                    due = time.monotonic() + self._settings.interval_seconds
                    self._scan_all()
                self._promise()
                self._stopping.wait(max(0.0, min(_WATERMARK_SECONDS, due - time.monotonic())))
            self._promise()
        except Exception as error:
            _log.exception("the hostpath producer stopped observing")
            self._failure = f"it stopped observing: {error}"
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._inventory.close(commit=self._failure is None)

    def _scan_all(self) -> None:
        # What the last scan wrote lasts only now that what it reported is surely in the spool.
        with self._surviving_a_full_disk():
            self._inventory.commit()
            self._inventory_failure = None
        begun = time.monotonic()
        unreadable = truncated = 0
        for root in self._roots:
            if self._stopping.is_set():
                return
            with self._surviving_a_full_disk():
                scan = Scan(
                    self._inventory,
                    root.path,
                    self._clock,
                    depth_limit=self._settings.depth_limit,
                    entry_limit=self._settings.entry_limit,
                )
                try:
                    self._scan(root, scan)
                finally:
                    self._flush(scan)
                unreadable += scan.unreadable
                truncated += scan.truncated
        self._unreadable, self._truncated = unreadable, truncated
        self._scan_seconds = time.monotonic() - begun
        self._scans += 1

    @contextlib.contextmanager
    def _surviving_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._inventory.recover()
            self._inventory_failure = (
                f"the inventory in {self._data_folder} can't be written ({error}); changes may be "
                "reported again. Free space there"
            )

    def _scan(self, root: _Root, scan: Scan) -> None:
        was_missing, root.missing = root.missing, False
        try:
            finished = self._step_through(scan, scan.compare())
        except (FileNotFoundError, NotADirectoryError):
            self._step_through(scan, scan.vanish())
            root.missing = True
            root.failure = f"{os.fsdecode(root.path)} does not exist; it is looked for again"
            if not was_missing or self._heartbeat_is_due(root):
                root.listed_at = time.monotonic()
                self._sink.emit(KIND, scan.missing())
            return
        except OSError as error:
            root.failure = f"{os.fsdecode(root.path)} can't be looked at: {error.strerror}"
            return
        root.failure = None
        if finished and (scan.changes or was_missing or self._heartbeat_is_due(root)):
            self._list(root, scan)

    def _heartbeat_is_due(self, root: _Root) -> bool:
        now = time.monotonic()
        return root.listed_at is None or now - root.listed_at >= self._settings.heartbeat_seconds

    def _step_through(self, scan: Scan, steps: Iterator[None]) -> bool:
        """Whether it got to the end before it had to stop."""
        for _ in steps:
            self._flush(scan)
            self._promise()
            if self._stopping.wait(_PAUSE_SECONDS):
                return False
        self._flush(scan)
        return True

    def _list(self, root: _Root, scan: Scan) -> None:
        root.listed_at = time.monotonic()
        for part in scan.listing():
            self._sink.emit(KIND, part)
            if part.part < part.parts - 1:
                time.sleep(_PART_SECONDS)

    def _flush(self, scan: Scan) -> None:
        if scan.events:
            self._sink.emit_many(KIND, scan.events)
            scan.events = []

    def _promise(self) -> None:
        """What follows is stamped later; called only when everything was handed over."""
        self._sink.watermark(KIND, self._clock.now_us())
