"""Which program ran under a pid at a time: a bounded table of one node, filled from the log.

File events are joined to it by the writer's pid, and processes to their parents. It is kept in
shards, so that a commit writes only what changed.
"""

from typing import Final

import msgspec
from msgspec import Struct

SHARDS: Final = 16
MAXIMUM_RECORDS: Final = 65_536
"""Program runs remembered per node; the ones that ended first go first."""
MAXIMUM_PER_PID: Final = 4
"""Runs remembered per pid: a process may exec several programs one after the other."""


class ProcessFacts(Struct, array_like=True, frozen=True, gc=False):
    """What many runs have in common."""

    pod_uid: str = ""
    container_id: str = ""
    course: str = ""
    division: str = ""
    student: str = ""
    class_name: str = ""


class ProcessRecord(Struct, array_like=True, gc=False):
    """One program run in one process. Times are those of the wire, which compare as text."""

    exec_id: str
    started: str
    facts: ProcessFacts
    purpose: str = ""
    build_id: str = ""
    ended: str = ""
    """Empty while it runs."""


_decoder = msgspec.msgpack.Decoder(dict[int, list[ProcessRecord]])
_encode = msgspec.msgpack.Encoder().encode


class ProcessTable:
    """Program runs of one node by pid."""

    def __init__(self) -> None:
        self.shards: tuple[dict[int, list[ProcessRecord]], ...] = tuple({} for _ in range(SHARDS))
        """Runs by pid, oldest first; a pid's shard is its remainder by :data:`SHARDS`."""
        self._ended: dict[str, list[int]] = {}
        """Pids of runs by the second in which they ended."""
        self._count = 0
        self.dirty: set[int] = set()
        """Shards that changed since they were last dumped."""

    def __len__(self) -> int:
        return self._count

    def load_shard(self, shard: int, stored: bytes) -> None:
        """Take in what :meth:`dump_shard` wrote."""
        records = _decoder.decode(stored)
        self.shards[shard].update(records)
        for pid, runs in records.items():
            self._count += len(runs)
            for run in runs:
                if run.ended:
                    self._ended.setdefault(run.ended[:19], []).append(pid)

    def dump_shard(self, shard: int) -> bytes:
        """One shard, whole."""
        return _encode(self.shards[shard])

    def find(self, pid: int, exec_id: str) -> ProcessRecord | None:
        """The run of this pid with this id."""
        runs = self.shards[pid % SHARDS].get(pid)
        if runs is not None:
            for run in reversed(runs):
                if run.exec_id == exec_id:
                    return run
        return None

    def at(self, pid: int, ts: str, grace_before: str) -> ProcessRecord | None:
        """The run under this pid at ``ts``: the last that had started by then.

        It may have ended, but not before ``grace_before``: a file's event carries the time at
        which the change had settled, after the writer may have gone.
        """
        for run in reversed(self.shards[pid % SHARDS].get(pid, ())):
            if run.started <= ts:
                return run if not run.ended or run.ended >= grace_before else None
        return None

    def started(self, pid: int, record: ProcessRecord) -> None:
        """Note a run that began (an exec). Live runs beyond the bound are not remembered."""
        if self._count >= MAXIMUM_RECORDS and not self._ended:
            return
        shard = pid % SHARDS
        self.dirty.add(shard)
        self._count += 1
        by_pid = self.shards[shard]
        runs = by_pid.get(pid)
        if runs is None:
            by_pid[pid] = [record]
            return
        last = runs[-1]
        if not last.ended and last.started <= record.started:
            self._end(pid, last, record.started)
        runs.append(record)
        if len(runs) > MAXIMUM_PER_PID:
            del runs[0]
            self._count -= 1

    def ended(self, pid: int, exec_id: str, ts: str) -> ProcessRecord | None:
        """Note that a process has ended; gives its last run, if the table holds it."""
        run = self.find(pid, exec_id)
        if run is not None:
            self._end(pid, run, ts)
        return run

    def _end(self, pid: int, run: ProcessRecord, ts: str) -> None:
        run.ended = ts
        second = ts[:19]
        ended = self._ended.get(second)
        if ended is None:
            ended = self._ended[second] = []
        ended.append(pid)
        self.dirty.add(pid % SHARDS)

    def forget_ended(self, before: str) -> None:
        """Drop the runs that ended in a second before that of ``before``.

        Beyond the bound the ones that ended first go, second by second.
        """
        limit = before[:19]
        for second in sorted(self._ended):
            if second >= limit and self._count <= MAXIMUM_RECORDS:
                break
            for pid in self._ended.pop(second):
                self._drop(pid, second)

    def _drop(self, pid: int, second: str) -> None:
        shard = pid % SHARDS
        runs = self.shards[shard].get(pid)
        if runs is None:
            return
        kept = [run for run in runs if run.ended[:19] != second]
        if len(kept) == len(runs):
            return
        self._count -= len(runs) - len(kept)
        if kept:
            self.shards[shard][pid] = kept
        else:
            del self.shards[shard][pid]
        self.dirty.add(shard)
