"""Plots show what the numbers are."""

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tenwatch.errors import UsageError
from tenwatch.plotting import LEVELS, find_series, print_plot, short, sparkline, write_svg
from tenwatch.sql_client import Result

RESULT = Result(
    ["window_start", "scope", "node", "final", "cpu", "memory"],
    ["DateTime('UTC')", "LowCardinality(String)", "String", "Bool", "Nullable(Float64)", "UInt64"],
    [
        ["2026-11-20 09:00:10", "node", "b", True, 3.0, "7"],
        ["2026-11-20 09:00:00", "node", "a", True, 1.0, "5"],
        ["2026-11-20 09:00:10", "node", "a", False, None, "6"],
    ],
)


def test_each_number_of_each_thing_is_a_series_in_order_of_time() -> None:
    found = {(each.metric, each.label): each.points for each in find_series(RESULT)}
    assert set(found) == {("cpu", "a"), ("cpu", "b"), ("memory", "a"), ("memory", "b")}
    (first, five), (second, six) = found["memory", "a"]
    assert (five, six, second - first) == (5.0, 6.0, 10.0)
    assert [value for _, value in found["cpu", "a"]] == [1.0]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(-1e9, 1e9)), min_size=1, max_size=50),
    st.integers(2, 80),
)
def test_a_sparkline_has_its_width_and_shows_least_and_most(
    points: list[tuple[float, float]], width: int
) -> None:
    line = sparkline(points, 0, 100, width)
    assert len(line) == width
    assert set(line) <= set(LEVELS + " ")
    assert LEVELS[0] in line


def test_a_ramp_rises_and_what_is_unknown_is_blank() -> None:
    ramp = [(float(at), float(at)) for at in range(8)]
    assert sparkline(ramp, 0, 7, 8) == LEVELS
    assert sparkline([(0.0, 1.0), (7.0, 2.0)], 0, 7, 8) == "▁      █"
    assert sparkline([(0.0, 5.0), (7.0, 5.0)], 0, 7, 2) == "▁▁"


@pytest.mark.parametrize("width", [80, 140])
def test_lines_fit_the_terminal(width: int) -> None:
    out = io.StringIO()
    print_plot(RESULT, Console(file=out, width=width, force_terminal=False))
    lines = out.getvalue().splitlines()
    assert len(lines) == 6
    assert all(len(line) <= width for line in lines)
    assert "2026-11-20 09:00:00 to 2026-11-20 09:00:10 UTC" in lines[-1]


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0, 12.3456, -1500, 2.5e6, 7e9, 1e13)] == [
        "0", "12.35", "-1.5k", "2.5M", "7G", "10T",
    ]  # fmt: skip


def test_an_svg_has_a_line_for_each_series_and_escapes_names(tmp_path: Path) -> None:
    data = [[*row[:2], f"<{row[2]}>", *row[3:]] for row in RESULT.data]
    path = tmp_path / "plot.svg"
    write_svg(Result(RESULT.columns, RESULT.types, data), path)
    root = ElementTree.fromstring(path.read_text())
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 4
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"cpu", "memory", "<a>", "<b>"} <= set(texts)
    with pytest.raises(UsageError, match="can't be written"):
        write_svg(RESULT, tmp_path / "none" / "plot.svg")


def test_a_result_without_times_or_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="needs a column of times"):
        find_series(Result(["a"], ["String"], [["x"]]))
