"""What storing costs, beside decoding each line first; and how long the named queries take.

Part one puts the same batches of 10,000 events into each table: as the sink does (the bytes go
through to the engine), and decoded in Python, then inserted by column. Part two fills a day with
``--rows`` rows and asks every named query. Run it from the checkout's root:

    scripts/bench sink [--inserts 20] [--rows 20000000] [--asks 20]
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from sinks.ingest.group import Group, Stage  # noqa: E402
from sinks.ingest.message import hold  # noqa: E402
from sinks.ingest.tables import SINK_TABLES  # noqa: E402
from sinks.ingest.writer import Writer  # noqa: E402
from sinks.maintenance.rollups import MINUTE, roll_up  # noqa: E402
from sinks.maintenance.upkeep import clear_ended_processes  # noqa: E402
from sinks.queries import named_queries  # noqa: E402
from sinks.store.client import Store, columns_of  # noqa: E402
from sinks.store.migrations import apply_schema  # noqa: E402
from sinks.store.settings import StoreSettings  # noqa: E402
from stream.broker.subscription import Delivery  # noqa: E402
from tests.support.enriched import Producer  # noqa: E402

LINES = 250
BATCHES = 40
"""Messages of one insert: 40 of 250 lines are 10,000 rows."""


def process(seq: int) -> dict[str, Any]:
    return {
        "action": "exit", "pid": 1000 + seq % 30000, "ppid": 1, "uid": 1000,
        "exec_id": f"3f2a{seq:012x}", "parent_exec_id": f"3f2a{seq // 9:012x}", "comm": "cc1",
        "exe": f"/usr/lib/gcc/cc{seq % 7}", "cwd": f"/workspace/os-1-{seq % 40}/hw{seq % 5}",
        "argv": ["cc1", "-quiet", f"main{seq % 50}.c", "-o", f"/tmp/cc{seq:08x}.s"],
        "hostname": f"web-{seq % 40}", "cgroup": f"/kubepods/burstable/pod{seq % 40}/c{seq % 60}",
        "start_ts": "2026-11-20T08:00:00.000000Z", "duration_us": seq * 37 % 90_000,
        "class": "compiler", "purpose": "build",
        "sources": [f"main{seq % 50}.c"], "student": f"s{seq % 40}", "course": "os",
        "assignment": f"hw{seq % 5}", "container_id": f"{seq % 60:064x}",
    } | {"exit_code": int(seq % 11 == 0)}  # fmt: skip


def file(seq: int) -> dict[str, Any]:
    return {
        "action": "modified", "path": f"/workspace/os-1-{seq % 40}/hw{seq % 5}/src/f{seq % 300}.c",
        "size": seq * 7 % 40_000, "mtime": "2026-11-20T08:00:00.000000Z", "lines": seq % 900,
        "hash": f"blake2b:{seq * 2654435761 % 2**64:032x}", "writer_pid": 1000 + seq % 30000,
        "writer_exec_id": f"3f2a{seq:012x}", "student": f"s{seq % 40}", "course": "os",
        "assignment": f"hw{seq % 5}",
    }  # fmt: skip


def cgroup(seq: int) -> dict[str, Any]:
    return {
        "scope": "pod", "cgroup": f"/kubepods/burstable/pod{seq % 110}", "pod_uid": f"{seq % 110}",
        "cpu_usage_us": seq * 1003, "cpu_user_us": seq * 700, "cpu_system_us": seq * 303,
        "memory_bytes": 1 << 20 | seq * 4096 % 2**30, "memory_working_set_bytes": seq * 4096,
        "io_read_bytes": seq // 9 * 4096, "io_write_bytes": seq // 5 * 4096, "pids": seq % 50,
        "net_rx_bytes": seq * 1500, "net_tx_bytes": seq * 900,
    }  # fmt: skip


KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "process": process, "file": file, "cgroup": cgroup,
}  # fmt: skip


def groups(kind: str, count: int) -> list[Group]:
    """Inserts of 10,000 lines each, as they come from the broker."""
    table = next(each for each in SINK_TABLES if each.name == kind)
    producer = Producer(kind=kind, fields=KINDS[kind])
    made = []
    for _ in range(count):
        held = []
        for _ in range(BATCHES):
            batch = producer.batch(LINES)
            delivery = Delivery(
                f"events.{kind}.{producer.node}", batch.identity.headers(), batch.payload, "",
                len(made) * BATCHES + len(held) + 1, 1, 1, 0, 0,
            )  # fmt: skip
            held.append(hold(table, delivery))
        made.append(Group(table, held))
    return made


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall clock and of CPU, in all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def through(store: Store, kind: str, inserts: int) -> tuple[float, float]:
    """As the sink does it: dedupe, insert, book."""
    writer = Writer(store, SINK_TABLES)
    writer.start()
    prepared = groups(kind, inserts)

    def work() -> None:
        for group in prepared:
            writer.store([group])
            if group.stage is not Stage.STORED:
                raise RuntimeError(str(group.error))
            group.stage = Stage.REPORTED
            writer.book([group])

    return measured(work)


def decoded(store: Store, kind: str, inserts: int) -> tuple[float, float]:
    """Decode every line in Python and insert columns, as a client usually does."""
    prepared = groups(kind, inserts)
    table = prepared[0].table.table
    known = {
        name: kind for name, kind, _ in columns_of(store.writer, "tenwatch", table)
        if name != "insert_id"
    }  # fmt: skip
    names = list(known)
    times = [number for number, name in enumerate(names) if "DateTime" in known[name]]
    defaults = [
        [] if known[name].startswith("Array") else None if "Nullable" in known[name]
        else 0 if known[name].startswith(("U", "I", "Bool")) else ""
        for name in names
    ]  # fmt: skip
    connection = store.writer._connection

    def work() -> None:
        for group in prepared:
            rows = []
            for held in group.held:
                for line in held.data.splitlines():
                    event = orjson.loads(line)
                    row = [
                        event.get(name, default)
                        for name, default in zip(names, defaults, strict=True)
                    ]
                    for place in times:
                        if row[place]:
                            row[place] = datetime.fromisoformat(row[place])
                    rows.append(row)
            connection.insert(f"tenwatch.{table}", rows, column_names=names)

    return measured(work)


def compare(store: Store, inserts: int) -> None:
    print(f"storing {inserts} x {LINES * BATCHES} rows per table, fsync on")
    rows = inserts * LINES * BATCHES
    for kind in KINDS:
        through(store, kind, 2)
        passed, other = through(store, kind, inserts), decoded(store, kind, inserts)
        for name, (wall, cpu) in (("passed through", passed), ("decoded first", other)):
            print(
                f"  {kind:<8} {name:<15} {rows / wall:>10,.0f} rows/s "
                f"{cpu / rows * 1e6:>7.2f} us CPU/row",
                flush=True,
            )
    for table, size, count in store.writer.rows(
        "SELECT table, sum(data_compressed_bytes), sum(rows) FROM system.parts WHERE active AND "
        "database = 'tenwatch' GROUP BY table HAVING sum(rows) > 10000 ORDER BY table"
    ):
        print(f"  {table:<16} {size / count:>6.1f} bytes/row on disk ({count:,} rows)")


EVENT = (
    "now64(6, 'UTC') - 86000 + number * 86000 / {rows} AS ts, "
    "'n' || toString(number % 20) AS node, 'boot' AS boot, intDiv(number, 20) AS seq, "
    "'ns' || toString(number % 8) AS namespace, 'pod' || toString(number % 300) AS pod, "
    "toString(number % 300) AS pod_uid, 's' || toString(number % 400) AS student, 'os' AS course, "
    "'hw' || toString(number % 5) AS assignment"
)
FILLS = {
    "process_events": "['exec', 'exit'][1 + number % 2] AS action, number % 30000 AS pid, "
    "hex(intDiv(number, 2)) AS exec_id, "
    "multiIf(number % 20 < 2, 'build', number % 20 < 4, 'run', 'other') AS purpose, "
    "'/usr/bin/p' || toString(number % 200) AS exe, [exe, toString(number % 1000)] AS argv, "
    "if(action = 'exit', toNullable(number % 3 = 0), NULL) AS exit_code, "
    "lower(hex(number % 600)) AS container_id",
    "file_events": "'modified' AS action, '/w/' || student || '/' || assignment || '/f' || "
    "toString(number % 30) || '.c' AS path, toNullable(number % 9000) AS size, "
    "hex(number) AS writer_exec_id",
}
BUCKETS = (
    "INSERT INTO tenwatch.buckets_10s (kind, scope, node, namespace, pod, pod_uid, container_id, "
    "window_start, window_end, final, version, samples, cpu_us, measured_us, memory_bytes_last, "
    "memory_bytes_max, io_read_bytes, io_write_bytes, net_rx_bytes, net_tx_bytes) "
    "SELECT 'cgroup', scope, 'n' || toString(thing % 20), "
    "if(scope = 'pod', 'ns' || toString(thing % 8), ''), if(scope = 'pod', 'pod' || "
    "toString(thing), ''), if(scope = 'pod', toString(thing), ''), '', "
    "toDateTime(toUnixTimestamp(now()) - toUnixTimestamp(now()) % 10 - 10 * number, 'UTC') AS w, "
    "w + 10, 1, 2, 2, rand() % 10000000, 10000000, rand(), rand(), rand() % 9999, rand() % 9999, "
    "rand() % 9999, rand() % 9999 FROM numbers(8640) ARRAY JOIN "
    "arrayConcat(arrayMap(x -> ('pod', x), range({pods})), arrayMap(x -> ('node', x), range(20))) "
    "AS pair LEFT ARRAY JOIN [pair.1] AS scope, [pair.2] AS thing"
)


def fill(store: Store, rows: int) -> None:
    """A day of ``rows`` events (two thirds processes), and buckets of as many pods as fit."""
    for table, columns in FILLS.items():
        share = rows * 2 // 3 if table == "process_events" else rows // 3
        for start in range(0, share, 1_000_000):
            size = min(1_000_000, share - start)
            store.writer.command(
                f"INSERT INTO tenwatch.{table} ({_names(columns)}) "
                f"SELECT {EVENT.format(rows=share)}, {columns} FROM numbers({start}, {size})"
            )
    pods = max(10, min(300, rows // 60_000))
    store.writer.command(BUCKETS.format(pods=pods))
    # As a sink that runs would have done all day.
    clear_ended_processes(store, store.writer)
    store.writer.command("TRUNCATE TABLE tenwatch.process_ended")
    roll_up(store, store.writer, MINUTE)


def _names(columns: str) -> str:
    return ", ".join(re.findall(r" AS (\w+)", f"{EVENT}, {columns}"))


def ask(store: Store, rows: int, asks: int) -> None:
    started = time.perf_counter()
    fill(store, rows)
    print(
        f"named queries on a day of {rows:,} rows (filled in {time.perf_counter() - started:.0f} s)"
    )
    given = {
        "student": "s7", "course": "os", "assignment": "hw2", "path": "/w/s7/hw2/f7.c",
        "node": "n3", "root": "/data", "namespace": "ns3", "prefix": "/w/s7/",
    }  # fmt: skip
    client = store.reader()
    slow = 0
    for name, query in named_queries().items():
        values = {
            each.name: given[each.name] for each in query.parameters
            if each.name in given and (each.default is None or each.name in ("student", "course"))
        }  # fmt: skip
        taken = []
        for _ in range(asks):
            began = time.perf_counter()
            client.rows(query.sql, query.bind(values))
            taken.append(1000 * (time.perf_counter() - began))
        p95 = statistics.quantiles(taken, n=20)[-1]
        slow += p95 > 100
        print(
            f"  {name:<20} median {statistics.median(taken):>8.1f} ms   p95 {p95:>8.1f} ms",
            flush=True,
        )
    print(f"  {slow} of {len(named_queries())} above 100 ms at p95")
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inserts", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--asks", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sink-bench-") as folder:
        with Store(StoreSettings(path=f"{folder}/a")) as store:
            apply_schema(store)
            if options.inserts:
                compare(store, options.inserts)
        with Store(StoreSettings(path=f"{folder}/b", fsync=False)) as store:
            apply_schema(store)
            if options.rows:
                ask(store, options.rows, options.asks)
    print(json.dumps({"inserts": options.inserts, "rows": options.rows, "asks": options.asks}))


if __name__ == "__main__":
    main()
