"""What the live screen shows, gathered from progress records, buckets, losses and SQL."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from tenwatch.embedded.probe import metrics
from tenwatch.errors import TenwatchError
from tenwatch.sql_client import SqlClient

KEPT_WINDOWS = 6
TOP_ROWS = 6
SQL_SECONDS = 2.0
RATE_SECONDS = 5.0
"""Rates are taken over this time, so that they neither flicker nor lag."""

TOP_PROCESSES = """
SELECT comm AS program, count() AS runs,
       countIf(exit_code > 0 OR signal > 0) AS failed, round(sum(duration_us) / 1e6, 2) AS seconds
FROM tenwatch.processes WHERE ts > now64(6) - INTERVAL 60 SECOND AND action = 'exit'
GROUP BY program ORDER BY runs DESC, program LIMIT {rows:UInt8}
"""
TOP_FILES = """
SELECT path, count() AS changes, argMax(size, ts) AS bytes
FROM tenwatch.files WHERE ts > now64(6) - INTERVAL 60 SECOND
GROUP BY path ORDER BY changes DESC, max(ts) DESC LIMIT {rows:UInt8}
"""


@dataclass(slots=True)
class KindState:
    """One producer's word on one kind."""

    emitted: int = 0
    lost: int = 0
    dropped: int = 0
    spooled_bytes: int = 0
    oldest_age_ms: int = 0
    history: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=16))

    def rate(self) -> float:
        """Events per second over the last moments."""
        if len(self.history) < 2:
            return 0.0
        newest = self.history[-1]
        oldest = next(each for each in self.history if newest[0] - each[0] <= RATE_SECONDS)
        span = newest[0] - oldest[0]
        return (newest[1] - oldest[1]) / span if span > 0 else 0.0


@dataclass(slots=True)
class LiveState:
    """All that is shown."""

    kinds: dict[str, KindState] = field(default_factory=dict)
    windows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """window_start → kind → the newest row of scope node."""
    top_processes: list[list[Any]] = field(default_factory=list)
    top_files: list[list[Any]] = field(default_factory=list)
    losses: dict[tuple[str, str], int | None] = field(default_factory=dict)
    """(stage, reason) → lost events; None when the number can't be known."""
    lag: dict[str, float] = field(default_factory=dict)
    store_error: str = ""

    def newest_windows(self) -> list[str]:
        """Starts of the newest windows, newest first."""
        return sorted(self.windows, reverse=True)[:KEPT_WINDOWS]


class LiveFeed:
    """Keeps a :class:`LiveState` current until it is closed."""

    def __init__(self, client: Client, sql: SqlClient, health: Mapping[str, int]) -> None:
        """``health``: health ports of worker and sink by name."""
        self.state = LiveState()
        self._client = client
        self._sql = sql
        self._health = health
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Subscribe, and begin to ask."""
        await self._client.subscribe("events.progress.>", cb=self._on_progress)
        await self._client.subscribe("tap.buckets.>", cb=self._on_buckets)
        await self._client.subscribe("loss.>", cb=self._on_loss)
        self._tasks = [
            asyncio.create_task(self._ask_store()),
            asyncio.create_task(self._ask_lag()),
        ]

    async def close(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_progress(self, message: Msg) -> None:
        for event in _events(message):
            kind = self.state.kinds.setdefault(str(event["producer"]), KindState())
            kind.emitted = int(event.get("emitted", 0))
            kind.lost = int(event.get("lost", 0))
            kind.dropped = int(event.get("dropped", 0))
            kind.spooled_bytes = int(event.get("spooled_bytes", 0))
            kind.oldest_age_ms = int(event.get("oldest_age_ms", 0))
            kind.history.append((time.monotonic(), kind.emitted))

    async def _on_buckets(self, message: Msg) -> None:
        for row in _events(message):
            if row.get("scope") != "node":
                continue
            kinds = self.state.windows.setdefault(str(row["window_start"]), {})
            known = kinds.get(str(row["kind"]))
            if known is None or known["version"] <= row["version"]:
                kinds[str(row["kind"])] = row
        for start in sorted(self.state.windows)[: -2 * KEPT_WINDOWS]:
            del self.state.windows[start]

    async def _on_loss(self, message: Msg) -> None:
        for event in _events(message):
            key = (str(event.get("stage")), str(event.get("reason")))
            count = event.get("count")
            known = self.state.losses.get(key, 0)
            self.state.losses[key] = None if count is None or known is None else known + int(count)

    async def _ask_store(self) -> None:
        while True:
            try:
                parameters = {"rows": TOP_ROWS}
                processes = await asyncio.to_thread(self._sql.rows, TOP_PROCESSES, parameters)
                files = await asyncio.to_thread(self._sql.rows, TOP_FILES, parameters)
                self.state.top_processes, self.state.top_files = processes.data, files.data
                self.state.store_error = ""
            except TenwatchError as error:
                self.state.store_error = str(error)
            await asyncio.sleep(SQL_SECONDS)

    async def _ask_lag(self) -> None:
        while True:
            for name, port in self._health.items():
                numbers = await metrics(port)
                found = [v for key, v in numbers.items() if key.startswith(f"tenwatch_{name}_lag")]
                if found:
                    self.state.lag[name] = max(found)
            await asyncio.sleep(1.0)


def _events(message: Msg) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in message.data.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError):
            found.append(orjson.loads(line))
    return found
