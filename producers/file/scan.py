"""Comparing whole folders with the saved state, a little at a time."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from producers.base.clock import Clock
from producers.file.changes import Change, Changes, relative
from producers.file.disk import Disk
from producers.file.errors import FolderUnreachableError
from producers.file.rules import Rules
from producers.file.settle import Settler
from producers.file.state import State

ENTRIES_PER_STEP: Final = 128


class Scanner:
    """Makes scans: generators that report differences and yield every now and then.

    A scan never says that a file is gone without having looked for it, so that what happens while
    it runs does not mislead it. Its events carry the time at which it saw them. What changed only
    just now is left to settle.
    """

    def __init__(
        self,
        state: State,
        changes: Changes,
        rules: Rules,
        settler: Settler,
        clock: Clock,
        *,
        is_own: Callable[[bytes], bool],
        quiet_us: int,
    ) -> None:
        self._is_own = is_own
        self._quiet_us = quiet_us
        self._state = state
        self._changes = changes
        self._rules = rules
        self._settler = settler
        self._clock = clock
        self.unreadable_folders = 0
        self.entries = 0
        """Entries of folders that scans have looked at."""

    def compare(self, disk: Disk, folder: bytes, *, found: bool = False) -> Iterator[None]:
        """Compare a folder and all beneath with the state, both ways."""
        waiting = [folder]
        while waiting:
            current = waiting.pop()
            yield from self._compare_folder(disk, current, waiting, found=found)
        yield from self._sweep_missing_folders(disk, folder)

    def _compare_folder(
        self, disk: Disk, folder: bytes, waiting: list[bytes], *, found: bool
    ) -> Iterator[None]:
        try:
            opened = disk.list(relative(folder, disk.root))
        except FolderUnreachableError:
            raise
        except OSError:
            self.unreadable_folders += 1
            return
        if opened is None:
            return
        known = 0
        try:
            with os.scandir(opened) as entries:
                for number, entry in enumerate(entries):
                    self.entries += 1
                    known += self._compare_entry(disk, folder, entry, waiting, found=found)
                    if number % ENTRIES_PER_STEP == ENTRIES_PER_STEP - 1:
                        yield
        except OSError:
            self.unreadable_folders += 1
            return
        finally:
            os.close(opened)
        yield
        if self._state.count_in(folder) > known:
            yield from self._sweep_missing_files(disk, folder)

    def _compare_entry(
        self,
        disk: Disk,
        folder: bytes,
        entry: "os.DirEntry[str]",
        waiting: list[bytes],
        *,
        found: bool,
    ) -> bool:
        """Whether the state knows this file."""
        path = folder + b"/" + os.fsencode(entry.name)
        name = relative(path, disk.root)
        if entry.is_dir(follow_symlinks=False):
            if self._rules.enters(name) and not self._is_own(path):
                waiting.append(path)
            return False
        if not self._rules.reports(name):
            return False
        row = self._state.get(path)
        try:
            there = entry.stat(follow_symlinks=False)
        except OSError:
            return False
        if row is not None and (
            row.inode == there.st_ino
            and row.size == there.st_size
            and row.mtime_ns == there.st_mtime_ns
            and row.ctime_ns == there.st_ctime_ns
        ):
            return True
        now_us = self._clock.now_us()
        if there.st_ctime_ns // 1000 > now_us - self._quiet_us:
            self._changes.touch(path, now_us, found=found)
        else:
            self._settle(disk, path, found=found)
        return row is not None

    def _sweep_missing_files(self, disk: Disk, folder: bytes) -> Iterator[None]:
        for number, path in enumerate(self._state.files_in(folder)):
            try:
                there = disk.stat(relative(path, disk.root))
            except FolderUnreachableError:
                raise
            except OSError:
                continue
            if there is None or not self._rules.reports(relative(path, disk.root)):
                self._changes.touch(path, self._clock.now_us())
            if number % ENTRIES_PER_STEP == 0:
                yield

    def _sweep_missing_folders(self, disk: Disk, folder: bytes) -> Iterator[None]:
        for number, each in enumerate(self._state.folders_at(folder)):
            name = relative(each, disk.root)
            try:
                missing = not disk.is_folder(name) or not self._rules.enters(name)
            except FolderUnreachableError:
                raise
            except OSError:
                continue
            if missing:
                yield from self.sweep(disk, each, beneath=False)
            elif number % ENTRIES_PER_STEP == 0:
                yield

    def sweep(self, disk: Disk, folder: bytes, *, beneath: bool = True) -> Iterator[None]:
        """Look at every file that the state knows in a folder that went."""
        for each in self._state.folders_at(folder) if beneath else (folder,):
            for number, path in enumerate(self._state.files_in(each)):
                self._settle(disk, path)
                if number % ENTRIES_PER_STEP == 0:
                    yield

    def sweep_vanished_root(self, disk: Disk) -> Iterator[None]:
        """Report every file of a root that does not exist as deleted."""
        for each in self._state.folders_at(disk.root):
            for number, path in enumerate(self._state.files_in(each)):
                self._settler.report_deleted(path, self._clock.now_us())
                if number % ENTRIES_PER_STEP == 0:
                    yield

    def repeat_ends(self, disk: Disk, paths: Iterable[bytes]) -> Iterator[None]:
        """Report again that files are gone, where they are."""
        for path in paths:
            if path.startswith(disk.root + b"/") and self._state.get(path) is None:
                try:
                    there = disk.stat(relative(path, disk.root))
                except FolderUnreachableError:
                    raise
                except OSError:
                    continue
                if there is None:
                    self._settler.report_deleted(path, self._clock.now_us())
                yield

    def _settle(self, disk: Disk, path: bytes, *, found: bool = False) -> None:
        if path in self._changes:
            return  # it settles by itself
        now_us = self._clock.now_us()
        change = Change(path, now_us, 0.0, 0.0, gone=True, found=found)
        self._settler.settle(change, disk, now_us)
