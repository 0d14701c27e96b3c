"""The messages of one insert: deduplicated against the ledger, and booked in it afterwards."""

from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from sinks.errors import StoreError
from sinks.ingest.intervals import IntervalSet
from sinks.ingest.ledger import Boot, Ledger, LedgerRow
from sinks.ingest.message import Held, first_time, lines_of, log_position
from sinks.ingest.tables.definition import SinkTable
from stream.contract.batch import BatchIdentity
from stream.contract.dead import DeadLetter, dead_letter_now


class Stage(IntEnum):
    """How far a group is. Every step may be repeated."""

    GATHERED = 0
    PREPARED = 1
    STORED = 2
    """Its rows are in the table; what was refused is a list of dead letters."""
    REPORTED = 3
    """The broker has the dead letters."""
    BOOKED = 4
    """The ledger has it; now it may be acknowledged."""


@dataclass(slots=True)
class Part:
    """The lines of one message that are to be stored, in one list with those of the others."""

    held: Held
    first_line: int
    count: int
    seqs: list[int] | None
    """The seq of each line; None for rows without an identity."""
    rows: list[LedgerRow]
    """What the ledger will say of it, before refusals by the store are taken off."""


@dataclass(slots=True)
class Work:
    """Lines that still have to be inserted, under a number that stays when it is tried again."""

    insert_id: int
    lines: list[tuple[int, bytes]]
    """With their place in the group, from 0."""


@dataclass(slots=True, eq=False)
class Group:
    """What goes into a table in one insert."""

    table: SinkTable
    held: list[Held]
    stage: Stage = Stage.GATHERED
    payload: list[bytes] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    lines: int = 0
    work: list[Work] = field(default_factory=list)
    """What is left after a refusal; the last is tried first."""
    hints: int = 0
    """Bad lines that the store named so far."""
    repeated: int = 0
    """Lines that were stored before."""
    dead: list[DeadLetter] = field(default_factory=list)
    insert_id: int = 0
    inserts: int = 0
    error: StoreError | None = None
    attempts: int = 0
    gathered: float = 0.0
    """When, on the clock of the intake."""

    def boots(self) -> set[Boot]:
        """The boots whose intervals must be known before it can be prepared."""
        return {boot_of(each.identity) for each in self.held if each.identity is not None}

    def prepare(self, ledger: Ledger) -> None:
        """Choose the lines that were not stored before; the ledger's memory takes them as seen.

        They count as seen from here on, though not stored yet: a group is never given up, and a
        repeat that is acknowledged meanwhile leaves the first message at the broker.
        """
        for held in self.held:
            if held.wrong is not None:
                self.dead.append(_refused_whole(self.table, held))
            elif held.identity is None:
                self._take(held, held.data, None, [])
            else:
                self._prepare_batch(held, held.identity, ledger)
        self.stage = Stage.PREPARED

    def _prepare_batch(self, held: Held, identity: BatchIdentity, ledger: Ledger) -> None:
        seen = ledger.seen(boot_of(identity))
        whole = [(identity.first_seq, identity.last_seq)]
        if held.lines == identity.count and seen.missing(*whole[0]) == whole:
            seqs: list[int] = list(range(identity.first_seq, identity.last_seq + 1))
            self._take(held, held.data, seqs, whole)
            seen.add(*whole[0])
            return
        # Some are known, or a worker took some out: each line counts for itself.
        lines = []
        fresh = IntervalSet()
        seqs = []
        for number, line in enumerate(lines_of(held.data)):
            full = held.lines == identity.count
            seq = identity.first_seq + number if full else _seq_of(line)
            if seq is None:
                self.dead.append(_refused_line(held, identity, line))
            elif seq in seen or seq in fresh:
                self.repeated += 1
            else:
                fresh.add(seq, seq)
                lines.append(line)
                seqs.append(seq)
        if lines:
            self._take(held, b"".join(lines), seqs, list(fresh))
        for first, last in fresh:
            seen.add(first, last)

    def _take(
        self,
        held: Held,
        data: bytes,
        seqs: list[int] | None,
        intervals: list[tuple[int, int]],
    ) -> None:
        count = len(seqs) if seqs is not None else held.lines
        rows = [
            _ledger_row(held.identity, first, last, data)
            for first, last in intervals
            if held.identity is not None
        ]
        for row in rows[1:]:
            row.batches = 0
        self.parts.append(Part(held, self.lines, count, seqs, rows))
        self.payload.append(data)
        self.lines += count

    def refuse(self, line_number: int, line: bytes, reason: str, detail: str) -> None:
        """Make a dead letter of a line that the store refuses; lines count from 0."""
        part = next(
            each
            for each in self.parts
            if each.first_line <= line_number < each.first_line + each.count
        )
        letter = dead_letter_now("sink", self.table.name, reason, detail, line)
        letter.subject = part.held.delivery.subject
        identity = part.held.identity
        if identity is not None:
            letter.kind = identity.kind
            letter.node, letter.boot = identity.node, identity.boot
            letter.log_partition, letter.log_offset = log_position(line)
            if part.seqs is not None:
                letter.seq = part.seqs[line_number - part.first_line]
            for row in part.rows:
                if letter.seq is not None and row.first_seq <= letter.seq <= row.last_seq:
                    row.stored -= 1
                    row.dead += 1
        self.dead.append(letter)

    def ledger_rows(self) -> list[LedgerRow]:
        """What the ledger shall say of it."""
        rows = [row for part in self.parts for row in part.rows]
        for row in rows:
            row.insert_id = self.insert_id
        return rows


def boot_of(identity: BatchIdentity) -> Boot:
    """The key of a batch's boot."""
    return identity.kind, identity.node, identity.boot


def _ledger_row(identity: BatchIdentity, first: int, last: int, data: bytes) -> LedgerRow:
    partition, offset = log_position(data[: data.find(b"\n") + 1])
    return LedgerRow(
        kind=identity.kind,
        node=identity.node,
        boot=identity.boot,
        first_seq=first,
        last_seq=last,
        stored=last - first + 1,
        log_partition=partition,
        first_log_offset=offset,
        last_log_offset=offset,
        first_ts=first_time(data),
    )


class _Sequenced(msgspec.Struct):
    seq: int


_decode_seq = msgspec.json.Decoder(_Sequenced).decode


def _seq_of(line: bytes) -> int | None:
    try:
        return _decode_seq(line).seq
    except msgspec.DecodeError:
        return None


def _refused_line(held: Held, identity: BatchIdentity, line: bytes) -> DeadLetter:
    letter = dead_letter_now("sink", identity.kind, "bad_line", "the line has no seq", line)
    letter.subject = held.delivery.subject
    letter.node, letter.boot = identity.node, identity.boot
    letter.log_partition, letter.log_offset = log_position(line)
    return letter


def _refused_whole(table: SinkTable, held: Held) -> DeadLetter:
    delivery = held.delivery
    letter = dead_letter_now("sink", table.name, "bad_batch", str(held.wrong), delivery.data)
    letter.subject = delivery.subject
    letter.count = max(held.lines, 1)
    # Nothing else names it: the place in the stream keeps a repeat from counting twice.
    letter.log_offset = delivery.stream_seq
    return letter
