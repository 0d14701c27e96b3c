"""Balances what producers announced against the ledger, the dead letters and the losses.

It reads the ledger, not the events: one row per second and boot, and far fewer once a day is
joined. ``AuditOptions.rows`` counts the rows of the tables themselves, too.
"""

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from sinks.audit.report import AuditReport, BootAudit, Gap, Repeat
from sinks.ingest.intervals import IntervalSet
from sinks.ingest.tables import EVENT_TABLES
from sinks.store.asking import Asks
from sinks.store.client import quoted

Key = tuple[str, str, str]
"""Kind, node, boot."""
UNCOUNTED: Final = "('too_late', 'too_many_windows')"
"""Reasons of letters about events that are stored all the same, and only in no bucket."""
SNAPSHOT_TRIES: Final = 5
LISTED: Final = 10_000
"""Gaps and repeats that are listed at most; all are counted."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What to audit."""

    database: str = "tenwatch"
    node: str = ""
    """Only this node; empty for every one."""
    kind: str = ""
    """Only this kind of events; empty for every one."""
    grace_seconds: int = 60
    """What a producer announced this short a while ago may still be on its way."""
    rows: bool = False
    """Count the rows of the tables, too; it reads two columns of every event."""


def run_audit(asks: Asks, options: AuditOptions | None = None) -> AuditReport:
    """The account of every boot that the store knows of."""
    started = time.monotonic()
    audit = _Audit(asks, options or AuditOptions())
    audit.read()
    report = audit.report()
    report.seconds = time.monotonic() - started
    return report


