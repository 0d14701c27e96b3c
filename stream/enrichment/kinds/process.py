"""Kind ``process``: pod and identity, class and purpose, and the build that it is part of."""

import posixpath
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from stream.contract.cgroups import cgroup_owner
from stream.contract.owner import Owner
from stream.enrichment.classes import ProcessClass, classify, purpose_below
from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import ProcessLine
from stream.enrichment.owners import suffix_of, tail_of
from stream.enrichment.processes import ProcessRecord

_BOUND: Final = 20_000
"""Different command lines kept per node; beyond it the cache starts anew."""
_KEPT_BYTES: Final = 4096
"""Longer command lines are not kept: they hardly come twice."""
_SOURCE_BYTES: Final = 32 * 1024
"""Sources beyond that are left out of the line; ``argv`` has them all."""
_PURPOSES: Final = {name: f',"purpose":"{name}"'.encode() for name in ("build", "run", "other")}
_arguments = msgspec.json.Decoder(list[str])


class _Known(NamedTuple):
    """What is the same for every process with this command line in this place."""

    owner: Owner
    what: ProcessClass
    suffix: bytes


class ProcessJoin:
    """Execs fill the table of processes; an exit says what its exec said."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._known: dict[tuple[bytes, str, str, str, str, str, bool], _Known] = {}
        self._generation = -1

    def missing(self, events: Sequence[ProcessLine]) -> bool:
        pods = self._facts.pods
        for cgroup in {event.cgroup for event in events}:
            pod_uid, container_id = cgroup_owner(cgroup)
            if pod_uid and pods.missing(pod_uid, container_id):
                return True
        return False

    def give_up(self, events: Sequence[ProcessLine]) -> bool:
        changed = False
        for cgroup in sorted({event.cgroup for event in events}):
            pod_uid, container_id = cgroup_owner(cgroup)
            if pod_uid:
                changed |= self._facts.pods.give_up(pod_uid, container_id)
        return changed

    def join(self, events: Sequence[ProcessLine]) -> JoinedLines:
        if self._generation != self._facts.generation:
            self._known.clear()
            self._generation = self._facts.generation
        processes = self._facts.processes
        owners = []
        suffixes = []
        for event in events:
            key = (
                bytes(event.argv),
                event.exe,
                event.cwd,
                event.hostname,
                event.cgroup,
                event.comm,
                event.notebook,
            )
            known = self._known.get(key) or self._look_up(key, event)
            run = processes.find(event.pid, event.exec_id)
            if run is None:
                run = self._record(event, known)
                if event.action == "exec":
                    processes.started(event.pid, run)
            elif event.action == "exit":
                processes.ended(event.pid, run, event.ts)
            event.class_ = known.what.name
            event.purpose = run.purpose
            suffix = known.suffix + _PURPOSES[run.purpose]
            if run.build_id:
                suffix += tail_of({"build_id": run.build_id})
            owners.append(known.owner)
            suffixes.append(suffix)
        return JoinedLines(owners, suffixes)

    def _record(self, event: ProcessLine, known: _Known) -> ProcessRecord:
        what, owner = known.what, known.owner
        parent_class = build_id = ""
        if event.parent_exec_id:
            parent = self._facts.processes.find(event.ppid, event.parent_exec_id)
            if parent is not None:
                parent_class, build_id = parent.class_name, parent.build_id
        purpose = purpose_below(what, parent_class)
        if not build_id and purpose == "build":
            build_id = event.exec_id
        return ProcessRecord(
            exec_id=event.exec_id,
            started=event.ts,
            pod_uid=owner.pod_uid,
            container_id=owner.container_id,
            course=owner.course,
            division=owner.division,
            student=owner.student,
            assignment=owner.assignment,
            class_name=what.name,
            purpose=purpose,
            build_id=build_id,
        )

    def _look_up(
        self, key: tuple[bytes, str, str, str, str, str, bool], event: ProcessLine
    ) -> _Known:
        try:
            argv = _arguments.decode(event.argv)
        except msgspec.DecodeError:
            argv = []  # passes through as it is; the sink refuses what its table can't hold
        what = classify(event.exe, argv, event.comm, event.notebook)
        pod_uid, container_id = cgroup_owner(event.cgroup)
        fields = {
            "hostname": event.hostname,
            "cgroup": event.cgroup,
            "cwd": event.cwd,
            "exe": event.exe,
        }
        if what.sources:
            fields["source"] = posixpath.normpath(posixpath.join(event.cwd, what.sources[0]))
        owner = self._facts.resolver.owner("process", pod_uid, container_id, fields)
        added: dict[str, object] = {"class": what.name}
        if what.sources:
            added["sources"] = _bounded(what.sources)
        if what.target:
            added["target"] = what.target
        known = _Known(owner, what, suffix_of("process", owner) + tail_of(added))
        if len(self._known) >= _BOUND:
            self._known.clear()
        if len(event.argv) <= _KEPT_BYTES:
            self._known[key] = known
        return known


def _bounded(sources: Sequence[str]) -> list[str]:
    size = 0
    kept = []
    for source in sources:
        size += len(source) + 3
        if size > _SOURCE_BYTES:
            break
        kept.append(source)
    return kept
