"""The HTTP interface of ClickHouse, by its own documentation (docs: Interfaces / HTTP)."""

import gzip
import json
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard

from tests.sinks.sql_endpoint.endpoint_process import PASSWORDS, EndpointProcess, basic

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw),
    "lz4": lz4.frame.decompress,
}
FORMATS = (
    "CSV CSVWithNames TSVWithNamesAndTypes JSON JSONCompact JSONColumns JSONCompactEachRow Pretty "
    "PrettyCompact Vertical Markdown XML Values Native RowBinary Parquet Arrow ArrowStream ORC "
    "MsgPack Avro SQLInsert Null"
)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
}


def test_health_checks_need_no_credentials(endpoint: EndpointProcess) -> None:
    for path in ("/ping", "/replicas_status"):
        answer = endpoint.ask(user=None, method="GET", path=path)
        assert (answer.status, answer.body) == (200, b"Ok.\n")


def test_an_empty_get_says_ok(endpoint: EndpointProcess) -> None:
    assert endpoint.ask(method="GET").body == b"Ok.\n"


def test_a_query_comes_by_get_by_post_and_by_both(endpoint: EndpointProcess) -> None:
    assert endpoint.ask(method="GET", query="SELECT 1 + 1").body == b"2\n"
    assert endpoint.ask("SELECT 1 + 1").body == b"2\n"
    assert endpoint.ask("+ 1", query="SELECT 1").body == b"2\n"
    assert endpoint.ask(query="SELECT 1 + 1;").body == b"2\n"
    assert endpoint.ask("-- why\nSELECT /* how */ 1 + 1 -- end").body == b"2\n"


def test_an_empty_post_is_a_syntax_error(endpoint: EndpointProcess) -> None:
    assert endpoint.ask("").code == 62


def test_an_unknown_path_is_not_found(endpoint: EndpointProcess) -> None:
    assert endpoint.ask("SELECT 1", path="/play").status == 404


def test_parameters_are_bound_by_the_engine(endpoint: EndpointProcess) -> None:
    value = "it's\ta \\ 'quoted'\n; DROP TABLE processes -- {p:String}"
    answer = endpoint.ask(
        "SELECT {p:String} AS p, {n:Array(UInt8)} AS n, {t:DateTime64(6, 'UTC')} AS t",
        param_p=value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n"),
        param_n="[1,2]",
        param_t="2026-01-01 00:00:01.5",
        default_format="JSONEachRow",
    )
    assert json.loads(answer.body) == {"p": value, "n": [1, 2], "t": "2026-01-01 00:00:01.500000"}


def test_identifiers_are_bound_and_held_to_the_same_rules(endpoint: EndpointProcess) -> None:
    sql = "SELECT count({c:Identifier}) FROM {d:Identifier}.{t:Identifier}"
    found = endpoint.ask(sql, param_c="node", param_d="tenwatch", param_t="processes")
    assert found.body == b"1000\n"
    for database, table in (("default", "other"), ("system", "users"), ("system", "processes")):
        refused = endpoint.ask(sql, param_c="node", param_d=database, param_t=table)
        assert refused.code == 497, (database, table)
    quoted = endpoint.ask(sql, param_c="node", param_d="tenwatch", param_t="t` UNION ALL SELECT `1")
    assert quoted.code == 60
    assert endpoint.ask(sql, param_c="node", param_d="tenwatch").code == 36


def test_a_parameter_that_is_missing_is_named(endpoint: EndpointProcess) -> None:
    answer = endpoint.ask("SELECT {nope:String}")
    assert (answer.code, answer.status) == (456, 400)
    assert "`nope`" in answer.text


