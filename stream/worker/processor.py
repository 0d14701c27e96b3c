"""What a worker does with one message of RAW: pure, without broker, loop or clock on the wall.

All of one partition's state lies in its store, so a processor can be made anew at any time from
what was committed, and goes on exactly there.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from stream.contract.batch import SCHEMA_HEADER, read_identity
from stream.contract.buckets import bucket_version
from stream.contract.errors import ContractError, HeaderError, SubjectError
from stream.contract.kinds import KINDS
from stream.contract.kinds.loss import DEFINITION as LOSS
from stream.contract.state import StateStore
from stream.contract.subjects import RAW, buckets_subject
from stream.contract.timestamps import MICROSECONDS, parse_timestamp
from stream.enrichment.decoding import Batch, Refused, decode_message
from stream.enrichment.enricher import EnrichedBatch, Enricher, Ready
from stream.enrichment.identity import NO_RULES, IdentityRules
from stream.enrichment.lines import LINES, MAXIMUM_BOOT
from stream.windows.partition import PartitionWindows, RowMessage
from stream.windows.settings import WindowSettings
from stream.worker.errors import StateFormatError
from stream.worker.messages import (
    Message,
    dead_lines,
    dead_message,
    enriched_messages,
    gap_message,
    refused_lines,
)

STATE_FORMAT: Final = b"2"
"""Rises with every change of what lies in the state."""
_FORMAT_KEY: Final = "format"
_ORIGIN_KEY: Final = "origin"
_MIDDLE: Final = b"middle"
_BEGINNING: Final = b"beginning"
_LOSS_SEQUENCE: Final = "loss-sequence"
CLOCK_AHEAD_SECONDS: Final = 5.0
"""How far a node's clock may be ahead of the broker's before it is pointed out."""
_REFUSALS: Final = {
    "too_late": "its window was closed so long ago that it can't be corrected any more",
    "too_many_windows": "its batch spreads over too many windows",
}


def _reason(error: ContractError, headers: Mapping[str, str] | None) -> str:
    """Why a whole message was refused, in one word."""
    if not isinstance(error, HeaderError | SubjectError):
        return "bad_batch"
    kind, _, version = (headers or {}).get(SCHEMA_HEADER, "").partition("/")
    known = KINDS.get(kind)
    other = known is not None and version.isdecimal() and version != str(known.version)
    return "unknown_version" if other else "bad_header"


def _check_format(store: StateStore, partition: int) -> None:
    """Refuse a state that this version can't read, rather than count on from half of it."""
    if _FORMAT_KEY not in store:
        store[_FORMAT_KEY] = STATE_FORMAT
    elif store[_FORMAT_KEY] != STATE_FORMAT:
        raise StateFormatError(
            f"the state of partition {partition} has format {store[_FORMAT_KEY]!r}, and this "
            f"version reads {STATE_FORMAT!r}: go on with the version that wrote it, or give the "
            "worker another group, which reads all of RAW anew"
        )


class Counts:
    """Totals since the worker took the partition over."""

    def __init__(self) -> None:
        self.messages = 0
        self.events: dict[str, int] = {}
        """Events that were enriched, by kind."""
        self.unresolved = 0
        self.dead: dict[str, int] = {}
        """Events that were refused, by reason."""
        self.missing = 0
        """Events that a producer sent and that never came."""
        self.clock_ahead: dict[str, float] = {}
        """By how many seconds a node's clock is ahead of the broker's, where that is much."""


