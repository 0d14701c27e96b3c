"""Which program ran under a pid at a time: a bounded table of one node, filled from the log.

File events are joined to it by the writer's pid, and processes to their parents. It is kept in
shards, so that a commit writes only what changed.
"""

import heapq
from collections.abc import Iterable
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
        self._by_pid: tuple[dict[int, list[ProcessRecord]], ...] = tuple({} for _ in range(SHARDS))
        self._ended: list[tuple[str, int, str]] = []
        """Heap of (ended, pid, exec_id)."""
        self._count = 0
        self.dirty: set[int] = set()
        """Shards that changed since they were last dumped."""

    def __len__(self) -> int:
        return self._count

    def load_shard(self, shard: int, stored: bytes) -> None:
        """Take in what :meth:`dump_shard` wrote."""
        records = _decoder.decode(stored)
        self._by_pid[shard].update(records)
        for pid, runs in records.items():
            self._count += len(runs)
            for run in runs:
                if run.ended:
                    heapq.heappush(self._ended, (run.ended, pid, run.exec_id))

    def dump_shard(self, shard: int) -> bytes:
        """One shard, whole."""
        return _encode(self._by_pid[shard])

    def latest(self, pid: int) -> ProcessRecord | None:
        """The run that the log spoke of last under this pid."""
        runs = self._by_pid[pid % SHARDS].get(pid)
        return runs[-1] if runs else None

    def find(self, pid: int, exec_id: str) -> ProcessRecord | None:
        """The run of this pid with this id."""
        for run in reversed(self._by_pid[pid % SHARDS].get(pid, ())):
            if run.exec_id == exec_id:
                return run
        return None

    def at(self, pid: int, ts: str, grace_before: str) -> ProcessRecord | None:
        """The run under this pid at ``ts``: the last that had started by then.

        It may have ended, but not before ``grace_before``: a file's event carries the time at
        which the change had settled, after the writer may have gone.
        """
        for run in reversed(self._by_pid[pid % SHARDS].get(pid, ())):
            if run.started <= ts:
                return run if not run.ended or run.ended >= grace_before else None
        return None

    def started(self, pid: int, record: ProcessRecord) -> None:
        """Note a run that began (an exec). Live runs beyond the bound are not remembered."""
        if self._count >= MAXIMUM_RECORDS and not self._ended:
            return
        shard = pid % SHARDS
        runs = self._by_pid[shard].setdefault(pid, [])
        if runs and not runs[-1].ended and runs[-1].started <= record.started:
            self._end(pid, runs[-1], record.started)
        runs.append(record)
        self._count += 1
        if len(runs) > MAXIMUM_PER_PID:
            del runs[0]
            self._count -= 1
        self.dirty.add(shard)

    def ended(self, pid: int, record: ProcessRecord, ts: str) -> None:
        """Note that a run that the table holds has ended."""
        self._end(pid, record, ts)
        self.dirty.add(pid % SHARDS)

    def _end(self, pid: int, record: ProcessRecord, ts: str) -> None:
        record.ended = ts
        heapq.heappush(self._ended, (ts, pid, record.exec_id))

    def forget_ended(self, before: str) -> None:
        """Drop the runs that ended before a time, and the first ended beyond the bound."""
        heap = self._ended
        while heap and (heap[0][0] < before or self._count > MAXIMUM_RECORDS):
            ended, pid, exec_id = heapq.heappop(heap)
            self._drop(pid, exec_id, ended)

    def _drop(self, pid: int, exec_id: str, ended: str) -> None:
        shard = pid % SHARDS
        runs = self._by_pid[shard].get(pid, [])
        kept = [run for run in runs if run.exec_id != exec_id or run.ended != ended]
        if len(kept) == len(runs):
            return
        self._count -= len(runs) - len(kept)
        if kept:
            self._by_pid[shard][pid] = kept
        else:
            del self._by_pid[shard][pid]
        self.dirty.add(shard)

    def records(self) -> Iterable[ProcessRecord]:
        """All runs, for tests and metrics."""
        for shard in self._by_pid:
            for runs in shard.values():
                yield from runs