def test_long_parameters_come_in_a_form(endpoint: EndpointProcess) -> None:
    value = "x" * 200_000
    body = (
        '--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT length({p:String})\r\n'
        f'--b\r\nContent-Disposition: form-data; name="param_p"\r\n\r\n{value}\r\n--b--\r\n'
    )
    answer = endpoint.ask(body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.body == b"200000\n"


def test_external_data_is_refused_with_a_way_out(endpoint: EndpointProcess) -> None:
    body = '--b\r\nContent-Disposition: form-data; name="t"; filename="t"\r\n\r\n1\r\n--b--\r\n'
    answer = endpoint.ask(
        body, headers={"Content-Type": "multipart/form-data; boundary=b"}, query="SELECT 1"
    )
    assert (answer.code, answer.status) == (344, 501)
    assert "values()" in answer.text


def test_the_format_comes_from_the_statement_or_parameter_or_header(
    endpoint: EndpointProcess,
) -> None:
    in_statement = endpoint.ask("SELECT 1 AS a FORMAT JSONEachRow", default_format="CSV")
    assert in_statement.body == b'{"a":1}\n'
    assert in_statement.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert endpoint.ask("SELECT 1 AS a", default_format="JsoneachROW").body == b'{"a":1}\n'
    by_header = endpoint.ask("SELECT 'a'", headers={"X-ClickHouse-Format": "CSV"})
    assert by_header.body == b'"a"\n'
    plain = endpoint.ask("SELECT 'a', 1")
    assert plain.body == b"a\t1\n"
    assert plain.headers["Content-Type"] == "text/tab-separated-values; charset=UTF-8"
    assert endpoint.ask("SHOW TABLES FORMAT JSONEachRow").body.startswith(b'{"name":')
    described = endpoint.ask("DESCRIBE processes FORMAT CSVWithNames").text
    assert described.startswith('"name","type"')


@pytest.mark.parametrize(
    "name",
    FORMATS.split(),
)
def test_every_format_is_whole(endpoint: EndpointProcess, name: str) -> None:
    """The same bytes as one block: so headers and footers stand once, in their place."""
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(100000) ORDER BY n"
    answer = endpoint.ask(sql, default_format=name)
    assert answer.status == 200, answer.text[:500]
    assert (len(answer.body) > 20_000) == (name != "Null")
    if name in ("JSON", "JSONCompact"):
        parsed = json.loads(answer.body)
        assert parsed["rows"] == len(parsed["data"]) == 100_000
    if name == "CSVWithNames":
        assert answer.text.count('"n"') == 1
    if name == "Parquet":
        assert answer.body[:4] == answer.body[-4:] == b"PAR1"


@pytest.mark.parametrize("name", ["Template", "Protobuf", "MySQLWire", "Nope", "DataFrame", "a/b"])
def test_formats_that_need_more_than_the_result_are_refused(
    endpoint: EndpointProcess, name: str
) -> None:
    assert endpoint.ask("SELECT 1", default_format=name).code == 73


def test_settings_come_by_parameter_and_in_the_statement(endpoint: EndpointProcess) -> None:
    sql = "SELECT getSetting('max_threads'), getSetting('max_execution_time')"
    assert endpoint.rows(sql, max_threads=1) == [[1, 5]]
    assert endpoint.rows(f"{sql} SETTINGS max_threads = 1, max_execution_time = 3") == [[1, 3]]
    assert endpoint.rows(sql, max_threads=1000, max_execution_time=0) == [[2, 5]]
    assert endpoint.rows("SELECT getSetting('readonly')", readonly=0) == [[1]]
    assert endpoint.rows("SELECT number FROM numbers(5)", limit=2) == [[0], [1]]


def test_times_are_utc_unless_the_client_asks_for_another_zone(endpoint: EndpointProcess) -> None:
    sql = "SELECT timezone(), toString(toDateTime(0))"
    assert endpoint.rows(sql) == [["UTC", "1970-01-01 00:00:00"]]
    tokyo = endpoint.ask(sql, session_timezone="Asia/Tokyo")
    assert tokyo.body == b"Asia/Tokyo\t1970-01-01 09:00:00\n"
    assert tokyo.headers["X-ClickHouse-Timezone"] == "Asia/Tokyo"


def test_settings_do_not_outlive_their_query(endpoint: EndpointProcess) -> None:
    assert endpoint.rows("SELECT getSetting('join_use_nulls')", join_use_nulls=1) == [[True]]
    assert endpoint.rows("SELECT getSetting('join_use_nulls')") == [[False]]


@pytest.mark.parametrize("encoding", sorted(DECODERS))
def test_results_are_compressed_on_demand(endpoint: EndpointProcess, encoding: str) -> None:
    for rows in (10, 1_000_000):
        answer = endpoint.ask(
            f"SELECT number FROM numbers({rows})",
            headers={"Accept-Encoding": f"br, {encoding}"},
            enable_http_compression=1,
        )
        assert answer.headers["Content-Encoding"] == encoding
        plain = DECODERS[encoding](answer.body).split()
        assert (len(plain), plain[-1]) == (rows, str(rows - 1).encode())
    unasked = endpoint.ask("SELECT 1", headers={"Accept-Encoding": encoding})
    assert (unasked.headers.get("Content-Encoding"), unasked.body) == (None, b"1\n")


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_requests_are_decompressed_and_bounded(endpoint: EndpointProcess, encoding: str) -> None:
    encode, headers = ENCODERS[encoding], {"Content-Encoding": encoding}
    assert endpoint.ask(encode(b"SELECT 1 + 1"), headers=headers).body == b"2\n"
    bomb = encode(b"SELECT 1" + b" " * 100_000_000)
    assert len(bomb) < 2_000_000
    answer = endpoint.ask(bomb, headers=headers)
    assert (answer.code, answer.status) == (307, 413)
    assert endpoint.ask(b"\x01\x02", headers=headers).status == 400
    assert endpoint.ask(encode(b"SELECT 1 + 1")[:-5], headers=headers).status == 400
    endpoint.assert_healthy()


def test_headers_tell_what_the_query_did(endpoint: EndpointProcess) -> None:
    answer = endpoint.ask("SELECT count() FROM numbers(1000)", query_id="mine-1")
    assert answer.headers["X-ClickHouse-Query-Id"] == "mine-1"
    assert answer.headers["X-ClickHouse-Server-Display-Name"] == "tenwatch"
    assert answer.headers["X-ClickHouse-Timezone"] == "UTC"
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("1000", "1")
    assert int(summary["elapsed_ns"]) > 0
    refused = endpoint.ask("SELECT 1", query_id="a\r\nX-Evil: 1")
    assert refused.code == 36
    assert "X-Evil" not in refused.headers


def test_errors_have_the_code_and_form_of_clickhouse(endpoint: EndpointProcess) -> None:
    for sql, code, status, name in (
        ("SELECT nope", 47, 404, "UNKNOWN_IDENTIFIER"),
        ("SELECT * FROM nope", 60, 404, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, 400, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, 500, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT toUInt8('x')", 6, 400, "CANNOT_PARSE_TEXT"),
    ):
        answer = endpoint.ask(sql)
        assert (answer.code, answer.status) == (code, status), answer.text
        assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
        assert answer.text.rstrip().endswith(f"({name})")
        assert "parseQueryToJSON" not in answer.text


def test_a_failure_inside_a_result_is_told_and_breaks_the_response_off(
    endpoint: EndpointProcess,
) -> None:
    connection = endpoint.connection()
    connection.request(
        "POST",
        "/?max_threads=1",
        "SELECT number, throwIf(number = 2900000) FROM numbers(3000000)",
        basic("reader", PASSWORDS["reader"]),
    )
    response = connection.getresponse()
    assert response.status == 200
    tag = response.headers["X-ClickHouse-Exception-Tag"]
    received = bytearray()
    with pytest.raises(Exception, match="IncompleteRead"):
        while piece := response.read1(65536):
            received += piece
        response.read()
    rows, _, failure = bytes(received).decode().partition("\r\n__exception__\r\n")
    assert rows.startswith("0\t0\n1\t0\n")
    message = failure.removeprefix(f"{tag}\r\n").partition("\n")[0]
    assert message.startswith("Code: 395. DB::Exception: ")
    assert failure == f"{tag}\r\n{message}\n{len(message) + 1} {tag}\r\n__exception__\r\n"
    endpoint.assert_healthy()


def test_wait_end_of_query_turns_a_late_failure_into_a_status(endpoint: EndpointProcess) -> None:
    sql = "SELECT number, throwIf(number = 290000) FROM numbers(300000)"
    answer = endpoint.ask(sql, wait_end_of_query=1, max_threads=1)
    assert (answer.status, answer.code) == (500, 395)


def test_progress_arrives_in_headers_while_the_query_runs(endpoint: EndpointProcess) -> None:
    connection = endpoint.connection()
    connection.request(
        "POST",
        "/?send_progress_in_http_headers=1&http_headers_progress_interval_ms=100",
        "SELECT sum(sipHash64(number, number)) FROM numbers(1000000000) "
        "SETTINGS max_execution_time = 1",
        basic("reader", PASSWORDS["reader"]),
    )
    response = connection.getresponse()
    progress = [json.loads(line) for line in response.headers.get_all("X-ClickHouse-Progress", [])]
    read = [int(each["read_rows"]) for each in progress]
    assert len(read) > 2
    assert read == sorted(read)
    assert progress[-1]["total_rows_to_read"] == "1000000000"
    # The status had gone out, so the code comes in a header behind the progress.
    assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (200, "159")
    assert response.read().startswith(b"Code: 159. DB::Exception: ")
    connection.request(
        "POST",
        "/?send_progress_in_http_headers=1",
        "SELECT 1",
        basic("reader", PASSWORDS["reader"]),
    )
    assert connection.getresponse().read() == b"1\n"


def test_a_large_result_streams_in_constant_memory(endpoint: EndpointProcess) -> None:
    endpoint.ask("SELECT number FROM numbers(1000000) FORMAT JSON")
    before = int(endpoint.command("memory"))
    connection = endpoint.connection()
    connection.request(
        "POST",
        "/",
        "SELECT number, toString(number) AS text FROM numbers(8000000) FORMAT JSON",
        basic("reader", PASSWORDS["reader"]),
    )
    response = connection.getresponse()
    size = 0
    while piece := response.read1(1 << 20):
        size += len(piece)
    assert size > 350_000_000
    assert int(endpoint.command("memory")) - before < 100_000


def test_a_session_id_is_harmless_and_what_needs_a_session_is_refused(
    endpoint: EndpointProcess,
) -> None:
    assert endpoint.ask("SELECT 1", session_id="s", session_timeout=60).body == b"1\n"
    for sql in ("SET max_threads = 1", "USE system", "set max_threads=1", "/**/ USE tenwatch"):
        answer = endpoint.ask(sql, session_id="s")
        assert answer.code == 344, answer.text
    assert endpoint.ask("CREATE TEMPORARY TABLE t (a UInt8)", session_id="s").code == 164
    assert endpoint.ask("SELECT 1", session_id="s", session_check=1).code == 344


def test_the_database_of_unqualified_names_can_be_chosen(endpoint: EndpointProcess) -> None:
    for database in ("", "default", "tenwatch"):
        assert endpoint.rows("SELECT count() FROM processes", database=database) == [[1000]]
    assert endpoint.rows("SELECT dummy FROM one", database="system") == [[0]]
    assert endpoint.ask("SELECT 1", database="nope").code == 81
    header = endpoint.ask("SELECT dummy FROM one", headers={"X-ClickHouse-Database": "system"})
    assert header.body == b"0\n"


def test_statements_that_describe_the_schema_are_served(endpoint: EndpointProcess) -> None:
    assert ["processes"] in endpoint.rows("SHOW TABLES")
    assert ["tenwatch"] in endpoint.rows("SHOW DATABASES")
    assert endpoint.ask("EXISTS TABLE processes").body == b"1\n"
    assert endpoint.ask("EXISTS tenwatch.nope").body == b"0\n"
    columns = endpoint.rows('DESC TABLE "tenwatch"."processes"')
    assert columns[0][:2] == ["ts", "DateTime64(6, 'UTC')"]
    assert endpoint.rows("DESCRIBE (SELECT 1 AS a)")[0][:2] == ["a", "UInt8"]
    assert "CREATE VIEW tenwatch.processes" in endpoint.ask("SHOW CREATE VIEW processes").text
    assert [row[0] for row in endpoint.rows("SHOW COLUMNS FROM processes LIKE 'n%'")] == ["node"]
    assert "ReadFromMergeTree" in endpoint.ask("EXPLAIN SELECT * FROM processes").text
    assert endpoint.rows(
        "SELECT count() FROM information_schema.tables WHERE table_schema = 'tenwatch'"
    ) == [[4]]


def test_methods_other_than_get_and_post_are_refused(endpoint: EndpointProcess) -> None:
    assert endpoint.ask("SELECT 1", method="PUT").status == 501
