"""Finds the rows of a subject in every table, records their number, and deletes them for good.

The record is written first: if the deletion is cut off, doing it again finishes it, and the audit
accepts a record of more rows than are gone, never of fewer. The ledger keeps the intervals of seq,
which tell nothing about anybody.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from sinks.errors import QueryFileError
from sinks.ingest.intervals import IntervalSet
from sinks.ingest.tables import EVENT_TABLES
from sinks.store.asking import Asks
from sinks.store.client import quoted
from sinks.store.metrics import TABLES as BUCKET_TABLES
from sinks.store.settings import StoreSettings


class Writes(Asks, Protocol):
    """Who may delete; :class:`sinks.store.client.Client` is one, an endpoint's admin another."""

    def command(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a statement without a result."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what to forget."""

    kind: Literal["student", "pod", "path"]
    name: str
    """A student, a pod, or an absolute path (a folder means all below it)."""
    scope: str = ""
    """Of a student the course, of a pod the namespace; empty for every one."""

    def __post_init__(self) -> None:
        if not self.name or (self.kind == "path" and not self.name.strip("/")):
            raise QueryFileError(f"{self.name!r} names no {self.kind}; an erasure needs one")


@dataclass(frozen=True, slots=True)
class _Place:
    """Rows of one table that belong to the subject."""

    table: str
    kind: str
    """Kind of the events, empty for rows that no producer emitted."""
    condition: str


@dataclass(slots=True)
class BrokerRemains:
    """What the broker may still hold of it; whoever runs the erasure removes it there."""

    raw_messages: list[tuple[int, int, int]] = field(default_factory=list)
    """Partition, first and last sequence of messages in RAW with erased events in them (and
    perhaps others, which are stored)."""
    streams: tuple[str, ...] = ("EVENTS", "BUCKETS", "DEAD")
    """Streams to purge up to what the sinks have stored."""


@dataclass(slots=True)
class Erasure:
    """What was (or would be) erased."""

    request: str
    rows: dict[str, int] = field(default_factory=dict)
    """By table."""
    remains: BrokerRemains = field(default_factory=BrokerRemains)

    @property
    def total(self) -> int:
        """Rows in all tables."""
        return sum(self.rows.values())


_STUDENT: Final = "student = {name:String} AND ({scope:String} = '' OR course = {scope:String})"
_POD: Final = "pod = {name:String} AND ({scope:String} = '' OR namespace = {scope:String})"
_PATH: Final = "({column} = {{name:String}} OR startsWith({column}, {{folder:String}}))"


def preview(asks: Asks, subject: Subject, database: str = "tenwatch") -> Erasure:
    """Count what an erasure would take; changes nothing."""
    erasure = Erasure(secrets.token_hex(8))
    for place in _places(subject):
        for _ in _counts(asks, subject, place, database, erasure):
            pass
    return erasure


def forget(
    writes: Writes,
    subject: Subject,
    *,
    by: str,
    reason: str,
    settings: StoreSettings | None = None,
) -> Erasure:
    """Erase every row of the subject, and record it under ``by`` and ``reason``.

    Rows that are still on their way are not reached: stop or drain what produces them first, or
    repeat it once they have come.
    """
    settings = settings or StoreSettings(path="/")
    database = settings.database
    erasure = Erasure(secrets.token_hex(8))
    digest = _digest(subject)
    for place in _places(subject):
        counts = list(_counts(writes, subject, place, database, erasure))
        if not counts:
            continue
        for node, boot, rows in counts:
            writes.command(
                f"INSERT INTO {quoted(database)}.erasures (request, by, reason, subject_kind, "
                "subject_hash, table_name, kind, node, boot, rows) SELECT {request:String}, "
                "{by:String}, {reason:String}, {what:String}, {digest:String}, {table:String}, "
                "{kind:String}, {node:String}, {boot:String}, {rows:UInt64}",
                {
                    "request": erasure.request, "by": by, "reason": reason, "digest": digest,
                    "what": subject.kind, "table": place.table, "kind": place.kind, "node": node,
                    "boot": boot, "rows": rows,
                },
            )  # fmt: skip
        local = f"{place.table}_local" if settings.cluster else place.table
        on_cluster = f" ON CLUSTER {quoted(settings.cluster)}" if settings.cluster else ""
        writes.command(
            f"ALTER TABLE {quoted(database)}.{quoted(local)}{on_cluster} "
            f"DELETE WHERE {place.condition}",
            _parameters(subject),
            {"mutations_sync": 2},
        )
    return erasure


def _places(subject: Subject) -> list[_Place]:
    """Every table that can hold rows of the subject, and which rows those are."""
    if subject.kind == "path":
        path = _PATH.format(column="path")
        either = f"({path} OR {_PATH.format(column='old_path')})"
        return [
            _Place("file_events", "file", either),
            _Place("snapshot_events", "snapshot", path),
            _Place("dead_letters", "", "position(payload, {name:String}) > 0"),
        ]
    condition = _STUDENT if subject.kind == "student" else _POD
    field_ = "student" if subject.kind == "student" else "pod"
    events = [
        _Place(table, kind, condition)
        for kind, table in EVENT_TABLES.items()
        if kind not in ("progress", "loss")
    ]
    return [
        *events,
        _Place("process_live", "", condition),
        *(_Place(table, "", condition) for table in BUCKET_TABLES),
        _Place("dead_letters", "", f"JSONExtractString(payload, '{field_}') = {{name:String}}"),
    ]


def _counts(
    asks: Asks, subject: Subject, place: _Place, database: str, erasure: Erasure
) -> list[tuple[str, str, int]]:
    """Rows per node and boot; adds to the erasure's sums and to what remains at the broker."""
    table = f"{quoted(database)}.{quoted(place.table)}"
    boot = "''" if place.table in BUCKET_TABLES else "boot"
    parameters = _parameters(subject)
    counts = [
        (str(node), str(boot), int(rows))
        for node, boot, rows in asks.rows(
            f"SELECT node, {boot} AS life, count() FROM {table} WHERE {place.condition} "
            "GROUP BY node, life ORDER BY node, life",
            parameters,
        )
    ]
    if counts:
        erasure.rows[place.table] = sum(rows for _, _, rows in counts)
    if counts and place.kind:
        partitions: dict[int, IntervalSet] = {}
        for partition, offset in asks.rows(
            f"SELECT DISTINCT log_partition, log_offset FROM {table} WHERE {place.condition} "
            "ORDER BY log_partition, log_offset",
            parameters,
        ):
            partitions.setdefault(int(partition), IntervalSet()).add(int(offset), int(offset))
        erasure.remains.raw_messages += [
            (partition, first, last)
            for partition, offsets in partitions.items()
            for first, last in offsets
        ]
    return counts


def _parameters(subject: Subject) -> dict[str, str]:
    return {
        "name": subject.name.rstrip("/") if subject.kind == "path" else subject.name,
        "scope": subject.scope,
        "folder": subject.name.rstrip("/") + "/",
    }


def _digest(subject: Subject) -> str:
    salt = secrets.token_hex(8)
    text = f"{salt}\0{subject.kind}\0{subject.scope}\0{subject.name}"
    return f"{salt}${hashlib.sha256(text.encode()).hexdigest()}"