class _Audit:
    def __init__(self, asks: Asks, options: AuditOptions) -> None:
        self._asks = asks
        self._options = options
        self._database = quoted(options.database)
        self._boots: dict[Key, BootAudit] = {}
        self._gaps: dict[Key, list[Gap]] = defaultdict(list)
        self._repeats: list[Repeat] = []
        self._lost: dict[Key, IntervalSet] = defaultdict(IntervalSet)
        self._dead: dict[Key, IntervalSet] = defaultdict(IntervalSet)
        self._dead_messages: dict[tuple[str, str], int] = {}
        """Events in messages that were refused as a whole, by kind and boot: their seqs are in
        headers that nobody trusts."""
        self._fresh: set[Key] = set()
        self._booked: dict[str, int] = {}
        self._ends: dict[Key, tuple[int, int, int]] = {}
        self._filter = (
            "({node:String} = '' OR node = {node:String}) "
            "AND ({kind:String} = '' OR kind = {kind:String})"
        )
        self._parameters = {"node": options.node, "kind": options.kind}

    def _boot(self, kind: object, node: object, boot: object) -> BootAudit:
        key = (str(kind), str(node), str(boot))
        if key not in self._boots:
            self._boots[key] = BootAudit(*key)
        return self._boots[key]

    def read(self) -> None:
        """Ask for everything, each once."""
        for _ in range(SNAPSHOT_TRIES):
            # The sink goes on booking. What was read while nothing was booked fits together.
            self._booked = self._highest_inserts()
            self._boots.clear()
            self._gaps.clear()
            self._repeats.clear()
            self._read_ledger()
            self._read_breaks()
            if self._booked == self._highest_inserts():
                break
        self._read_progress()
        self._read_losses()
        self._read_dead_letters()
        if self._options.rows:
            self._read_rows()

    def _highest_inserts(self) -> dict[str, int]:
        return {
            str(kind): int(highest)
            for kind, highest in self._asks.rows(
                f"SELECT kind, max(insert_id) FROM {self._database}.ledger GROUP BY kind"
            )
        }

    def _read_ledger(self) -> None:
        for kind, node, boot, stored, dead, last, partition, offset in self._asks.rows(
            "SELECT kind, node, boot, sum(stored), sum(dead), max(last_seq) AS last, "
            "argMax(log_partition, last_seq), argMax(last_log_offset, last_seq) "
            f"FROM {self._database}.ledger WHERE {self._filter} GROUP BY kind, node, boot",
            self._parameters,
        ):
            found = self._boot(kind, node, boot)
            found.stored, found.dead = int(stored), int(dead)
            found.emitted = int(last) + 1
            key = (found.kind, found.node, found.boot)
            self._ends[key] = (int(last), int(partition), int(offset))

    def _read_breaks(self) -> None:
        """Where an interval doesn't begin right after what came before it."""
        for row in self._asks.rows(
            "SELECT kind, node, boot, first_seq, last_seq, reached, log_partition, "
            "first_log_offset, offset_before FROM (SELECT *, "
            "max(toInt64(last_seq)) OVER earlier AS highest, "
            "row_number() OVER (PARTITION BY kind, node, boot ORDER BY first_seq, last_seq) = 1 "
            "AS first_row, if(first_row, -1, highest) AS reached, "
            "max(last_log_offset) OVER earlier AS offset_before "
            f"FROM {self._database}.ledger WHERE {self._filter} "
            "WINDOW earlier AS (PARTITION BY kind, node, boot ORDER BY first_seq, last_seq "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) "
            "WHERE toInt64(first_seq) != reached + 1 "
            "ORDER BY kind, node, boot, first_seq",
            self._parameters,
        ):
            kind, node, boot = (str(each) for each in row[:3])
            first, last, reached, partition, offset, offset_before = (int(x) for x in row[3:])
            if first > reached + 1:
                self._gaps[kind, node, boot].append(
                    Gap(
                        kind, node, boot, reached + 1, first - 1,
                        offset_before if reached >= 0 else None, offset, partition, "",
                    )
                )  # fmt: skip
            else:
                repeat = Repeat(kind, node, boot, first, min(last, reached), partition, offset)
                self._boot(kind, node, boot).repeated += repeat.count
                self._repeats.append(repeat)

    def _read_progress(self) -> None:
        own = self._filter.replace("kind = {kind", "producer = {kind")
        for row in self._asks.rows(
            "SELECT producer, node, boot, next_seq, seen, filtered, emitted, lost, "
            "dateDiff('second', ts, now64(6, 'UTC')) AS age "
            f"FROM {self._database}.progress_newest FINAL WHERE {own}",
            self._parameters,
        ):
            found = self._boot(*row[:3])
            announced, seen, filtered, emitted, lost, age = (int(each) for each in row[3:])
            found.announced = True
            found.emitted = max(found.emitted, announced)
            found.seen, found.filtered, found.lost_at_source = seen, filtered, lost
            if age < self._options.grace_seconds:
                self._fresh.add((found.kind, found.node, found.boot))
            if seen != filtered + emitted + lost:
                found.problems.append(
                    f"the producer saw {seen} and accounts for {filtered} filtered + {emitted} "
                    f"emitted + {lost} lost"
                )

    def _read_losses(self) -> None:
        for kind, node, boot, first, last, count in self._asks.rows(
            "SELECT kind, node, boot, first_seq, last_seq, count "
            f"FROM {self._database}.loss WHERE {self._filter}",
            self._parameters,
        ):
            key = (str(kind), str(node), str(boot))
            if first is not None and last is not None:
                self._lost[key].add(int(first), int(last))
            elif key in self._boots:
                if count is None:
                    self._boots[key].unknown_losses += 1
                else:
                    self._boots[key].reported_lost_at_source += int(count)

    def _read_dead_letters(self) -> None:
        for kind, node, boot, first, last in self._asks.rows(
            "SELECT kind, node, boot, seq, seq + count - 1 "
            f"FROM {self._database}.dead WHERE boot != '' AND seq IS NOT NULL "
            f"AND reason NOT IN {UNCOUNTED} AND {self._filter}",
            self._parameters,
        ):
            self._dead[str(kind), str(node), str(boot)].add(int(first), int(last))
        for kind, boot, count in self._asks.rows(
            f"SELECT kind, boot, sum(count) FROM {self._database}.dead "
            "WHERE boot != '' AND seq IS NULL AND ({kind:String} = '' OR kind = {kind:String}) "
            "GROUP BY kind, boot",
            self._parameters,
        ):
            self._dead_messages[str(kind), str(boot)] = int(count)

    def _read_rows(self) -> None:
        for kind, table in EVENT_TABLES.items():
            if self._options.kind not in ("", kind):
                continue
            for node, boot, rows, distinct in self._asks.rows(
                f"SELECT node, boot, count(), groupBitmap(seq) FROM {self._database}."
                f"{quoted(table)} WHERE boot != '' AND insert_id <= {{booked:UInt64}} "
                "AND ({node:String} = '' OR node = {node:String}) GROUP BY node, boot",
                {"node": self._options.node, "booked": self._booked.get(kind, 0)},
            ):
                found = self._boot(kind, node, boot)
                found.rows = int(rows)
                if int(rows) != int(distinct):
                    found.problems.append(f"{int(rows) - int(distinct)} rows are there twice")
        erased = {
            (str(kind), str(node), str(boot)): int(rows)
            for kind, node, boot, rows in self._asks.rows(
                f"SELECT kind, node, boot, sum(rows) FROM {self._database}.erasures "
                f"WHERE {self._filter} GROUP BY kind, node, boot",
                self._parameters,
            )
        }
        whole = self._kept_whole()
        for key, found in self._boots.items():
            if found.rows and key not in self._ends:
                found.problems.append(f"{found.rows} rows are in the table, not in the ledger")
            if key not in whole:
                continue
            rows, gone = found.rows or 0, erased.get(key, 0)
            # An erasure is recorded before it is done: a record may name too many rows.
            if rows > found.stored or rows + gone < found.stored:
                erasures = f" and {gone} erased" if gone else ""
                found.problems.append(
                    f"the ledger says that {found.stored} are stored and the table has "
                    f"{rows}{erasures}"
                )

    def _kept_whole(self) -> set[Key]:
        """The boots whose first event is younger than the oldest row of its table: none of its
        rows can have gone by retention or for lack of space."""
        oldest = {
            kind: self._asks.rows(
                f"SELECT toUnixTimestamp64Micro(min(ts)) FROM {self._database}.{quoted(table)}"
            )
            for kind, table in EVENT_TABLES.items()
        }
        return {
            (str(kind), str(node), str(boot))
            for kind, node, boot, first in self._asks.rows(
                "SELECT kind, node, boot, toUnixTimestamp64Micro(min(first_ts)) "
                f"FROM {self._database}.ledger WHERE {self._filter} GROUP BY kind, node, boot",
                self._parameters,
            )
            if str(kind) in oldest and int(first) >= int(oldest[str(kind)][0][0])
        }

    def report(self) -> AuditReport:
        """Explain every gap, and say what is left."""
        report = AuditReport(repeats=self._repeats[:LISTED])
        for key in sorted(self._boots):
            found = self._boots[key]
            gaps = self._gaps.get(key, [])
            self._close(key, found, gaps)
            open_gaps = [
                _placed(gap, first, last)
                for gap in gaps
                for first, last in self._unexplained(key, found, gap)
            ]
            missing = sum(gap.count for gap in open_gaps)
            if missing <= self._dead_messages.get((found.kind, found.boot), 0):
                found.dead += missing
            else:
                found.missing = missing
                report.gaps += open_gaps[: LISTED - len(report.gaps)]
            if found.missing:
                found.problems.append(f"{found.missing} are missing")
            if found.repeated:
                found.problems.append(f"{found.repeated} are accounted for twice")
            if found.reported_lost_at_source < found.lost_at_source and not (
                found.unknown_losses or key in self._fresh
            ):
                found.problems.append(
                    f"the producer lost {found.lost_at_source} at the source and loss records "
                    f"explain {found.reported_lost_at_source}"
                )
            report.boots.append(found)
        return report

    def _close(self, key: Key, found: BootAudit, gaps: list[Gap]) -> None:
        """What was announced and lies after the last stored one: on its way, or a gap."""
        last, partition, offset = self._ends.get(key, (-1, 0, 0))
        if found.emitted <= last + 1:
            return
        if key in self._fresh:
            found.in_flight = found.emitted - last - 1
            return
        after = offset if last >= 0 else None
        gaps.append(Gap(*key, last + 1, found.emitted - 1, after, None, partition, ""))

    def _unexplained(self, key: Key, found: BootAudit, gap: Gap) -> list[tuple[int, int]]:
        left = []
        for first, last in self._dead[key].missing(gap.first_seq, gap.last_seq):
            left += self._lost[key].missing(first, last)
        found.dead += gap.count - _length(self._dead[key].missing(gap.first_seq, gap.last_seq))
        not_dead = _length(self._dead[key].missing(gap.first_seq, gap.last_seq))
        found.lost += not_dead - _length(left)
        return left


def _length(intervals: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in intervals)


def _placed(gap: Gap, first: int, last: int) -> Gap:
    """A gap, or a part of it, with words for where it can have happened."""
    if gap.before_offset is None:
        place = (
            "after the last stored event: still in a spool, or lost before it was stored"
            if gap.after_offset is not None
            else "the whole boot: announced, and nothing of it was stored"
        )
    elif gap.after_offset is None:
        place = f"before the first stored event, ahead of message {gap.before_offset} of RAW"
    else:
        place = f"between messages {gap.after_offset} and {gap.before_offset} of RAW"
    return Gap(
        gap.kind, gap.node, gap.boot, first, last,
        gap.after_offset, gap.before_offset, gap.log_partition, place,
    )  # fmt: skip