class Processor:
    """One partition of a worker."""

    def __init__(
        self,
        partition: int,
        store: StateStore,
        *,
        rules: IdentityRules = NO_RULES,
        windows: WindowSettings | None = None,
        prefix: str = "",
        incarnation: int = 0,
        from_the_middle: bool = False,
        now: float = 0.0,
    ) -> None:
        """``prefix`` is put before every subject (``replay.<run>.``), ``now`` is monotonic.

        ``from_the_middle`` says that the log does not begin where the producers did, so that what
        a boot sent before its first batch here is not missing. What was said when the state began
        stays.
        """
        self.partition = partition
        _check_format(store, partition)
        self.counts = Counts()
        self.enricher = Enricher(store, rules)
        if _ORIGIN_KEY not in store:
            store[_ORIGIN_KEY] = _MIDDLE if from_the_middle else _BEGINNING
        self.windows = PartitionWindows(
            store, windows, from_the_middle=store[_ORIGIN_KEY] == _MIDDLE, now=now
        )
        self._store = store
        self._prefix = prefix
        self._incarnation = incarnation
        self._loss_boot = f"worker-{incarnation}-{partition}"
        self._loss_sequence = int(store[_LOSS_SEQUENCE]) if _LOSS_SEQUENCE in store else 0

    def process(
        self,
        key: str,
        headers: Mapping[str, str] | None,
        payload: bytes,
        offset: int,
        stored_at: float = 0.0,
    ) -> list[Message]:
        """Take in one message of the partition; what is to be published because of it.

        ``key`` is the end of its subject, ``<kind>.<node>``; ``stored_at`` when the broker stored
        it (seconds since the epoch), with which clocks are compared and nothing else.
        """
        self.counts.messages += 1
        try:
            identity = read_identity(f"{RAW}.{key}", headers)
            if len(identity.boot) > MAXIMUM_BOOT:
                raise ContractError(f"a boot of {len(identity.boot)} characters")
            node = identity.node
            decoded = decode_message(identity, offset, payload, node)
        except ContractError as error:
            reason = _reason(error, headers)
            return [self._refuse(key, headers, payload, offset, reason, str(error))]
        fresh = self.windows.observe(
            node, identity.kind, identity.boot, identity.first_seq, identity.last_seq
        )
        if fresh is None:
            detail = f"boot {identity.boot} is older than those that are remembered of {node}"
            return [self._refuse(key, headers, payload, offset, "forgotten_boot", detail)]
        out: list[Message] = []
        if decoded.refused and fresh:
            self._count_dead("bad_line", len(decoded.refused))
            out += dead_lines(identity, node, decoded.refused, self.partition, offset, self._prefix)
        for first, last in fresh:
            for batch in decoded.batches:
                low = max(first, batch.identity.first_seq)
                high = min(last, batch.identity.last_seq)
                if low <= high:
                    for ready in self.enricher.accept(batch.part(low, high)):
                        out += self._ready(ready)
        if identity.kind == "progress" and stored_at and decoded.batches:
            self._compare_clocks(decoded.batches[-1], stored_at)
        self.windows.step()
        return out

    def use_rules(self, rules: IdentityRules) -> None:
        """Identify by other rules; call it right before a commit is cut."""
        self.enricher.use_rules(rules)

    def final_rows(self, commit: int, messages: int = 200, windows: int = 200) -> Iterator[Message]:
        """Rows that belong into the commit of this number, of so many windows at most."""
        version = bucket_version(self._incarnation, commit, True)
        yield from self._rows(self.windows.final_rows(version, messages, windows))

    def provisional_rows(self, commit: int) -> Iterator[Message]:
        """Rows of open windows; ``commit`` is the number of the commit that is yet to come."""
        version = bucket_version(self._incarnation, commit, False)
        yield from self._rows(self.windows.provisional_rows(version))

    def _rows(self, rows: Iterable[RowMessage]) -> Iterator[Message]:
        for kind, node, payload in rows:
            yield Message(self._prefix + buckets_subject(kind, node), payload, {})

    def _ready(self, ready: Ready) -> Iterator[Message]:
        if not isinstance(ready, EnrichedBatch):
            for gap in self.windows.progress(ready):
                missing = gap.missing
                self.counts.missing += missing.last_seq - missing.first_seq + 1
                yield gap_message(gap, ready.ts, self._loss_boot, self._loss_sequence, self._prefix)
                self._loss_sequence += 1
                self._store[_LOSS_SEQUENCE] = str(self._loss_sequence).encode()
            return
        batch = ready.batch
        kind = batch.identity.kind
        self.counts.events[kind] = self.counts.events.get(kind, 0) + batch.identity.count
        unknown = {owner for owner in set(ready.owners) if not owner.resolved}
        if unknown:
            self.counts.unresolved += sum(owner in unknown for owner in ready.owners)
        if kind == LOSS.name:
            self._lost(batch)
        added = self.windows.add(batch.node, kind, batch.events, ready.owners, batch.seconds)
        yield from enriched_messages(ready, self.partition, self._prefix)
        yield from self._uncounted(batch, added.too_late, "too_late")
        yield from self._uncounted(batch, added.too_many, "too_many_windows")

    def _uncounted(self, batch: Batch, places: list[int], reason: str) -> Iterator[Message]:
        """Events that are in no bucket, though they are enriched."""
        if places:
            self._count_dead(reason, len(places))
            refused: list[Refused] = refused_lines(batch, places, reason, _REFUSALS[reason])
            yield from dead_lines(
                batch.identity, batch.node, refused, self.partition, batch.offset, self._prefix
            )

    def _lost(self, batch: Batch) -> None:
        """What a producer says is lost need not be waited for."""
        for event in batch.events:
            first, last = event.first_seq, event.last_seq
            if first is not None and last is not None and first <= last and event.kind in LINES:
                boot = event.lost_boot or event.boot
                self.windows.lost(event.node, event.kind, boot, first, last)

    def _refuse(
        self,
        key: str,
        headers: Mapping[str, str] | None,
        payload: bytes,
        offset: int,
        reason: str,
        detail: str,
    ) -> Message:
        self._count_dead(reason, 1)
        return dead_message(
            key, headers, payload, self.partition, offset, reason, detail, self._prefix
        )

    def _count_dead(self, reason: str, count: int) -> None:
        self.counts.dead[reason] = self.counts.dead.get(reason, 0) + count

    def _compare_clocks(self, batch: Batch, stored_at: float) -> None:
        ahead = parse_timestamp(batch.events[-1].ts) / MICROSECONDS - stored_at
        if ahead > CLOCK_AHEAD_SECONDS:
            self.counts.clock_ahead[batch.node] = ahead
        else:
            self.counts.clock_ahead.pop(batch.node, None)
