"""Clients of ClickHouse that others wrote, as they are."""

import asyncio
import datetime
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.sinks.sql_endpoint.endpoint_process import PASSWORDS, EndpointProcess

HERE = Path(__file__).parent
NPM_PACKAGE = "@clickhouse/client@1.23.1"
GO_MODULE = "github.com/ClickHouse/clickhouse-go/v2@v2.50.0"
# Kept between runs, so that only the first one needs a registry.
CACHE = Path(tempfile.gettempdir()) / f"tenwatch-test-clients-{os.getuid()}"

EXPECTED_CODES = {
    "broken": "395",
    "unknown": "47",
    "file": "497",
    "insert": "164",
    "ddl": "164",
    "stranger": "516",
}

# What Grafana's plugin asks when a data source is tested, explored and used in a panel
# (grafana/clickhouse-datasource: pkg/plugin/driver.go, src/data/CHDatasource.ts).
GRAFANA = {
    "SELECT 1": ("[1]", 1),
    "SELECT version()": ("[version()]", 1),
    "SHOW DATABASES": ("[name]", 5),
    'SHOW TABLES FROM "tenwatch"': ("[name]", 4),
    'DESC TABLE "tenwatch"."processes"': (
        "[name type default_type default_expression comment codec_expression ttl_expression]",
        6,
    ),
    "SELECT name, type, table FROM system.columns WHERE database IN ('tenwatch') "
    "AND table = 'processes'": ("[name type table]", 6),
    "SELECT name FROM system.databases ORDER BY name": ("[name]", 5),
    "SELECT name FROM system.tables WHERE database = 'tenwatch' ORDER BY name": ("[name]", 4),
    "SELECT DISTINCT comm FROM tenwatch.processes WHERE comm IS NOT NULL LIMIT 1000": ("[comm]", 2),
    "SELECT arrayJoin(distinctJSONPathsAndTypes(j)) FROM (SELECT '{\"a\":1}'::JSON AS j) "
    "SETTINGS max_execution_time=10": ("[arrayJoin(distinctJSONPathsAndTypes(j))]", 1),
    'SELECT toStartOfInterval("ts", INTERVAL 10 second) as "time", count(*) FROM '
    '"tenwatch"."processes" WHERE ( "ts" >= toDateTime(1767225600) AND "ts" <= '
    "toDateTime(1767226600) ) GROUP BY time ORDER BY time ASC LIMIT 1000": ("[time count()]", 100),
    "SELECT ts as time, argv, exit_code, node FROM processes": ("[time argv exit_code node]", 1000),
}


def test_curl(endpoint: EndpointProcess) -> None:
    def curl(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["curl", "-sS", "-m", "20", "--netrc-file", str(netrc), *arguments],
            capture_output=True,
            text=True,
        )

    netrc = endpoint.folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login reader password {PASSWORDS['reader']}\n")
    assert curl(f"{endpoint.url}/ping").stdout == "Ok.\n"
    assert curl(f"{endpoint.url}/?query=SELECT%201").stdout == "1\n"
    assert curl(endpoint.url, "--data-binary", "SELECT 2").stdout == "2\n"
    bound = curl(f"{endpoint.url}/?param_n=3", "-d", "SELECT {n:UInt8} FORMAT JSONCompactEachRow")
    assert bound.stdout == "[3]\n"
    packed = curl(
        f"{endpoint.url}/?enable_http_compression=1", "--compressed", "-d", "SELECT 4, '4'"
    )
    assert packed.stdout == "4\t4\n"
    failed = curl("-f", endpoint.url, "-d", "SELECT file('/etc/passwd')")
    assert (failed.returncode, failed.stdout) == (22, "")
    broken = curl(endpoint.url, "-d", "SELECT throwIf(number = 2900000) FROM numbers(3000000)")
    assert broken.returncode == 18  # the transfer was closed before its end
    assert "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in broken.stdout[-1000:]


def connect(endpoint: EndpointProcess, user: str = "reader") -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=endpoint.port, username=user, password=PASSWORDS[user]
    )


