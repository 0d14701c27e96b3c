"""A program that serves a store of test data, as the sink does: one process, one chDB folder.

``python -m tests.sinks.sql_endpoint.serving <JSON>``; prints its URL, then a line for every line
that it reads: ``stop`` ends it, ``insert <n>`` writes n rows by the writer's own connection and
prints how many seconds that took, ``memory`` prints its memory in KiB, ``counters`` its counters.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

from sinks.sql_endpoint import (
    ChdbReaders,
    EndpointSettings,
    QueryLimits,
    Role,
    SqlEndpoint,
    TrafficLimits,
    User,
)

DATABASE = "CREATE DATABASE IF NOT EXISTS tenwatch"
TABLES = """
CREATE TABLE IF NOT EXISTS tenwatch.process_events (
    ts DateTime64(6, 'UTC'), node LowCardinality(String), pid UInt32, comm String,
    exit_code Nullable(Int32), argv Array(String)
) ENGINE = MergeTree ORDER BY ts;
CREATE TABLE IF NOT EXISTS tenwatch.snapshot_events (path String, content String)
    ENGINE = MergeTree ORDER BY path;
CREATE VIEW IF NOT EXISTS tenwatch.processes AS SELECT * FROM tenwatch.process_events;
CREATE VIEW IF NOT EXISTS tenwatch.snapshots AS SELECT * FROM tenwatch.snapshot_events;
CREATE TABLE IF NOT EXISTS default.other (secret String) ENGINE = MergeTree ORDER BY secret;
INSERT INTO tenwatch.process_events SELECT
    toDateTime64('2026-01-01 00:00:00', 6, 'UTC') + number, 'node-' || toString(number % 3),
    number, if(number % 2 = 0, 'gcc', 'python'), if(number % 5 = 0, NULL, number % 3),
    ['a b', toString(number)] FROM numbers(1000);
INSERT INTO tenwatch.snapshot_events VALUES ('/home/a.py', 'private');
INSERT INTO default.other VALUES ('in another database');
"""


async def main(options: dict[str, Any]) -> None:
    from chdb import _chdb

    folder = Path(options["folder"]).resolve()
    writer = _chdb.connect(str(folder))
    writer.query(DATABASE)
    for statement in TABLES.split(";\n") if options.get("tables", True) else ():
        if statement.strip():
            writer.query(statement)
    tls = {name: Path(options[name]) for name in ("certificate", "private_key") if name in options}
    endpoint = SqlEndpoint(
        ChdbReaders(folder),
        [
            User("reader", "reader-password"),
            User("admin", "admin-password", Role.ADMIN),
            User(
                "student",
                "student-password",
                hidden_tables=frozenset({"snapshots", "snapshot_events"}),
            ),
        ],
        EndpointSettings(
            port=0,
            query=QueryLimits(**options.get("query", {})),
            traffic=TrafficLimits(**options.get("traffic", {})),
            **tls,
        ),
    )
    await endpoint.start()
    print(json.dumps({"url": endpoint.url}), flush=True)
    loop = asyncio.get_running_loop()
    while True:
        words = (await loop.run_in_executor(None, sys.stdin.readline)).split()
        if not words or words[0] == "stop":
            break
        if words[0] == "insert":
            begin = time.monotonic()
            await loop.run_in_executor(None, insert, writer, int(words[1]))
            print(time.monotonic() - begin, flush=True)
        elif words[0] == "memory":
            status = Path("/proc/self/status").read_text()
            print(status.split("VmRSS:")[1].split()[0], flush=True)
        elif words[0] == "counters":
            print(json.dumps(endpoint.counters()), flush=True)
    await endpoint.stop()
    writer.close()


def insert(writer: Any, rows: int) -> None:
    lines = b'{"ts":"2026-01-02 00:00:00","node":"n","pid":1,"comm":"late"}\n' * rows
    handle = writer.send_insert("INSERT INTO tenwatch.process_events", "JSONEachRow")
    writer.insert_append(handle, lines)
    writer.insert_done(handle)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    asyncio.run(main(json.loads(sys.argv[1])))
