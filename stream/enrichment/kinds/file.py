"""Kinds ``file`` and ``snapshot``: joined to the writing process, its pod, and by their path."""

from collections.abc import Sequence
from typing import Final

import msgspec

from stream.contract.timestamps import MICROSECONDS, format_timestamp, parse_timestamp
from stream.enrichment.facts import NodeFacts
from stream.enrichment.identity import NOBODY, Identity
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import FileLine, SnapshotLine
from stream.enrichment.owners import PODS, Joined, pod_of_path, suffix_of
from stream.enrichment.processes import ProcessFacts, ProcessRecord

WRITER_GONE_SECONDS: Final = 10
"""How long before a file's event its writer may have ended: a change settles within 3 s."""
_BOUND: Final = 20_000
"""Different paths kept per node; beyond it the cache starts anew."""
_encode = msgspec.json.Encoder().encode


class FileJoin:
    """By the writer's pid at that time; the pod of a volume's path where there is no writer."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._joined: dict[str | tuple[str, ProcessFacts], Joined] = {}
        """By path, and writer where one is known."""
        self._generation = -1

    def missing(self, events: Sequence[FileLine]) -> bool:
        facts = self._facts
        for event in events:
            if event.writer_pid is not None:
                if self._writer(event) is None and facts.process_clock < parse_timestamp(event.ts):
                    return True
            elif PODS in event.path:
                uid = pod_of_path(event.path)
                if uid and facts.pods.missing(uid, ""):
                    return True
        return False

    def give_up(self, events: Sequence[FileLine]) -> bool:
        changed = False
        for event in events:
            uid = pod_of_path(event.path)
            if uid and event.writer_pid is None:
                changed |= self._facts.pods.give_up(uid, "")
        return changed

    def join(self, events: Sequence[FileLine]) -> JoinedLines:
        if self._generation != self._facts.generation:
            self._joined.clear()
            self._generation = self._facts.generation
        owners = []
        suffixes = []
        apply, joined = self._facts.files.apply, self._joined.get
        for event in events:
            size, lines = event.size_delta, event.lines_delta = apply(event)
            path = event.path
            if event.writer_pid is None or (writer := self._writer(event)) is None:
                owner, suffix = joined(path) or self._join(path, None)
            else:
                facts = writer.facts
                owner, suffix = joined((path, facts)) or self._join(path, facts)
                if not event.writer_exec_id:
                    suffix += b',"writer_exec_id":' + _encode(writer.exec_id)
            if size is not None and lines is not None:
                suffix += b',"size_delta":%d,"lines_delta":%d' % (size, lines)
            elif size is not None:
                suffix += b',"size_delta":%d' % size
            elif lines is not None:
                suffix += b',"lines_delta":%d' % lines
            owners.append(owner)
            suffixes.append(suffix)
        return JoinedLines(owners, suffixes)

    def _writer(self, event: FileLine) -> ProcessRecord | None:
        pid = event.writer_pid
        if pid is None:
            return None
        if event.writer_exec_id:
            return self._facts.processes.find(pid, event.writer_exec_id)
        earliest = parse_timestamp(event.ts) - WRITER_GONE_SECONDS * MICROSECONDS
        return self._facts.processes.at(pid, event.ts, format_timestamp(max(0, earliest)))

    def _join(self, path: str, writer: ProcessFacts | None) -> Joined:
        resolver = self._facts.resolver
        if writer is None:
            owner = resolver.owner("file", pod_of_path(path), fields={"path": path})
        else:
            identity = NOBODY
            if writer.student:
                identity = Identity(writer.course, writer.division, writer.student)
            owner = resolver.owner(
                "file",
                writer.pod_uid or pod_of_path(path),
                writer.container_id,
                {"path": path},
                identity,
            )
        joined = Joined(owner, suffix_of("file", owner))
        if len(self._joined) >= _BOUND:
            self._joined.clear()
        self._joined[path if writer is None else (path, writer)] = joined
        return joined


class SnapshotJoin:
    """By path alone."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts

    def missing(self, events: Sequence[SnapshotLine]) -> bool:
        pods = self._facts.pods
        return any((uid := pod_of_path(each.path)) and pods.missing(uid, "") for each in events)

    def give_up(self, events: Sequence[SnapshotLine]) -> bool:
        changed = False
        for event in events:
            if uid := pod_of_path(event.path):
                changed |= self._facts.pods.give_up(uid, "")
        return changed

    def join(self, events: Sequence[SnapshotLine]) -> JoinedLines:
        resolver = self._facts.resolver
        owners = [
            resolver.owner("snapshot", pod_of_path(each.path), fields={"path": each.path})
            for each in events
        ]
        return JoinedLines(owners, [suffix_of("snapshot", owner) for owner in owners])
