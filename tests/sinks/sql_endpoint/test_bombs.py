"""Queries that ask for too much end with the code that says so, and take nobody with them."""

from collections.abc import Iterator

import pytest

from tests.sinks.sql_endpoint.endpoint_process import EndpointProcess

MEMORY, TIME, ROWS, DEEP, BIG = 241, 159, 158, 306, 168

BOMBS = {
    "one array of everything": ("SELECT groupArray(number) FROM numbers(1000000000)", {MEMORY}),
    "a group for every row": (
        "SELECT number, count() FROM numbers(10000000000) GROUP BY number FORMAT Null",
        {MEMORY},
    ),
    "a join of large tables": (
        "SELECT count() FROM numbers(30000000) a JOIN numbers(30000000) b ON a.number = b.number",
        {MEMORY},
    ),
    "long strings": ("SELECT sum(length(repeat('x', number))) FROM numbers(10000000)", {MEMORY}),
    "arrays in arrays": (
        "SELECT arrayMap(x -> arrayMap(y -> range(10000), range(10000)), range(10000))",
        {MEMORY},
    ),
    "one long array": ("SELECT range(10000000000)", {69}),
    "one long string": ("SELECT repeat('x', 1000000000000)", {131}),
    "no end of time": ("SELECT sum(sipHash64(number)) FROM numbers(19000000000)", {TIME}),
    "a cross join": ("SELECT count() FROM numbers(1000000) a, numbers(1000000) b", {TIME}),
    "fill": ("SELECT 1 AS x ORDER BY x WITH FILL FROM 0 TO 1000000000000 FORMAT Null", {TIME}),
    "no end of rows": ("SELECT count(number * 2) FROM numbers(1000000000000)", {ROWS}),
    "a series without end": ("SELECT * FROM generateSeries(1, 1000000000000000)", {ROWS}),
    "rows of system.numbers": ("SELECT number FROM system.numbers FORMAT Null", {ROWS, TIME}),
    "recursion": (
        "WITH RECURSIVE a AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM a) SELECT count() FROM a",
        {DEEP},
    ),
    "brackets": (f"SELECT {'(' * 5000}1{')' * 5000}", {DEEP}),
    "subqueries": (f"SELECT * FROM {'(SELECT * FROM ' * 300}processes{')' * 300}", {DEEP}),
    "additions": (f"SELECT {'1+' * 20000}1", {167}),
    "a long list": (f"SELECT {','.join(['1'] * 100000)}", {BIG}),
    "aliases that double": (
        "WITH 1 AS a0, " + ", ".join(f"a{i} + a{i} AS a{i + 1}" for i in range(60)) + " SELECT a60",
        {36},
    ),
    "tables that double": (
        "WITH c0 AS (SELECT 1 AS x), "
        + ", ".join(f"c{i + 1} AS (SELECT a.x FROM c{i} a, c{i} b)" for i in range(24))
        + " SELECT count() FROM c24",
        {36},
    ),
    "an array type without end": (f"SELECT CAST('[]', '{'Array(' * 500}Int8{')' * 500}')", {DEEP}),
    "an object without end": ("SELECT '" + '{"a":' * 5000 + "1" + "}" * 5000 + "'::JSON", {117}),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointProcess]:
    with EndpointProcess(
        tmp_path_factory.mktemp("bombs"),
        query={"execution_seconds": 30.0, "memory_bytes": 100_000_000},
    ) as served:
        yield served


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped_and_the_store_is_well(small: EndpointProcess, name: str) -> None:
    sql, codes = BOMBS[name]
    short = {"max_execution_time": "1"} if TIME in codes else {}
    answer = small.ask(sql, seconds=60, **short)
    assert answer.code in codes, answer.text[:300]
    small.assert_healthy()


def test_what_a_client_may_ask_for_cannot_be_raised(small: EndpointProcess) -> None:
    answer = small.ask(
        "SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 0",
        max_execution_time=1000,
    )
    assert answer.code == MEMORY
    for setting in ("max_bytes_before_external_group_by", "max_expanded_ast_elements"):
        assert small.ask("SELECT 1", **{setting: 1_000_000_000}).code == 452


def test_what_a_client_asks_for_can_be_less(small: EndpointProcess) -> None:
    assert small.ask("SELECT number FROM numbers(10)", max_result_rows=5).code == 396
    assert small.ask("SELECT sum(pid) FROM processes", max_rows_to_read=10).code == ROWS
    cut = small.ask("SELECT 1 FROM numbers(9)", max_result_rows=5, result_overflow_mode="break")
    assert cut.status == 200


def test_memory_comes_back_after_the_bombs(small: EndpointProcess) -> None:
    for _ in range(3):
        small.ask("SELECT groupArray(number) FROM numbers(1000000000)")
    assert int(small.command("memory")) < 900_000
