"""The live screen of ``tenwatch up``."""

import asyncio
from collections.abc import Callable
from typing import Any

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tenwatch.embedded.instance import Instance
from tenwatch.embedded.live import LiveState
from tenwatch.tables import shown

REFRESH_SECONDS = 1.0
WIDE = 100
"""Columns from which on tables stand side by side."""


def human_bytes(count: float | None) -> str:
    """``1.5 MiB``; a dash for what is not known."""
    if count is None:
        return "-"
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return "-"


def _table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        header_style="dim",
        pad_edge=False,
    )
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def _kinds(state: LiveState) -> Table:
    right = ("per s", "total", "lost", "waiting", "oldest")
    table = _table("Producers", "kind", *right, right=right)
    for name, kind in sorted(state.kinds.items()):
        lost = kind.lost + kind.dropped
        table.add_row(
            name,
            f"{kind.rate():.1f}",
            str(kind.emitted),
            Text(str(lost), style="red bold" if lost else ""),
            human_bytes(kind.spooled_bytes),
            f"{kind.oldest_age_ms / 1000:.1f} s" if kind.spooled_bytes else "-",
        )
    return table


def _buckets(state: LiveState, wide: bool) -> Table:
    disk = ("read", "written") if wide else ()
    right = ("CPU mcores", "memory", *disk, "execs", "exits", "failed", "crashed", "files")
    table = _table("10-second buckets of this node", "from", "", *right, right=right)
    for start in state.newest_windows():
        kinds = state.windows[start]
        cgroup, process, file = (kinds.get(k, {}) for k in ("cgroup", "process", "file"))
        final = all(row.get("final") for row in kinds.values())
        changes = [file.get(k, 0) for k in ("creates", "modifies", "deletes", "moves")]
        bytes_shown = ["memory_bytes_last", *(["io_read_bytes", "io_write_bytes"] if wide else [])]
        table.add_row(
            start[11:19],
            Text("final", style="green") if final else Text("open", style="yellow"),
            _number(cgroup.get("cpu_millicores")),
            *(human_bytes(cgroup.get(k)) for k in bytes_shown),
            *(_number(process.get(k)) for k in ("execs", "exits", "failures", "crashes")),
            _number(sum(changes)) if file else "-",
        )
    return table


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _top(state: LiveState, width: int) -> RenderableType:
    processes = _table(
        "Programs, last minute", "program", "runs", "failed", "seconds",
        right=("runs", "failed", "seconds"),
    )  # fmt: skip
    for row in state.top_processes:
        processes.add_row(*(shown(value) for value in row))
    files = _table("Files, last minute", "path", "changes", "size", right=("changes", "size"))
    room = max(20, width - 75)
    for path, changes, size in state.top_files:
        text = shown(path).plain
        text = text if len(text) <= room else "…" + text[1 - room :]
        files.add_row(text, str(changes), human_bytes(size))
    return Columns([processes, files], padding=(0, 4)) if width >= WIDE else Group(processes, files)


def _foot(state: LiveState, instance: Instance) -> Group:
    lag = ", ".join(f"{name} {int(value)}" for name, value in sorted(state.lag.items()))
    losses = ", ".join(
        f"{count if count is not None else 'unknown number'} {reason} ({stage})"
        for (stage, reason), count in sorted(state.losses.items())
    )
    lines = [
        Text(f"Behind (messages): {lag or 'not known yet'}"),
        Text(f"Lost: {losses or 'nothing'}", style="red bold" if losses else ""),
        Text(f"SQL {instance.sql}   NATS {instance.nats}   credentials {instance.credentials}"),
    ]
    if state.store_error:
        lines.append(Text(f"Store: {state.store_error}", style="red"))
    lines += [Text(f"Degraded: {each}", style="yellow") for each in instance.degraded]
    lines.append(Text("Ctrl-C stops everything in order and loses nothing.", style="dim"))
    return Group(*lines)


def render(state: LiveState, instance: Instance, width: int) -> Group:
    """The whole screen as it is now."""
    return Group(
        _kinds(state), Text(), _buckets(state, width >= WIDE), Text(), _top(state, width), Text(),
        _foot(state, instance),
    )  # fmt: skip


async def show(state: LiveState, instance: Callable[[], Instance], stop: asyncio.Event) -> None:
    """Draw once a second until ``stop`` is set."""
    console = Console()
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while not stop.is_set():
            live.update(render(state, instance(), console.width), refresh=True)
            try:
                async with asyncio.timeout(REFRESH_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
