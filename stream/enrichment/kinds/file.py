"""Kinds ``file`` and ``snapshot``: joined to the writing process, its pod, and by their path."""

from collections.abc import Sequence
from typing import Final

from stream.contract.owner import Owner
from stream.contract.timestamps import MICROSECONDS, format_timestamp, parse_timestamp
from stream.enrichment.facts import NodeFacts
from stream.enrichment.identity import NOBODY, Identity
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import FileLine, SnapshotLine
from stream.enrichment.owners import pod_of_path, suffix_of, tail_of
from stream.enrichment.processes import ProcessRecord

WRITER_GONE_SECONDS: Final = 10
"""How long before a file's event its writer may have ended: a change settles within 3 s."""


class FileJoin:
    """By the writer's pid at that time; the pod of a volume's path where there is no writer."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts

    def missing(self, events: Sequence[FileLine]) -> bool:
        facts = self._facts
        for event in events:
            if event.writer_pid is not None:
                if self._writer(event) is None and facts.process_clock < parse_timestamp(event.ts):
                    return True
            elif (uid := pod_of_path(event.path)) and facts.pods.missing(uid, ""):
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
        owners = []
        suffixes = []
        for event in events:
            deltas = self._facts.files.apply(event)
            event.size_delta, event.lines_delta = deltas
            writer = self._writer(event)
            owner = self._owner(event.path, writer)
            added: dict[str, object] = {}
            if writer is not None and not event.writer_exec_id:
                added["writer_exec_id"] = writer.exec_id
            if deltas.size is not None:
                added["size_delta"] = deltas.size
            if deltas.lines is not None:
                added["lines_delta"] = deltas.lines
            owners.append(owner)
            suffixes.append(suffix_of("file", owner) + tail_of(added))
        return JoinedLines(owners, suffixes)

    def _writer(self, event: FileLine) -> ProcessRecord | None:
        pid = event.writer_pid
        if pid is None:
            return None
        if event.writer_exec_id:
            return self._facts.processes.find(pid, event.writer_exec_id)
        earliest = parse_timestamp(event.ts) - WRITER_GONE_SECONDS * MICROSECONDS
        return self._facts.processes.at(pid, event.ts, format_timestamp(max(0, earliest)))

    def _owner(self, path: str, writer: ProcessRecord | None) -> Owner:
        resolver = self._facts.resolver
        if writer is None:
            return resolver.owner("file", pod_of_path(path), fields={"path": path})
        identity = (
            Identity(writer.course, writer.division, writer.student) if writer.student else NOBODY
        )
        return resolver.owner(
            "file",
            writer.pod_uid or pod_of_path(path),
            writer.container_id,
            {"path": path},
            identity,
        )


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
