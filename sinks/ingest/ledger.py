"""The ledger: what was stored, by intervals of seq. It dedupes, and the audit reads it."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from sinks.ingest.intervals import IntervalSet
from sinks.store.client import Client, quoted

BOOTS_IN_MEMORY: Final = 50_000
"""Boots whose intervals are kept; an evicted one is read from the ledger when it speaks again."""

Boot = tuple[str, str, str]
"""Kind, node, and the id of the boot."""


class LedgerRow(Struct, kw_only=True, omit_defaults=True):
    """One interval of one boot that is accounted for; see the comments of the table ``ledger``."""

    kind: str
    node: str
    boot: str
    first_seq: int
    last_seq: int
    stored: int
    dead: int = 0
    batches: int = 1
    log_partition: int = 0
    first_log_offset: int = 0
    last_log_offset: int = 0
    first_ts: str = ""
    insert_id: int = 0
    recovered: bool = False

    def extend(self, other: "LedgerRow") -> bool:
        """Take in the row that follows this one without a gap; False if it does not."""
        if (
            other.first_seq != self.last_seq + 1
            or (other.kind, other.node, other.boot) != (self.kind, self.node, self.boot)
            or other.log_partition != self.log_partition
        ):
            return False
        self.last_seq = other.last_seq
        self.stored += other.stored
        self.dead += other.dead
        self.batches += other.batches
        self.last_log_offset = max(self.last_log_offset, other.last_log_offset)
        self.insert_id = max(self.insert_id, other.insert_id)
        return True


_encode = msgspec.json.Encoder().encode_lines


def encode_rows(rows: Iterable[LedgerRow]) -> bytes:
    """NDJSON of the rows, those that follow each other without a gap as one."""
    joined: list[LedgerRow] = []
    for row in sorted(rows, key=lambda row: (row.kind, row.node, row.boot, row.first_seq)):
        if not joined or not joined[-1].extend(row):
            joined.append(msgspec.structs.replace(row))
    return _encode(joined)


class Ledger:
    """The intervals of each boot: in memory for those that speak, in the table for all."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._table = f"{quoted(database)}.ledger"
        self._boots: OrderedDict[Boot, IntervalSet] = OrderedDict()

    def load(self, boots: Iterable[Boot]) -> None:
        """Read the intervals of the boots that memory doesn't hold; one query for all."""
        unknown = sorted({boot for boot in boots if boot not in self._boots})
        if not unknown:
            return
        sets = {boot: IntervalSet() for boot in unknown}
        for kind, node, boot, first, last in self._client.rows(
            f"SELECT kind, node, boot, first_seq, last_seq FROM {self._table} "
            "WHERE kind IN {kinds:Array(String)} AND node IN {nodes:Array(String)} "
            "AND boot IN {boots:Array(String)} ORDER BY kind, node, boot, first_seq",
            {
                "kinds": sorted({kind for kind, _, _ in unknown}),
                "nodes": sorted({node for _, node, _ in unknown}),
                "boots": sorted({boot for _, _, boot in unknown}),
            },
        ):
            found = sets.get((str(kind), str(node), str(boot)))
            if found is not None:
                found.add(int(first), int(last))
        for key, found in sets.items():
            self._boots[key] = found

    def seen(self, boot: Boot) -> IntervalSet:
        """The intervals of a loaded boot."""
        self._boots.move_to_end(boot)
        return self._boots[boot]

    def trim(self) -> None:
        """Forget the boots that have been silent longest, down to the bound."""
        while len(self._boots) > BOOTS_IN_MEMORY:
            self._boots.popitem(last=False)

    def insert(self, rows: list[LedgerRow], insert_id: int) -> None:
        """Write rows; a repeat with the same ``insert_id`` and rows changes nothing."""
        if rows:
            self._client.insert_lines(
                "ledger",
                encode_rows(rows),
                insert_id=insert_id,
                token=f"ledger-{insert_id}",
            )
