"""Draws a picture of usage."""

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tenwatch.embedded.screen import human_bytes
from tenwatch.tables import shown
from tenwatch.watching.usage import KEYS, Picture, Row

HEADINGS = {
    "cpu_millicores": "CPU m", "memory_bytes": "memory", "io_read": "read/s",
    "io_write": "write/s", "net_rx": "in/s", "net_tx": "out/s", "execs": "execs",
    "failures": "failed", "crashes": "crashed", "file_changes": "files",
}  # fmt: skip
_BYTES = frozenset(("memory_bytes", "io_read", "io_write", "net_rx", "net_tx"))
_BAD = frozenset(("failures", "crashes"))
WORTH_TELLING = 1024 * 1024
"""Bytes in spools; less is what was seen a moment ago."""
_NARROW = 110
"""Below this many columns network is left out."""


@dataclass(slots=True)
class Choice:
    """What a person chose to see."""

    sort: str = "cpu_millicores"
    text: str = ""
    reverse: bool = False
    typing: bool = False


def cell(name: str, value: float | None) -> Text:
    """One number."""
    if value is None:
        return Text("-", style="dim")
    if name in _BYTES:
        return Text(human_bytes(value))
    if name == "cpu_millicores":
        return Text(f"{value:.1f}")
    return Text(f"{value:.0f}", style="red" if name in _BAD and value else "")


def health_line(picture: Picture) -> Text:
    """How the pipeline is, in one line; red what needs a look."""
    health = picture.health
    line = Text(
        f"{health.nodes} nodes, {health.producers} producers, "
        f"{health.stored_per_second:,.0f} events/s stored, {health.delay_seconds:.1f} s behind"
    )
    trouble = [
        (health.silent, f"{health.silent} producers silent"),
        (health.degraded, f"{health.degraded} degraded"),
        (health.spooled_bytes >= WORTH_TELLING, f"{human_bytes(health.spooled_bytes)} in spools"),
        (health.lost + health.lost_unknown, _lost(health.lost, health.lost_unknown)),
        (health.dead, f"{health.dead} dead in the last hour"),
    ]
    for number, text in trouble:
        if number:
            line.append(f", {text}", style="yellow" if "degraded" in text else "bold red")
    if not (health.lost or health.lost_unknown):
        line.append(", nothing lost in the last hour", style="green")
    return line


def _lost(known: int, unknown: int) -> str:
    parts = [f"{known} lost"] if known else []
    parts += [f"{unknown} losses of unknown number"] if unknown else []
    return f"{' and '.join(parts)} in the last hour"


def usage_table(picture: Picture, rows: list[Row], choice: Choice, width: int) -> Table:
    """The rows, as many columns as there is room for."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    for name in KEYS[picture.by]:
        table.add_column(name.replace("workload_kind", "kind"), no_wrap=True, overflow="ellipsis")
    metrics = [name for name in HEADINGS if width >= _NARROW or name not in ("net_rx", "net_tx")]
    for name in metrics:
        mark = ("▲" if choice.reverse else "▼") if name == choice.sort else ""
        table.add_column(HEADINGS[name] + mark, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(shown(name or None) for name in row.names),
            *(cell(name, row.metrics[name]) for name in metrics),
        )
    return table


def screen(
    picture: Picture, rows: list[Row], choice: Choice, size: tuple[int, int], problem: str
) -> RenderableType:
    """The whole screen, for a terminal of ``size`` columns and lines."""
    width, height = size
    room = max(1, height - 5)
    parts: list[RenderableType] = [health_line(picture)]
    heading = f"by {picture.by.value}, last {picture.span} s, {len(rows)} rows"
    if choice.text or choice.typing:
        heading += f", with {choice.text!r}" + "_" * choice.typing
    parts.append(Text(heading, style="dim"))
    parts.append(usage_table(picture, rows[:room], choice, width))
    if problem:
        parts.append(Text(problem.splitlines()[0][:width], style="bold red"))
    parts.append(
        Text(
            "n node  p pod  w workload  s namespace  u student | c cpu  m memory  i io  e execs  "
            "f failed  d files  a name | r turn round  / filter  q quit",
            style="dim", no_wrap=True, overflow="ellipsis",
        )
    )  # fmt: skip
    return Group(*parts)
