"""A reader tries everything; nothing gets out, in, or down. An admin stays inside the database."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.sinks.sql_endpoint import attacks
from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess

SECRET = "canary-5c1f"


class Ground:
    """What an attack would touch: a file to read, a path to write, a port to connect to."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder / "canary.txt"
        self.canary.write_text(f"{SECRET}\n")
        # An executable attack runs as whoever holds the store, so everyone may read the canary.
        self.canary.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
        self.loot = folder / "loot"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]

    def fill(self, text: str) -> list[str]:
        return attacks.statements(text, canary=self.canary, loot=self.loot, port=self.port)

    def assert_untouched(self) -> None:
        assert not self.loot.exists()
        assert list(self.loot.parent.iterdir()) == [self.canary]
        with pytest.raises(BlockingIOError):
            self._listener.accept()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp("ground"))
    yield ground
    ground.close()


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "group", ["READS_FILES", "REACHES_OUT", "OTHER_TABLES", "WRITES", "CONTROLS"]
)
def test_every_attack_of_a_reader_is_refused(
    endpoint: EndpointProcess, ground: Ground, group: str, method: str
) -> None:
    for sql in ground.fill(getattr(attacks, group)):
        answer = endpoint.ask(sql) if method == "POST" else endpoint.ask(method="GET", query=sql)
        assert answer.code in attacks.REFUSALS, (sql, answer.status, answer.text)
        assert answer.status >= 400, (sql, answer.status)
        assert SECRET not in answer.text, sql
        assert "in another database" not in answer.text, sql
    ground.assert_untouched()
    endpoint.assert_healthy()
    assert endpoint.rows("SELECT count() FROM process_events") == [[1000]]


def test_what_an_admin_may_not_is_refused_too(endpoint: EndpointProcess, ground: Ground) -> None:
    inside = (
        "INSERT INTO process_events (pid)", "INSERT INTO process_events FORMAT",
        "insert/**/into process_events", "CREATE TABLE evil", "CREATE TABLE tenwatch.evil",
        "CREATE VIEW evil", "DROP TABLE process_events", "DROP VIEW", "TRUNCATE TABLE",
        "ALTER TABLE process_events D", "DELETE FROM process_events", "OPTIMIZE TABLE",
        "SELECT * FROM system.processes", "SELECT * FROM system.parts",
        "SELECT * FROM system.disks",
    )  # fmt: skip
    groups = (
        attacks.READS_FILES, attacks.REACHES_OUT, attacks.OTHER_TABLES, attacks.WRITES,
        attacks.CONTROLS,
    )  # fmt: skip
    for sql in [sql for group in groups for sql in ground.fill(group)]:
        if sql.startswith(inside) and ";" not in sql and "PARALLEL" not in sql:
            continue
        answer = endpoint.ask(sql, user="admin")
        assert answer.code in attacks.REFUSALS, (sql, answer.status, answer.text)
        assert SECRET not in answer.text, sql
    ground.assert_untouched()
    endpoint.assert_healthy()


@pytest.mark.parametrize(
    "parameters",
    [
        {"readonly": "0"},
        {"readonly": "2", "allow_ddl": "1"},
        {"user_files_path": "/"},
        {"format_schema": "/etc/passwd"},
        {"format_template_row": "/etc/passwd"},
        {"max_query_size": "0"},
        {"max_ast_elements": "0"},
        {"log_comment": "x' , readonly = 0, log_comment = 'y"},
        {"session_timezone": "UTC', readonly = '0"},
        {"max_threads": "1, readonly = 0"},
        {"max_threads = 1, readonly": "0"},
        {"max_block_size": "18446744073709551615"},
        {"max_block_size": "x"},
        {"stream_like_engine_allow_direct_select": "1"},
        {"role": "admin"},
        {"default_format": "TSV INTO OUTFILE '/tmp/loot'"},
        {"database": "default"},
        {"database": "tenwatch; DROP TABLE process_events"},
        {"query_id": "x' OR 1"},
    ],
)
def test_parameters_of_the_request_open_nothing(
    endpoint: EndpointProcess, parameters: dict[str, str]
) -> None:
    for sql, code in (("DROP TABLE process_events", 164), ("SELECT file('/etc/passwd')", 497)):
        answer = endpoint.ask(sql, path="/?" + urlencode(parameters))
        assert answer.code in attacks.REFUSALS, (code, answer.text)
    harmless = endpoint.ask("SELECT 1", path="/?" + urlencode(parameters))
    assert harmless.body == b"1\n" or harmless.code in attacks.REFUSALS | {36, 516}, harmless.text
    endpoint.assert_healthy()


def test_values_of_an_insert_are_data_not_expressions(
    endpoint: EndpointProcess, ground: Ground
) -> None:
    """VALUES takes expressions in ClickHouse, and nothing of them passes the checks."""
    for value in (f"(file('{ground.canary}'))", "((SELECT secret FROM default.other))", "(1 + 1)"):
        answer = endpoint.ask(f"INSERT INTO snapshot_events (content) VALUES {value}", user="admin")
        assert answer.code != 0, answer.text
        assert SECRET not in answer.text
    assert endpoint.rows("SELECT count() FROM snapshot_events") == [[1]]


def test_a_statement_that_is_too_long_is_refused(endpoint: EndpointProcess) -> None:
    answer = endpoint.ask(f"SELECT '{'x' * 300_000}'")
    assert (answer.code, answer.status) == (62, 400)
    assert "Max query size exceeded" in answer.text


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"SELECT '\xff'", b"SELECT 1\0; DROP TABLE x", b"\0"])
def test_bytes_that_are_no_text_are_refused(endpoint: EndpointProcess, raw: bytes) -> None:
    assert endpoint.ask(raw).code == 62
