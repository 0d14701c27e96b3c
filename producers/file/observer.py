"""The file producer: kernel events in, settled changes out."""

import os
from collections.abc import Sequence
from pathlib import Path

from producers.base.clock import Clock
from producers.base.observer import EventSink
from producers.file.changes import Changes
from producers.file.errors import RootError
from producers.file.roots import Root
from producers.file.rules import Rules
from producers.file.scan import Scanner
from producers.file.settings import FileSettings
from producers.file.settle import Settler
from producers.file.settling import KINDS, Settling
from producers.file.state_file import open_state
from stream.contract.timestamps import format_timestamp


class FileObserver:
    """Watches folders and emits ``file`` and ``snapshot`` events.

    Neither fanotify nor inotify stamps its events, so the time of an event is when the last event
    of the kernel that it settles was read; a difference that a scan found carries the time of the
    scan. The watermark stays below the time of everything that has not settled yet.

    Raises :class:`~producers.file.errors.RootError` for folders that can't be watched together.
    """

    kinds: tuple[str, ...] = KINDS

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
        self._settling: Settling | None = None

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
        settings = self._settings
        state, history = open_state(
            self._data_folder / "files.sqlite3",
            self._clock.now_us(),
            settings.repeat_window_ms * 1000,
        )
        if history.damage:
            now = format_timestamp(self._clock.now_us())
            sink.lost(
                "file", "state_damaged", None, stage="observer", last_ts=now, detail=history.damage
            )
        settler = Settler(state, self._changes, self._rules, settings.tracked_limit)
        scanner = Scanner(
            state,
            self._changes,
            self._rules,
            settler,
            self._clock,
            is_own=self._is_own,
            quiet_us=settings.quiet_ms * 1000,
        )
        self._state, self._settler, self._scanner = state, settler, scanner
        self._settling = Settling(
            settings,
            sink,
            roots=self._roots,
            changes=self._changes,
            state=state,
            settler=settler,
            scanner=scanner,
            clock=self._clock,
        )
        self._settling.prepare(history.doubtful_ends)
        self._settling.start()

    def stop(self) -> None:
        """Settle everything that happened so far without waiting for quiet, and save the state."""
        if self._settling is not None:
            self._settling.finish()

    @property
    def is_scanning(self) -> bool:
        """Whether a comparison of disk and state is under way."""
        return self._settling is not None and self._settling.is_scanning

    def ready(self) -> str | None:
        """None when every folder is watched."""
        if self._settling is None:
            return "it has not been started"
        failures = [self._settling.failure, *(root.failure for root in self._roots)]
        return next((each for each in failures if each), None)

    def degraded(self) -> list[str]:
        """What does not work fully."""
        found = [sentence for root in self._roots for sentence in root.degraded()]
        if self._settling is not None and self._settling.state_failure:
            found.append(self._settling.state_failure)
        if self._settling is not None and self._settler.untracked:
            found.append(
                f"more files than file.tracked_limit ({self._settings.tracked_limit}); what "
                "happens to the others while this producer is down goes unseen"
            )
        return found

    def metrics(self) -> dict[str, float]:
        """Numbers of its own, by Prometheus name."""
        found: dict[str, float] = {
            "file_pending_paths": len(self._changes),
            "file_roots_watched": sum(root.is_present for root in self._roots),
            "file_outside_events_total": sum(root.outside() for root in self._roots),
        }
        if self._settling is not None:
            found |= {
                "file_tracked_files": self._state.count,
                "file_scans_total": self._settling.scans,
                "file_scanned_entries_total": self._scanner.entries,
                "file_kernel_overflows_total": self._settling.overflows,
                "file_state_errors_total": self._settling.errors,
                "file_unreadable_total": self._settler.unreadable,
                "file_unreadable_folders_total": self._scanner.unreadable_folders,
                "file_too_large_total": self._settler.too_large,
                "file_unsteady_reads_total": self._settler.unsteady,
                "file_untracked_total": self._settler.untracked,
            }
        return found