def test_clickhouse_connect(endpoint: EndpointProcess) -> None:
    client = connect(endpoint)
    assert client.ping()
    nodes = client.query("SELECT node, count() FROM processes GROUP BY node ORDER BY node")
    assert nodes.result_rows == [("node-0", 334), ("node-1", 333), ("node-2", 333)]
    bound = client.query(
        "SELECT {n:UInt32} + 1, {s:String}, {t:DateTime}",
        parameters={"n": 1, "s": "it's\n\\", "t": datetime.datetime(2026, 1, 1)},
    )
    assert bound.result_rows == [(2, "it's\n\\", datetime.datetime(2026, 1, 1))]
    long = "x" * 100_000
    assert client.query("SELECT length(%(s)s)", parameters={"s": long}).result_rows == [(100_000,)]
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)
    assert client.command("SELECT count() FROM processes") == 1000
    settings = client.query("SELECT getSetting('max_threads')", settings={"max_threads": 1})
    assert settings.result_rows == [(1,)]
    summary = client.query("SELECT sum(pid) FROM processes").summary
    assert summary["read_rows"] == "1000"
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as blocks:
        assert sum(len(block) for block in blocks) == 500_000
    raw = client.raw_query("SELECT number FROM numbers(3)", fmt="CSV")
    assert raw == b"0\n1\n2\n"
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT * FROM nope")
    assert (unknown.value.code, unknown.value.name) == (60, "UNKNOWN_TABLE")
    with (
        pytest.raises(StreamFailureError, match="throwIf"),
        client.query_row_block_stream(
            "SELECT number, throwIf(number = 2900000) FROM numbers(3000000)"
        ) as blocks,
    ):
        for _ in blocks:
            pass
    client.close()


def test_clickhouse_connect_may_not_insert_as_a_reader(endpoint: EndpointProcess) -> None:
    client = connect(endpoint)
    for write in (
        lambda: client.insert("process_events", [[1]], column_names=["pid"]),
        lambda: client.raw_insert("process_events", ["pid"], b'{"pid":1}', fmt="JSONEachRow"),
        lambda: client.command("INSERT INTO process_events (pid) VALUES (1)"),
        lambda: client.command("CREATE TABLE evil (a UInt8) ENGINE = Memory"),
    ):
        with pytest.raises(DatabaseError) as refused:
            write()
        assert refused.value.code == 164
    client.close()
    with pytest.raises(DatabaseError) as stranger:
        clickhouse_connect.get_client(
            host="127.0.0.1", port=endpoint.port, username="reader", password="wrong"
        )
    assert stranger.value.code == 516


def test_clickhouse_connect_inserts_as_an_admin(endpoint: EndpointProcess) -> None:
    client = connect(endpoint, "admin")
    client.command("CREATE TABLE IF NOT EXISTS inserted (a UInt32, s String) ENGINE = Memory")
    try:
        rows = [[number, f"row {number}"] for number in range(50_000)]
        summary = client.insert("inserted", rows, column_names=["a", "s"])
        assert summary.written_rows == 50_000
        assert client.query("SELECT sum(a), uniqExact(s) FROM inserted").result_rows == [
            (1_249_975_000, 50_000)
        ]
    finally:
        client.command("DROP TABLE inserted")
        client.close()


async def test_clickhouse_connect_async(endpoint: EndpointProcess) -> None:
    client: AsyncClient = await clickhouse_connect.get_async_client(
        host="127.0.0.1", port=endpoint.port, username="reader", password=PASSWORDS["reader"]
    )
    try:
        assert (await client.query("SELECT count() FROM processes")).result_rows == [(1000,)]
        answers = await asyncio.gather(
            *[client.query(f"SELECT {n}, sum(number) FROM numbers(100000)") for n in range(20)]
        )
        assert [answer.result_rows for answer in answers] == [[(n, 4999950000)] for n in range(20)]
        with pytest.raises(DatabaseError) as refused:
            await client.insert("process_events", [[1]], column_names=["pid"])
        assert refused.value.code == 164
    finally:
        await client.close()


