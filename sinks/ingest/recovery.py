"""What a sink does first: book the rows that an earlier one had stored when it died.

Every row carries the number of its insert, and the ledger names the highest that is booked. Rows
above it were stored and neither booked nor acknowledged. Once booked, the messages that come again
are known repeats.
"""

import logging
from collections.abc import Sequence

from sinks.ingest.ledger import LedgerRow, encode_rows
from sinks.ingest.tables.definition import SinkTable
from sinks.store.client import Client, Store, quoted
from stream.contract.timestamps import format_timestamp

_log = logging.getLogger("tenwatch.sink")


def recover(store: Store, tables: Sequence[SinkTable]) -> tuple[int, int]:
    """Book what isn't; gives the number of rows found, and the highest insert number in use.

    May be repeated: what it books is above the ledger only the first time.
    """
    client, database = store.writer, store.database
    booked = {
        str(kind): int(highest)
        for kind, highest in client.rows(
            f"SELECT kind, max(insert_id) FROM {database}.ledger GROUP BY kind"
        )
    }
    last_id = max(booked.values(), default=0)
    rows: list[LedgerRow] = []
    for table in tables:
        if not table.identified:
            continue
        floor = booked.get(table.name, 0)
        found = _orphans(client, database, table, floor)
        highest = client.value(
            f"SELECT max(insert_id) FROM {database}.{quoted(table.table)} "
            "WHERE insert_id > {floor:UInt64}",
            {"floor": floor},
        )
        last_id = max(last_id, int(highest or 0))
        if found:
            for feed in table.feeds:
                _feed_again(client, store.settings.database, feed, floor)
        rows += found
    count = sum(row.stored for row in rows)
    if rows:
        last_id += 1
        client.insert_lines(
            "ledger", encode_rows(rows), insert_id=last_id, token=f"recovery-{last_id}"
        )
        _log.info("booked %d rows that an earlier sink had stored when it died", count)
    return count, last_id


def _orphans(client: Client, database: str, table: SinkTable, floor: int) -> list[LedgerRow]:
    """The rows above the floor, as intervals of seq without a gap."""
    found = client.rows(
        "SELECT node, boot, min(seq), max(seq), count(), any(log_partition), min(log_offset), "
        "max(log_offset), uniqExact(log_offset), toUnixTimestamp64Micro(min(ts)), max(insert_id) "
        "FROM (SELECT node, boot, seq, log_partition, log_offset, ts, insert_id, "
        "toInt64(seq) - row_number() OVER (PARTITION BY node, boot ORDER BY seq) AS island "
        f"FROM {database}.{quoted(table.table)} WHERE insert_id > {{floor:UInt64}} AND boot != '') "
        "GROUP BY node, boot, island ORDER BY node, boot, min(seq)",
        {"floor": floor},
    )
    return [
        LedgerRow(
            kind=table.name,
            node=str(node),
            boot=str(boot),
            first_seq=int(first),
            last_seq=int(last),
            stored=int(count),
            batches=int(batches),
            log_partition=int(partition),
            first_log_offset=int(low),
            last_log_offset=int(high),
            first_ts=format_timestamp(int(first_ts)),
            insert_id=int(insert_id),
            recovered=True,
        )
        for node, boot, first, last, count, partition, low, high, batches, first_ts, insert_id
        in found
    ]  # fmt: skip


def _feed_again(client: Client, database: str, view: str, floor: int) -> None:
    """Copy the rows above the floor through a materialized view; its target replaces repeats."""
    found = client.rows(
        "SELECT as_select, extract(create_table_query, ' TO (\\\\S+)') FROM system.tables "
        "WHERE database = {database:String} AND name = {view:String}",
        {"database": database, "view": view},
    )
    for select, target in found:
        columns = ", ".join(
            quoted(str(name)) for name, *_ in client.rows(f"DESCRIBE TABLE ({select})")
        )
        client.command(
            f"INSERT INTO {target} ({columns}) SELECT {columns} FROM ({select}) "
            f"WHERE insert_id > {floor:d}"
        )
