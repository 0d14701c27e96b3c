"""Enrichment of one partition: a function of the log, whatever the clock on the wall says.

Batches go in in the order of the log and come out joined. A batch with a line whose pod is not
known yet waits in the event time of its node, until the metadata comes or the node's own progress
records say that the wait is over; then its lines go on unresolved. The same log gives the same
result at every replay and after every restart.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from stream.contract.owner import Owner
from stream.contract.state import StateStore
from stream.contract.subjects import escape_token, unescape_token
from stream.contract.timestamps import MICROSECONDS, parse_timestamp
from stream.enrichment import files, processes
from stream.enrichment.decoding import Batch
from stream.enrichment.facts import NodeFacts
from stream.enrichment.held import PREFIX as HELD
from stream.enrichment.held import Lanes
from stream.enrichment.identity import NO_RULES, IdentityRules, parse_rules
from stream.enrichment.kinds import join_of
from stream.enrichment.kinds.base import KindJoin
from stream.enrichment.lines import ProgressLine
from stream.enrichment.pods import PodTable

WAIT_MICROSECONDS: Final = 3 * MICROSECONDS
"""How long a batch waits for a pod's metadata. 3 s: an API watch tells of a new pod within a
second, a scan of the node within two."""
WRITER_WAIT_MICROSECONDS: Final = 5 * MICROSECONDS
"""How long a file waits for its writer: longer, since the writer may itself wait for its pod."""
_LONGEST_WAIT: Final = 60 * MICROSECONDS
_FORGET_EVERY: Final = 10 * MICROSECONDS
_NUMBERED: Final = tuple(b"%d}\n" % number for number in range(512))


class EnrichedBatch(NamedTuple):
    """One batch and what it was joined to; the lists are parallel to its lines."""

    batch: Batch
    owners: list[Owner]
    suffixes: list[bytes]
    rules: str
    """Version of the identity rules that were in force."""

    def payload(self, partition: int) -> bytes:
        """The enriched lines: each raw line, untouched, with fields appended to it."""
        batch = self.batch
        place = b',"log_partition":%d,"log_offset":%d,"log_line":' % (partition, batch.offset)
        numbers = _NUMBERED[batch.first_line : batch.first_line + len(batch.lines)]
        return b"".join(
            chain.from_iterable(zip(batch.lines, self.suffixes, repeat(place), numbers))
        )


Ready = EnrichedBatch | ProgressLine
"""What comes out, in order. A progress record is out when nothing of its kind waits before it."""


class _Clock(Struct, array_like=True):
    clock: int
    process_clock: int
    pods_stopped: bool


class _Rules(Struct, array_like=True):
    text: str


_clock_decoder = msgspec.msgpack.Decoder(_Clock)
_rules_decoder = msgspec.msgpack.Decoder(_Rules)
_encode = msgspec.msgpack.Encoder().encode
_RULES_KEY: Final = "rules"


class _Part:
    """A shard of a table, or a table, for the state."""

    __slots__ = ("_shard", "_table")

    def __init__(self, table: "processes.ProcessTable | files.FileTable", shard: int) -> None:
        self._table = table
        self._shard = shard

    def dump(self) -> bytes:
        return self._table.dump_shard(self._shard)


class _Node:
    """Facts, lanes and joins of one node."""

    def __init__(self, name: str, rules: IdentityRules, store: StateStore) -> None:
        self.token = escape_token(name)
        self.facts = NodeFacts(name, rules)
        self.lanes = Lanes(name, store)
        self.joins: dict[str, KindJoin] = {}
        self.process_parts = [
            _Part(self.facts.processes, shard) for shard in range(processes.SHARDS)
        ]
        self.file_parts = [_Part(self.facts.files, shard) for shard in range(files.SHARDS)]

    def join_of(self, kind: str) -> KindJoin:
        join = self.joins.get(kind)
        if join is None:
            join = self.joins[kind] = join_of(kind, self.facts)
        return join

    def dump(self) -> bytes:
        facts = self.facts
        return _encode(_Clock(facts.clock, facts.process_clock, facts.pods_stopped))


class Enricher:
    """Enriches one partition. Its state lies in ``store``, and is taken up from there."""

    def __init__(
        self,
        store: StateStore,
        rules: IdentityRules = NO_RULES,
        wait: int = WAIT_MICROSECONDS,
        writer_wait: int = WRITER_WAIT_MICROSECONDS,
    ) -> None:
        self._store = store
        self._wait = {"file": writer_wait}
        self._default_wait = wait
        self._nodes: dict[str, _Node] = {}
        self._rules = rules
        self._restore()
        if _RULES_KEY not in store:
            store[_RULES_KEY] = _encode(_Rules(rules.text))

    @property
    def rules(self) -> IdentityRules:
        """The rules in force; after a restart those that the state was made with."""
        return self._rules

    def use_rules(self, rules: IdentityRules) -> None:
        """Identify by other rules from the next batch on; call it right before a commit is cut.

        The state keeps the text of the rules, so that what a crash repeats is repeated with the
        rules that were in force.
        """
        if rules.version == self._rules.version:
            return
        self._rules = rules
        self._store[_RULES_KEY] = _encode(_Rules(rules.text))
        for node in self._nodes.values():
            node.facts.use_rules(rules)

    def waiting(self) -> int:
        """Events that wait for metadata."""
        return sum(len(node.lanes) for node in self._nodes.values())

    def accept(self, batch: Batch) -> list[Ready]:
        """Take in one batch; what is ready now, in order: perhaps not it, perhaps others too."""
        node = self._node(batch.node)
        kind = batch.identity.kind
        ready: list[Ready] = []
        if kind == "progress":
            ready.append(self._join(node, batch))
            for index in range(len(batch.events)):
                self._progress(node, batch.part(*[batch.identity.first_seq + index] * 2), ready)
            self._store[f"node/{node.token}"] = node
        elif kind == "pod":
            ready.append(self._join(node, batch))
            self._release(node, ready)
        elif kind in node.lanes or self._must_wait(node, batch):
            node.lanes.hold(kind, batch)
            while kind in node.lanes and node.lanes.full(kind):
                self._go_on(node, kind, ready)
        else:
            ready.append(self._join(node, batch))
        return ready

    def _progress(self, node: _Node, batch: Batch, ready: list[Ready]) -> None:
        """Take in one record: the node's clock at once, the rest behind its producer's events."""
        event: ProgressLine = batch.events[0]
        facts = node.facts
        before = facts.clock
        facts.clock = max(before, parse_timestamp(event.ts))
        if event.producer == "pod":
            facts.pods_stopped = event.closing
        if before // _FORGET_EVERY != facts.clock // _FORGET_EVERY and facts.forget():
            self._store[f"pods/{node.token}"] = facts.pods
        self._release(node, ready)
        if event.producer in node.lanes:
            node.lanes.hold(event.producer, batch)
            while event.producer in node.lanes and node.lanes.full(event.producer):
                self._go_on(node, event.producer, ready)
        else:
            self._emit_progress(node, event, ready)
            self._release(node, ready)
        self._mark_tables(node)

    def _emit_progress(self, node: _Node, event: ProgressLine, ready: list[Ready]) -> None:
        if event.producer == "process":
            told = parse_timestamp(event.watermark)
            node.facts.process_clock = max(node.facts.process_clock, told)
        ready.append(event)

    def _until(self, batch: Batch) -> int:
        latest = (max(batch.seconds) + 1) * MICROSECONDS
        return latest + self._wait.get(batch.identity.kind, self._default_wait)

    def _must_wait(self, node: _Node, batch: Batch) -> bool:
        """Whether a line's metadata isn't known yet, and may still come.

        A batch from the far future is not waited for: its time would not come.
        """
        facts = node.facts
        left = self._until(batch) - facts.clock
        if facts.pods_stopped or left <= 0 or (facts.clock and left > _LONGEST_WAIT):
            return False
        return node.join_of(batch.identity.kind).missing(batch.events)

    def _release(self, node: _Node, ready: list[Ready]) -> None:
        """Let go on what need not wait any more; one lane may free another."""
        released = True
        while released:
            released = False
            for kind in node.lanes:
                while kind in node.lanes:
                    head = node.lanes.head(kind)
                    if head.progress is None and self._must_wait(node, head.batch):
                        break
                    self._go_on(node, kind, ready)
                    released = True

    def _go_on(self, node: _Node, kind: str, ready: list[Ready]) -> None:
        """Take the head of a lane out and let it go on, joined to what is known."""
        waiting = node.lanes.release(kind)
        progress = waiting.progress
        if progress is not None:
            self._emit_progress(node, progress, ready)
            return
        join = node.join_of(kind)
        if not node.facts.pods_stopped and join.give_up(waiting.batch.events):
            self._store[f"pods/{node.token}"] = node.facts.pods
        ready.append(self._join(node, waiting.batch))

    def _join(self, node: _Node, batch: Batch) -> EnrichedBatch:
        kind = batch.identity.kind
        owners, suffixes = node.join_of(kind).join(batch.events)
        if kind == "pod":
            self._store[f"pods/{node.token}"] = node.facts.pods
        elif kind in ("process", "file"):
            self._mark_tables(node)
        return EnrichedBatch(batch, owners, suffixes, self._rules.version)

    def _mark_tables(self, node: _Node) -> None:
        facts = node.facts
        for shard in facts.processes.dirty:
            self._store[f"process/{node.token}/{shard}"] = node.process_parts[shard]
        facts.processes.dirty.clear()
        for shard in facts.files.dirty:
            self._store[f"files/{node.token}/{shard}"] = node.file_parts[shard]
        facts.files.dirty.clear()

    def _node(self, name: str) -> _Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node(name, self._rules, self._store)
        return node

    def _restore(self) -> None:
        if _RULES_KEY in self._store:
            text = _rules_decoder.decode(self._store[_RULES_KEY]).text
            self._rules = parse_rules(text, "the rules in the worker's state")
        for key, stored in self._stored("node/"):
            clock = _clock_decoder.decode(stored)
            node = self._node(unescape_token(key.split("/")[1]))
            node.facts.clock = clock.clock
            node.facts.process_clock = clock.process_clock
            node.facts.pods_stopped = clock.pods_stopped
            self._store.load(key, node)
        for key, stored in self._stored("pods/"):
            node = self._node(unescape_token(key.split("/")[1]))
            node.facts.replace_pods(PodTable.load(stored))
            self._store.load(key, node.facts.pods)
        for table in ("process", "files"):
            for key, stored in self._stored(f"{table}/"):
                _, token, shard = key.split("/")
                node = self._node(unescape_token(token))
                if table == "process":
                    node.facts.processes.load_shard(int(shard), stored)
                    self._store.load(key, node.process_parts[int(shard)])
                else:
                    node.facts.files.load_shard(int(shard), stored)
                    self._store.load(key, node.file_parts[int(shard)])
        for key, stored in self._stored(HELD):
            self._node(unescape_token(key.split("/")[1])).lanes.restore(key, stored)

    def _stored(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        found = sorted(item for item in self._store.items() if item[0].startswith(prefix))
        for key, value in found:
            yield key, value if isinstance(value, bytes) else value.dump()