def installed(name: str, *command: str) -> Path:
    """A folder of the cache in which `command` ran once, successfully."""
    folder = CACHE / name
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=240)
        (folder / "installed").touch()
    return folder


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
def test_npm_clickhouse_client(endpoint: EndpointProcess) -> None:
    folder = installed(
        "npm", "npm", "install", "--no-audit", "--no-fund", "--prefix", ".", NPM_PACKAGE
    )
    shutil.copy(HERE / "client.mjs", folder)
    done = subprocess.run(
        ["node", "client.mjs", endpoint.url, "reader", PASSWORDS["reader"]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ping"] and found["select"]
    assert found["rows"][0] == {"node": "node-0", "n": 334}
    assert found["bound"] == [{"text": "it's\ta \\ line\n", "list": [1, 2]}]
    assert found["settings"] == [{"n": 1}]
    assert (found["whole"]["rows"], found["whole"]["data"]) == (1, [{"a": 1}])
    assert found["streamed"] == 500_000
    assert found["packed"] == [{"s": 45}]
    codes = {name: (found[name] or {}).get("code") for name in found if name in EXPECTED_CODES}
    assert codes == EXPECTED_CODES


def test_the_first_queries_of_grafana(endpoint: EndpointProcess) -> None:
    """As clickhouse-go sends them; the greeting has the block header that it then expects."""
    parameters = {
        "client_protocol_version": 54460,
        "database": "default",
        "default_format": "Native",
        "enable_http_compression": 0,
    }
    greeting = endpoint.ask(
        "SELECT displayName(), version(), revision(), timezone()", **parameters
    ).body
    assert greeting.startswith(
        b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00"
    )
    assert b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x00" in greeting
    older = endpoint.ask(
        "select displayName(),version(),revision(),timezone()",
        **{**parameters, "client_protocol_version": 54400},
    ).body
    assert len(greeting) - len(older) == 4
    one = endpoint.ask("SELECT 1", **parameters).body
    assert one == b"\x01\x01\x011\x05UInt8\x01"
    for sql, (_, rows) in GRAFANA.items():
        answer = endpoint.ask(sql, **{**parameters, "default_format": "JSONCompact"})
        assert json.loads(answer.body)["rows"] == rows, sql


@pytest.fixture(scope="session")
def go_program() -> str:
    folder = installed("go", "go", "mod", "init", "greeting")
    shutil.copy(HERE / "greeting.go", folder / "main.go")
    for command in (["go", "get", GO_MODULE], ["go", "build", "-o", "greeting", "."]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return str(folder / "greeting")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
@pytest.mark.parametrize("compression", ["gzip", "lz4"])
def test_clickhouse_go(endpoint: EndpointProcess, go_program: str, compression: str) -> None:
    def ask(user: str, *queries: str) -> list[str]:
        return subprocess.run(
            [go_program, endpoint.address, user, PASSWORDS[user], compression, *queries],
            capture_output=True,
            text=True,
            errors="replace",  # clickhouse-go quotes what it cannot decode
            timeout=60,
        ).stdout.splitlines()

    assert ask("reader", *GRAFANA) == [
        f"{columns} {rows} <nil>" for columns, rows in GRAFANA.values()
    ]
    refused, *broken = ask(
        "reader",
        "SELECT file('/etc/passwd')",
        "SELECT number, throwIf(number = 2900000) FROM numbers(3000000)",
    )
    assert refused.startswith("refused:")
    assert "code: 497" in refused
    assert "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO" in "".join(broken)
    endpoint.ask("CREATE TABLE from_go (n UInt64, s String) ENGINE = Memory", user="admin")
    try:
        insert = "INSERT INTO from_go (n, s)"
        sums = (
            "SELECT 1 FROM from_go HAVING sum(n) = 499500 AND uniqExact(s) = 1000 AND count() > 0"
        )
        assert ask("admin", insert, sums) == ["inserted <nil>", "[1] 1 <nil>"]
        assert "code: 164" in ask("reader", insert)[0]
    finally:
        endpoint.ask("DROP TABLE from_go", user="admin")
