"""Which program ran under a pid at a time: a bounded table of one node, filled from the log.

File events are joined to it by the writer's pid, and processes to their parents. Its state lies in
shards by the time at which runs started: most runs are short, so that a commit writes those of the
last seconds, and not all that are remembered.
"""

from bisect import insort
from operator import attrgetter
from typing import Final

import msgspec
from msgspec import Struct

SHARDS: Final = 60
"""One for each second of the minute."""
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
    pid: int = 0
    number: int = 0
    """Its place among all runs that the table took in."""


_decoder = msgspec.msgpack.Decoder(list[ProcessRecord])
_encode = msgspec.msgpack.Encoder().encode
_number_of = attrgetter("number")


_SHARDS: Final = {f"{second:02d}": second % SHARDS for second in range(62)}
"""By the seconds of a time as they are written; 60 and 61 are leap seconds."""


def _shard_of(record: ProcessRecord) -> int:
    return _SHARDS[record.started[17:19]]


class ProcessTable:
    """Program runs of one node by pid."""

    def __init__(self) -> None:
        self._runs: dict[int, list[ProcessRecord]] = {}
        """By pid, in the order in which they were taken in."""
        self._shards: tuple[dict[int, ProcessRecord], ...] = tuple({} for _ in range(SHARDS))
        """By number."""
        self._next_number = 0
        self._ended: dict[str, list[int]] = {}
        """Pids of runs by the second in which they ended."""
        self._count = 0
        self.dirty: set[int] = set()
        """Shards that changed since they were last dumped."""

    def __len__(self) -> int:
        return self._count

    def load_shard(self, shard: int, stored: bytes) -> None:
        """Take in what :meth:`dump_shard` wrote."""
        for run in _decoder.decode(stored):
            self._shards[shard][run.number] = run
            insort(self._runs.setdefault(run.pid, []), run, key=_number_of)
            self._next_number = max(self._next_number, run.number + 1)
            self._count += 1
            if run.ended:
                self._ended.setdefault(run.ended[:19], []).append(run.pid)

    def dump_shard(self, shard: int) -> bytes:
        """One shard, whole."""
        return _encode(list(self._shards[shard].values()))

    def find(self, pid: int, exec_id: str) -> ProcessRecord | None:
        """The run of this pid with this id."""
        runs = self._runs.get(pid)
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
        for run in reversed(self._runs.get(pid, ())):
            if run.started <= ts:
                return run if not run.ended or run.ended >= grace_before else None
        return None

    def started(self, pid: int, record: ProcessRecord) -> None:
        """Note a run that began (an exec). Live runs beyond the bound are not remembered."""
        if self._count >= MAXIMUM_RECORDS and not self._ended:
            return
        record.pid, record.number = pid, self._next_number
        self._next_number += 1
        shard = _shard_of(record)
        self._shards[shard][record.number] = record
        self.dirty.add(shard)
        self._count += 1
        runs = self._runs.get(pid)
        if runs is None:
            self._runs[pid] = [record]
            return
        last = runs[-1]
        if not last.ended and last.started <= record.started:
            self._end(last, record.started)
        runs.append(record)
        if len(runs) > MAXIMUM_PER_PID:
            self._remove(runs.pop(0))

    def ended(self, pid: int, exec_id: str, ts: str) -> ProcessRecord | None:
        """Note that a process has ended; gives its last run, if the table holds it."""
        run = self.find(pid, exec_id)
        if run is not None:
            self._end(run, ts)
        return run

    def _end(self, run: ProcessRecord, ts: str) -> None:
        run.ended = ts
        second = ts[:19]
        ended = self._ended.get(second)
        if ended is None:
            ended = self._ended[second] = []
        ended.append(run.pid)
        self.dirty.add(_shard_of(run))

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
        runs = self._runs.get(pid, ())
        kept = []
        for run in runs:
            if run.ended[:19] == second:
                self._remove(run)
            else:
                kept.append(run)
        if kept:
            self._runs[pid] = kept
        else:
            self._runs.pop(pid, None)

    def _remove(self, run: ProcessRecord) -> None:
        shard = _shard_of(run)
        del self._shards[shard][run.number]
        self.dirty.add(shard)
        self._count -= 1
