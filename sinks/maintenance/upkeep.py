"""Joins the ledger, clears ended processes, and keeps the disk from filling up."""

import logging
from dataclasses import dataclass
from typing import Final

from sinks.store.client import Client, Store
from sinks.store.migrations import schema_template

_log = logging.getLogger("tenwatch.sink")
LEDGER_ROWS: Final = 20_000
"""Rows of a day of the ledger above which it is joined."""
GUARDED: Final = (
    "cgroup_samples",
    "buckets_10s",
    "process_events",
    "progress",
    "file_events",
    "hostpath_events",
    "snapshot_events",
)
"""Tables with a partition per day that the disk-space guard may drop the oldest day of."""


@dataclass(frozen=True, slots=True)
class DroppedDay:
    """One day of one table that went because the disk was filling up."""

    table: str
    day: str
    rows: int


def compact_ledger(store: Store, client: Client) -> int:
    """Join intervals that follow each other, day by day, and give the number of rows saved.

    Run it in the thread that writes: no row may come into a day while it is replaced. Each day is
    replaced at once, so a reader sees it joined or not, never twice. On a cluster it does nothing.
    """
    if store.settings.target == "cluster":
        return 0
    template = schema_template(store.settings)
    ledger, spare = template.local("ledger"), template.local("ledger_compacting")
    saved = 0
    for day, rows in client.rows(
        f"SELECT toString(toDate(inserted_at)) AS day, count() AS n FROM {ledger} "
        "GROUP BY day HAVING n > {rows:UInt64} ORDER BY day",
        {"rows": LEDGER_ROWS},
    ):
        client.command(f"TRUNCATE TABLE {spare}")
        client.command(
            f"INSERT INTO {spare} (kind, node, boot, first_seq, last_seq, stored, dead, "
            "batches, log_partition, first_log_offset, last_log_offset, first_ts, insert_id, "
            "inserted_at, recovered) "
            "SELECT kind, node, boot, min(b.first_seq), max(b.last_seq), sum(b.stored), "
            "sum(b.dead), sum(b.batches), any(b.log_partition), "
            "min(b.first_log_offset), max(b.last_log_offset), min(b.first_ts), "
            "max(b.insert_id), max(b.inserted_at), max(b.recovered) "
            "FROM (SELECT *, sum(apart) OVER (PARTITION BY kind, node, boot ORDER BY first_seq "
            "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island "
            "FROM (SELECT *, (first_seq != 1 + lagInFrame(last_seq, 1, first_seq) OVER before) "
            "OR (log_partition != lagInFrame(log_partition, 1, log_partition) OVER before) "
            f"AS apart FROM {ledger} WHERE toDate(inserted_at) = {{day:Date}} "
            "WINDOW before AS (PARTITION BY kind, node, boot ORDER BY first_seq "
            "ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))) AS b "
            "GROUP BY kind, node, boot, island",
            {"day": day},
        )
        check = (
            "SELECT sum(stored), sum(dead), sum(batches), "
            "sum(last_seq - first_seq + 1), max(insert_id) FROM "
        )
        before = client.rows(
            f"{check}{ledger} WHERE toDate(inserted_at) = {{day:Date}}", {"day": day}
        )
        if before != client.rows(f"{check}{spare}"):
            _log.error("the ledger of %s does not add up after joining; it is left as it was", day)
            continue
        joined = int(client.value(f"SELECT count() FROM {spare}"))
        if joined * 2 < rows:
            client.command(
                f"ALTER TABLE {ledger} REPLACE PARTITION ID '{day.replace('-', '')}' FROM {spare}"
            )
            saved += rows - joined
        client.command(f"TRUNCATE TABLE {spare}")
    return saved


def clear_ended_processes(store: Store, client: Client) -> None:
    """Take ended processes out of ``process_live``, then forget that they had ended.

    An exec that was stored after its exit (an old spool came late) is ended, too: its exit is
    among the last two days' events.
    """
    template = schema_template(store.settings)
    live, ended = template.local("process_live"), template.local("process_ended")
    client.command(
        f"ALTER TABLE {live}{template.on_cluster} DELETE WHERE "
        f"process_key IN (SELECT process_key FROM {ended}) OR process_key IN ("
        f"SELECT sipHash64(node, exec_id) FROM {template.local('process_events')} "
        "WHERE action = 'exit' AND NOT notebook AND ts > now() - toIntervalDay(2) "
        f"AND exec_id IN (SELECT exec_id FROM {live}))",
        settings={"mutations_sync": 2},
    )
    # The newest ten minutes stay: what ended while the deletion ran is among them.
    for (partition,) in client.rows(
        "SELECT DISTINCT partition_id FROM system.parts WHERE active AND "
        "database = {database:String} AND table = {table:String} "
        "AND max_time < now() - toIntervalMinute(10)",
        {
            "database": store.settings.database,
            "table": "process_ended_local" if store.settings.cluster else "process_ended",
        },
    ):
        client.command(f"ALTER TABLE {ended}{template.on_cluster} DROP PARTITION ID '{partition}'")


def guard_disk(store: Store, client: Client) -> list[DroppedDay]:
    """Drop the oldest days while the disk of the embedded store is too full.

    Gives what was dropped; the caller reports it as a loss.
    """
    settings = store.settings
    if settings.target != "embedded":
        return []
    template = schema_template(settings)
    dropped: list[DroppedDay] = []
    while True:
        free = int(client.value("SELECT min(free_space) FROM system.disks"))
        if free >= settings.minimum_free_megabytes << 20:
            return dropped
        oldest = client.rows(
            "SELECT table, partition_id, sum(rows), min(partition) FROM system.parts "
            "WHERE active AND database = {database:String} AND table IN {tables:Array(String)} "
            "AND toDateOrZero(partition) < today() - {days:UInt32} + 1 "
            "GROUP BY table, partition_id ORDER BY min(partition), sum(bytes_on_disk) DESC LIMIT 1",
            {
                "database": settings.database,
                "tables": list(GUARDED),
                "days": settings.minimum_kept_days,
            },
        )
        if not oldest:
            _log.error(
                "%d MiB are free at the store and there is no day left to drop; "
                "give it a larger disk or a shorter retention", free >> 20
            )  # fmt: skip
            return dropped
        table, partition, rows, day = oldest[0]
        client.command(f"ALTER TABLE {template.local(str(table))} DROP PARTITION ID '{partition}'")
        _log.warning("the disk is full: dropped %s of %s (%d rows)", day, table, rows)
        dropped.append(DroppedDay(str(table), str(day), int(rows)))
