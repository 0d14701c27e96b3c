"""An admin writes inside the served database: rows, tables, views."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.sinks.sql_endpoint.endpoint_process import Answer, EndpointProcess


@pytest.fixture
def table(endpoint: EndpointProcess) -> Iterator[str]:
    run(
        endpoint,
        "CREATE TABLE work (ts DateTime64(6, 'UTC') DEFAULT now64(6) CODEC(DoubleDelta, ZSTD(1)), "
        "s LowCardinality(String) DEFAULT 'none' COMMENT 'a name', v Nullable(UInt64), "
        "a Array(Tuple(x Int8, y Enum8('p' = 1))), INDEX i v TYPE minmax GRANULARITY 1) "
        "ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY ts "
        "TTL toDateTime(ts) + INTERVAL 900 DAY "
        "SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 100 "
        "COMMENT 'for the tests'",
    )
    yield "work"
    run(endpoint, "DROP TABLE IF EXISTS work SYNC")


def run(endpoint: EndpointProcess, sql: str | bytes, **options: object) -> Answer:
    answer = endpoint.ask(sql, user="admin", **options)  # type: ignore[arg-type]
    assert answer.status == 200, answer.text
    return answer


def count(endpoint: EndpointProcess) -> int:
    return int(endpoint.rows("SELECT count() FROM work")[0][0])


def test_rows_are_inserted_as_data_behind_the_statement(
    endpoint: EndpointProcess, table: str
) -> None:
    line = b'{"ts":"2026-01-01T00:00:00Z","s":"FORMAT","v":1}\n'
    statement = b"INSERT INTO tenwatch.work (ts, s, v) FORMAT JSONEachRow"
    best = {"date_time_input_format": "best_effort"}
    answer = run(endpoint, statement + b"\n" + line * 3, **best)
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == "3"
    run(endpoint, line, query=statement.decode(), **best)
    run(
        endpoint,
        gzip.compress(line.replace(b"1}", b"2}")),
        query=statement.decode(),
        headers={"Content-Encoding": "gzip"},
        **best,
    )
    run(endpoint, "INSERT INTO work (s, v) VALUES ('a;b', 1), ('it''s', NULL)")
    run(endpoint, b"insert into work(s)format TSV\n\\N\nb\n", input_format_null_as_default=1)
    run(endpoint, b"INSERT INTO work (s) FORMAT RowBinary\n\x03\x00\xff\x01")
    assert count(endpoint) == 10
    assert endpoint.rows("SELECT hex(s) FROM work WHERE s LIKE '%\\0%'") == [["00FF01"]]


def test_rows_are_inserted_from_a_query(endpoint: EndpointProcess, table: str) -> None:
    run(endpoint, "INSERT INTO work (ts, s) SELECT ts, comm FROM processes LIMIT 5")
    run(endpoint, "INSERT INTO {t:Identifier} (v) SELECT {n:UInt8}", param_t="work", param_n=7)
    assert count(endpoint) == 6


def test_a_token_makes_an_insert_count_once(endpoint: EndpointProcess, table: str) -> None:
    for _ in range(2):
        run(endpoint, "INSERT INTO work (v) VALUES (1)", insert_deduplication_token="t-1")
    assert count(endpoint) == 1


def test_a_broken_insert_changes_nothing_and_says_why(
    endpoint: EndpointProcess, table: str
) -> None:
    for body in (
        b'INSERT INTO work FORMAT JSONEachRow {"v":1}\n{"v":"x"}\n',
        b"INSERT INTO work (v) VALUES (1), (",
        b"INSERT INTO work (nope) VALUES (1)",
        b"INSERT INTO work (v)",
        b"INSERT INTO work (v) FORMAT Nope\n1",
        b"INSERT INTO nope (v) VALUES (1)",
    ):
        answer = endpoint.ask(body, user="admin")
        assert answer.status >= 400, body
        assert answer.code > 0, body
    assert count(endpoint) == 0
    run(endpoint, "INSERT INTO work (v) VALUES (1)")


def test_tables_and_views_are_changed(endpoint: EndpointProcess, table: str) -> None:
    run(endpoint, "INSERT INTO work (v) SELECT number FROM numbers(10)")
    run(endpoint, "ALTER TABLE work ADD COLUMN z UInt8 DEFAULT 3 AFTER v, COMMENT COLUMN z 'late'")
    run(endpoint, "ALTER TABLE work DELETE WHERE v < 3 SETTINGS mutations_sync = 2")
    run(endpoint, "DELETE FROM work WHERE v = 9")
    run(endpoint, "ALTER TABLE work UPDATE z = 4 WHERE v = 8 SETTINGS mutations_sync = 2")
    run(endpoint, "OPTIMIZE TABLE work FINAL")
    run(endpoint, "CREATE OR REPLACE VIEW work_view AS SELECT sum(v) AS s, max(z) AS z FROM work")
    assert endpoint.rows("SELECT * FROM work_view") == [[33, 4]]
    run(endpoint, "CREATE MATERIALIZED VIEW work_feed TO work AS SELECT pid AS v FROM processes")
    run(endpoint, "DROP VIEW work_feed SYNC")
    run(endpoint, "DROP VIEW work_view SYNC")
    run(endpoint, "TRUNCATE TABLE work")
    run(endpoint, "CREATE TABLE work_spare AS work")
    run(endpoint, "INSERT INTO work_spare (ts, v) VALUES ('2026-11-01', 1)")
    run(endpoint, "ALTER TABLE work REPLACE PARTITION ID '20261101' FROM work_spare")
    run(endpoint, "DROP TABLE work_spare SYNC")
    assert count(endpoint) == 1
    keeping = "SELECT * FROM tenwatch.work SETTINGS join_use_nulls = 1"
    run(endpoint, f"CREATE VIEW work_view AS {keeping}")
    assert "SETTINGS join_use_nulls = 1" in endpoint.ask("SHOW CREATE VIEW work_view").text
    assert len(endpoint.rows("SELECT * FROM work_view")) == 1
    run(endpoint, "DROP VIEW work_view SYNC")
    run(endpoint, "CREATE DATABASE IF NOT EXISTS tenwatch")


def test_an_admin_reads_what_helps_to_look_after_the_store(endpoint: EndpointProcess) -> None:
    for table in ("parts", "merges", "mutations", "processes", "view_refreshes", "disks"):
        assert endpoint.ask(f"SELECT * FROM system.{table}", user="admin").status == 200


def test_a_write_needs_the_method_post(endpoint: EndpointProcess, table: str) -> None:
    for sql in ("DROP TABLE work", "INSERT INTO work (v) SELECT 1"):
        answer = endpoint.ask(user="admin", method="GET", query=sql)
        assert (answer.code, answer.status) == (164, 403)


OUTSIDE = """
CREATE TABLE evil (a String) ENGINE = File(TSV, '/etc/passwd')
CREATE TABLE evil (a String) ENGINE = URL('http://127.0.0.1/', TSV)
CREATE TABLE evil (a String) ENGINE = Executable('x', TSV)
CREATE TABLE evil (a String) ENGINE = MySQL('127.0.0.1', 'd', 't', 'u', 'p')
CREATE TABLE evil (a String) ENGINE = Distributed('default', 'default', 'other')
CREATE TABLE evil (a String) ENGINE = Merge('default', 'other')
CREATE TABLE evil (a String) ENGINE = Buffer('default', 'other', 1, 1, 1, 1, 1, 1, 1)
CREATE TABLE evil (a String) ENGINE = Python(x)
CREATE TABLE evil (a String DEFAULT file('/etc/passwd')) ENGINE = Memory
CREATE TABLE evil (a String MATERIALIZED dictGet('a', 'b', 1)) ENGINE = Memory
CREATE TABLE evil (a UInt8, CONSTRAINT c CHECK file('/etc/passwd') = '') ENGINE = Memory
CREATE TABLE evil (a UInt8) ENGINE = MergeTree ORDER BY file('/etc/passwd')
CREATE TABLE evil (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = 'x'
CREATE TABLE evil (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = 'x'
CREATE TABLE evil (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local)
CREATE TABLE evil (a UInt8 CODEC(AES_128_GCM_SIV)) ENGINE = Memory
CREATE TABLE evil AS default.other
CREATE TABLE evil CLONE AS default.other
CREATE TABLE evil AS file('/etc/passwd')
CREATE TABLE evil ON CLUSTER c (a UInt8) ENGINE = Memory
CREATE TABLE default.evil (a UInt8) ENGINE = Memory
CREATE TABLE evil ENGINE = Memory AS SELECT * FROM default.other
CREATE TABLE evil ENGINE = Memory AS SELECT file('/etc/passwd')
ATTACH TABLE evil FROM '/etc' (a UInt8) ENGINE = Memory
CREATE VIEW evil AS SELECT * FROM file('/etc/passwd', LineAsString)
CREATE VIEW evil AS SELECT * FROM default.other
CREATE VIEW evil AS SELECT 1 SETTINGS format_schema = '/etc/passwd'
CREATE VIEW evil AS SELECT * FROM (SELECT 1 SETTINGS allow_introspection_functions = 1)
CREATE VIEW evil SQL SECURITY NONE AS SELECT 1
CREATE MATERIALIZED VIEW evil TO default.other AS SELECT 'x' AS secret
CREATE MATERIALIZED VIEW evil ENGINE = File(TSV) AS SELECT 1
CREATE DATABASE IF NOT EXISTS evil
CREATE DATABASE tenwatch
CREATE DATABASE IF NOT EXISTS tenwatch ENGINE = MySQL('127.0.0.1', 'd', 'u', 'p')
DROP DATABASE tenwatch
DROP TABLE default.other
TRUNCATE DATABASE tenwatch
TRUNCATE ALL TABLES FROM tenwatch
DETACH TABLE process_events
ALTER TABLE default.other DELETE WHERE 1
ALTER TABLE process_events FREEZE
ALTER TABLE process_events DETACH PARTITION tuple()
ALTER TABLE process_events ATTACH PARTITION tuple() FROM default.other
ALTER TABLE process_events REPLACE PARTITION tuple() FROM default.other
ALTER TABLE process_events MOVE PARTITION tuple() TO DISK 'x'
ALTER TABLE process_events MOVE PARTITION tuple() TO TABLE default.other
ALTER TABLE process_events FETCH PARTITION tuple() FROM '/x'
ALTER TABLE process_events MODIFY SETTING storage_policy = 'x'
ALTER TABLE process_events MODIFY TTL ts + INTERVAL 1 DAY TO DISK 'x'
ALTER TABLE process_events ADD COLUMN x String DEFAULT file('/etc/passwd')
ALTER TABLE process_events UPDATE comm = file('/etc/passwd') WHERE 1
ALTER TABLE process_events DELETE WHERE comm IN (SELECT secret FROM default.other)
ALTER TABLE process_events DELETE WHERE comm IN default.other
ALTER DATABASE tenwatch MODIFY SETTING x = 1
DELETE FROM default.other WHERE 1
OPTIMIZE TABLE default.other
INSERT INTO default.other VALUES ('x')
INSERT INTO default.other SELECT 'x'
INSERT INTO process_events (comm) SELECT secret FROM default.other
INSERT INTO process_events (comm) SELECT file('/etc/passwd')
INSERT INTO process_events (comm) SETTINGS format_schema = '/etc/passwd' FORMAT Protobuf x
INSERT INTO process_events FORMAT Template x
INSERT INTO system.one VALUES (1)
RENAME TABLE process_events TO default.stolen
"""


def test_an_admin_stays_inside_the_database(endpoint: EndpointProcess) -> None:
    for sql in OUTSIDE.strip().splitlines():
        answer = endpoint.ask(sql, user="admin")
        assert answer.code in {62, 73, 164, 344, 452, 497}, (sql, answer.text)
    endpoint.assert_healthy()
    assert endpoint.rows("SELECT name FROM system.tables WHERE name = 'evil'") == []
    other = "SELECT total_rows FROM system.tables WHERE database = 'default' AND name = 'other'"
    assert endpoint.rows(other) == [[1]]


def test_a_reader_may_run_none_of_it(endpoint: EndpointProcess, table: str) -> None:
    for sql in ("INSERT INTO work (v) VALUES (1)", "DROP TABLE work", "TRUNCATE TABLE work"):
        assert endpoint.ask(sql).code == 164
    binary = b"INSERT INTO work (s) FORMAT RowBinary\n\x03\x00\xff\x01"
    assert endpoint.ask(binary).code == 164
    assert count(endpoint) == 0
