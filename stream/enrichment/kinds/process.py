"""Kind ``process``: pod and identity, class and purpose, and the build that it is part of."""

import posixpath
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from stream.contract.cgroups import cgroup_owner
from stream.contract.owner import Owner
from stream.enrichment.classes import ProcessClass, classify, purpose_below
from stream.enrichment.facts import NodeFacts
from stream.enrichment.kinds.base import JoinedLines
from stream.enrichment.lines import ProcessLine
from stream.enrichment.owners import suffix_of, tail_of
from stream.enrichment.processes import ProcessFacts, ProcessRecord

_BOUND: Final = 20_000
"""Different command lines kept per node; beyond it the cache starts anew."""
_KEPT_BYTES: Final = 4096
"""Longer command lines are not kept: they hardly come twice."""
_SOURCE_BYTES: Final = 32 * 1024
"""Sources beyond that are left out of the line; ``argv`` has them all."""
_PURPOSES: Final = {name: f',"purpose":"{name}"'.encode() for name in ("build", "run", "other")}
_encode = msgspec.json.Encoder().encode
_cgroup_of = attrgetter("cgroup")
_arguments = msgspec.json.Decoder(list[str])

_Key = tuple[bytes, str, str, str, str, str, bool, bool]
"""A command line as it came, and where it ran."""


class _Known(NamedTuple):
    """What is the same for every process with this command line in this place."""

    owner: Owner
    what: ProcessClass
    class_name: str
    facts: ProcessFacts
    suffixes: dict[str, bytes]
    """By purpose, which its parent may change."""
    build_suffixes: dict[str, bytes]
    """The same where a build's id follows."""


class ProcessJoin:
    """Execs fill the table of processes; an exit says what its exec said."""

    def __init__(self, facts: NodeFacts) -> None:
        self._facts = facts
        self._known: dict[_Key, _Known] = {}
        self._generation = -1

    def missing(self, events: Sequence[ProcessLine]) -> bool:
        pods = self._facts.pods
        for cgroup in {*map(_cgroup_of, events)}:
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
        started, ended = processes.started, processes.ended
        known_before = self._known.get
        owners: list[Owner] = []
        suffixes: list[bytes] = []
        for event in events:
            key = (
                bytes(event.argv),
                event.exe,
                event.cwd,
                event.hostname,
                event.cgroup,
                event.comm,
                event.forked,
                event.notebook,
            )
            known = known_before(key) or self._look_up(key, event)
            if event.action == "exec":
                # A further exec in a process keeps its exec_id, and is a run of its own.
                run = self._record(event, known)
                started(event.pid, run)
            else:
                run = ended(event.pid, event.exec_id, event.ts) or self._record(event, known)
            event.class_ = known.class_name
            purpose = event.purpose = run.purpose
            owners.append(known.owner)
            if run.build_id:
                suffixes.append(known.build_suffixes[purpose] + _encode(run.build_id))
            else:
                suffixes.append(known.suffixes[purpose])
        return JoinedLines(owners, suffixes)

    def _record(self, event: ProcessLine, known: _Known) -> ProcessRecord:
        what = known.what
        purpose: str = what.purpose
        build_id = ""
        if event.parent_exec_id:
            parent = self._facts.processes.find(event.ppid, event.parent_exec_id)
            if parent is not None:
                purpose = purpose_below(what, parent.facts.class_name)
                build_id = parent.build_id
        if not build_id and purpose == "build":
            build_id = event.exec_id
        return ProcessRecord(event.exec_id, event.ts, known.facts, purpose, build_id)

    def _look_up(self, key: _Key, event: ProcessLine) -> _Known:
        try:
            argv = _arguments.decode(event.argv)
        except msgspec.DecodeError:
            argv = []  # passes through as it is; the sink refuses what its table can't hold
        what = classify(event.exe, argv, event.comm, event.notebook)
        if event.forked:
            # What a program forks for itself is no build or run of its own.
            what = what._replace(purpose="other")
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
        facts = ProcessFacts(
            owner.pod_uid,
            owner.container_id,
            owner.course,
            owner.division,
            owner.student,
            what.name,
        )
        suffix = suffix_of("process", owner) + tail_of(added)
        suffixes = {name: suffix + text for name, text in _PURPOSES.items()}
        build_suffixes = {name: text + b',"build_id":' for name, text in suffixes.items()}
        known = _Known(owner, what, what.name, facts, suffixes, build_suffixes)
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
