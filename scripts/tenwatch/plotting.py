"""Time series of a result, as sparklines on a terminal or as an SVG file."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table

from tenwatch.errors import UsageError
from tenwatch.sql_client import Result
from tenwatch.tables import PLAIN_WIDTH, is_number, shown

LEVELS = "▁▂▃▄▅▆▇█"
NUMBER_WIDTH = 8
MINIMUM_WIDTH = 10
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2")
PANEL_WIDTH, PANEL_HEIGHT, MARGIN = 860, 150, 60


@dataclass(slots=True)
class Series:
    """One metric of one thing."""

    metric: str
    label: str
    """What it is of: the texts of its rows; empty when there are none."""
    points: list[tuple[float, float]] = field(default_factory=list)
    """Seconds since the epoch, and value; in order of time."""


def find_series(result: Result) -> list[Series]:
    """Every numeric column against the first column of times, one series for each combination of
    the texts beside them. Raises :class:`UsageError` when there is nothing to plot."""
    times = [at for at, kind in enumerate(result.types) if "Date" in kind]
    numbers = [at for at, kind in enumerate(result.types) if is_number(kind)]
    if not times or not numbers:
        raise UsageError(
            "a plot needs a column of times and one of numbers; "
            f"the result has {', '.join(result.columns)}"
        )
    texts = [
        at
        for at, kind in enumerate(result.types)
        # What is the same everywhere tells nothing apart.
        if "String" in kind and len({str(row[at]) for row in result.data}) > 1
    ]
    found: dict[tuple[str, str], Series] = {}
    for row in result.data:
        if row[times[0]] is None:
            continue
        at = _seconds(str(row[times[0]]))
        label = " ".join(str(row[each]) for each in texts if row[each] not in (None, "", []))
        for column in numbers:
            metric = result.columns[column]
            series = found.setdefault((metric, label), Series(metric, label))
            value = row[column]
            if value is not None and math.isfinite(float(value)):
                series.points.append((at, float(value)))
    for series in found.values():
        series.points.sort()
    return [series for series in found.values() if series.points]


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()


def sparkline(points: Sequence[tuple[float, float]], start: float, end: float, width: int) -> str:
    """``width`` characters from ``start`` to ``end``: the mean of each part of that time, a blank
    where nothing is known, between the lowest and the highest of them."""
    bins: list[list[float]] = [[] for _ in range(width)]
    span = (end - start) or 1.0
    for at, value in points:
        bins[min(width - 1, int((at - start) / span * width))].append(value)
    means = [sum(each) / len(each) if each else None for each in bins]
    known = [each for each in means if each is not None]
    low, high = min(known), max(known)
    scale = (len(LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if each is None else LEVELS[round((each - low) * scale)] for each in means)


def print_plot(result: Result, console: Console | None = None) -> None:
    """A line for each series: what it is, its course, and its numbers."""
    all_series = find_series(result)
    if not all_series:
        print("no numbers to plot")
        return
    console = console or Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    start, end = _span(all_series)
    names = [f"{series.metric} {series.label}".strip() for series in all_series]
    # As many characters as there are different times, so that no gaps are drawn between them.
    moments = len({at for series in all_series for at, _ in series.points})
    room = console.width - max(map(len, names)) - 3 * NUMBER_WIDTH - 4
    width = max(MINIMUM_WIDTH, min(moments, room))
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("series", no_wrap=True, overflow="ellipsis")
    table.add_column("", no_wrap=True, min_width=width)
    for heading in ("least", "most", "last"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=NUMBER_WIDTH - 1)
    for name, series in zip(names, all_series, strict=True):
        values = [value for _, value in series.points]
        table.add_row(
            shown(name),
            sparkline(series.points, start, end, width),
            *(short(value) for value in (min(values), max(values), values[-1])),
        )
    console.print(table)
    console.print(f"{_clock(start)} to {_clock(end)} UTC", style="dim")


def short(value: float) -> str:
    """Four digits and a unit of thousands: ``1.234k``, ``56.78M``."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def write_svg(result: Result, path: Path) -> None:
    """One panel for each metric, a line for each thing; raises :class:`UsageError`."""
    all_series = find_series(result)
    if not all_series:
        raise UsageError("the result has no numbers to plot")
    start, end = _span(all_series)
    metrics = list(dict.fromkeys(series.metric for series in all_series))
    labels = list(dict.fromkeys(series.label for series in all_series))
    legend = 18 * sum(1 for label in labels if label)
    height = len(metrics) * (PANEL_HEIGHT + MARGIN) + MARGIN + legend
    width = PANEL_WIDTH + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, metric in enumerate(metrics):
        top = MARGIN // 2 + number * (PANEL_HEIGHT + MARGIN)
        own = [series for series in all_series if series.metric == metric]
        parts += _panel(metric, own, labels, (start, end), top)
    for number, label in enumerate(label for label in labels if label):
        y = height - legend + 18 * number
        color = COLORS[labels.index(label) % len(COLORS)]
        parts.append(f'<rect x="{MARGIN}" y="{y - 9}" width="10" height="10" fill="{color}"/>')
        parts.append(f'<text x="{MARGIN + 16}" y="{y}">{escape(label)}</text>')
    try:
        path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None


def _panel(
    metric: str, own: list[Series], labels: list[str], span: tuple[float, float], top: int
) -> list[str]:
    values = [value for series in own for _, value in series.points]
    low, high = min(0.0, *values), max(values)
    start, end = span

    def place(at: float, value: float) -> str:
        x = MARGIN + (at - start) / ((end - start) or 1.0) * PANEL_WIDTH
        y = top + PANEL_HEIGHT - (value - low) / ((high - low) or 1.0) * PANEL_HEIGHT
        return f"{x:.1f},{y:.1f}"

    bottom = top + PANEL_HEIGHT
    parts = [
        f'<text x="{MARGIN}" y="{top - 6}" font-weight="bold">{escape(metric)}</text>',
        f'<path d="M{MARGIN},{top} V{bottom} H{MARGIN + PANEL_WIDTH}" fill="none" stroke="#999"/>',
        f'<text x="{MARGIN - 6}" y="{top + 10}" text-anchor="end">{high:.6g}</text>',
        f'<text x="{MARGIN - 6}" y="{bottom}" text-anchor="end">{low:.6g}</text>',
        f'<text x="{MARGIN}" y="{bottom + 16}">{_clock(start)}</text>',
        f'<text x="{MARGIN + PANEL_WIDTH}" y="{bottom + 16}" text-anchor="end">'
        f"{_clock(end)} UTC</text>",
    ]
    for series in own:
        color = COLORS[labels.index(series.label) % len(COLORS)]
        points = " ".join(place(at, value) for at, value in series.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'
        )
    return parts


def _span(all_series: Sequence[Series]) -> tuple[float, float]:
    return (
        min(series.points[0][0] for series in all_series),
        max(series.points[-1][0] for series in all_series),
    )


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
