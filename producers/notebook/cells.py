"""Takes cells from IPython's thread and publishes them from a thread of its own."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from .messages import Batch, encode, escape_token, own_cgroup, timestamp
from .settings import Settings

QUEUE_CELLS: Final = 1000
"""Cells that wait for the broker: some hours of work, half a megabyte."""
BATCH_CELLS: Final = 64
CONNECT_SECONDS: Final = 3
PUBLISH_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 30.0
EXIT_SECONDS: Final = 1.0
"""How long the end of the kernel may wait for what is still queued."""
MAXIMUM_LEFT: Final = 64
"""Batches that ended kernels may leave behind."""


class CellReporter:
    """Takes cells from IPython's thread and publishes them from its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.boot = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
        self.published = 0
        self.dropped = 0
        """Cells that were never published."""
        self.errors = 0
        """Failures of the hook itself."""
        self.problem = ""
        self._pid = os.getpid()
        self._hostname = socket.gethostname()
        self._cgroup = own_cgroup()
        self._waiting: deque[dict[str, Any]] = deque()
        self._sending: Batch | None = None
        self._lock = threading.Lock()
        self._unreported = 0
        self._next_seq = {"process": 0, "loss": 0}
        self._cells = 0
        self._started: dict[int, tuple[int, int]] = {}
        self._loss: Batch | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._stop: asyncio.Event | None = None
        self._client: Any = None
        self._thread = threading.Thread(target=self._run, name="tenwatch-cells", daemon=True)
        self._thread.start()

    # Called by IPython.

    def cell_starts(self, info: Any) -> None:
        """Note when a cell starts (event ``pre_run_cell``)."""
        with contextlib.suppress(Exception):
            self._started[id(info)] = time.time_ns(), time.monotonic_ns()

    def cell_ended(self, result: Any) -> None:
        """Queue the report of a cell (event ``post_run_cell``)."""
        try:
            started = self._started.pop(id(result.info), None)
            if started is not None and os.getpid() == self._pid:
                self._enqueue(self._event(started, failed=not result.success))
        except Exception:
            self.errors += 1

    def stop(self, seconds: float = EXIT_SECONDS) -> None:
        """Give what is queued a moment to go out, lay down the rest, and end."""
        if os.getpid() != self._pid:
            return
        self._stopping = True
        self._wake_up()
        self._thread.join(seconds)
        with self._lock, contextlib.suppress(OSError):
            self._lay_down()

    @property
    def queued(self) -> int:
        """Cells that wait."""
        return len(self._waiting)

    # The event.

    def _event(self, started: tuple[int, int], *, failed: bool) -> dict[str, Any]:
        wall, monotonic = started
        self._cells += 1
        try:
            cwd = os.fsencode(Path.cwd()).decode("utf-8", "backslashreplace")
        except OSError:
            cwd = ""
        return {
            "ts": timestamp(time.time_ns() // 1000),
            "action": "exit",
            "pid": self._pid,
            "ppid": os.getppid(),
            "uid": os.getuid(),
            "exec_id": f"{self.boot}-{self._cells}",
            "comm": "notebook-cell",
            "exe": sys.executable or "",
            "argv": ["notebook-cell"],
            "cwd": cwd,
            "hostname": self._hostname,
            "cgroup": self._cgroup,
            "start_ts": timestamp(wall // 1000),
            "duration_us": (time.monotonic_ns() - monotonic) // 1000,
            "exit_code": 1 if failed else 0,
            "notebook": True,
        }

    def _enqueue(self, event: dict[str, Any]) -> None:
        with self._lock:
            if len(self._waiting) >= QUEUE_CELLS:
                self._waiting.popleft()
                self.dropped += 1
                self._unreported += 1
            self._waiting.append(event)
        self._wake_up()

    def _wake_up(self) -> None:
        loop, wake, stop = self._loop, self._wake, self._stop
        if loop is not None and wake is not None and stop is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)
                if self._stopping:
                    loop.call_soon_threadsafe(stop.set)

    # The thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._publish_all())
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"

    async def _publish_all(self) -> None:
        self._wake, self._stop = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        await self._publish_left()
        while not (self._stopping and not self._waiting):
            if not self._waiting:
                await self._wake.wait()
                self._wake.clear()
                continue
            batch = self._next_batch()
            if batch is None or not await self._deliver(batch):
                return
            await self._report_dropped()
            await self._publish_left()
        if self._client is not None:
            await self._client.close()

    def _next_batch(self) -> Batch | None:
        with self._lock:
            events = [self._waiting.popleft() for _ in range(min(BATCH_CELLS, self.queued))]
            self._sending = self._encode("process", events) if events else None
            return self._sending

    async def _deliver(self, batch: Batch) -> bool:
        """Publish one batch until it is acknowledged; False when the end came first."""
        pause = 0.5
        while not await self._publish(batch):
            if self._stopping:
                return False
            await self._rest(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        with self._lock:
            self.published += batch.payload.count(b"\n")
            self._sending = None
        return True

    async def _report_dropped(self) -> None:
        """Publish how many cells were dropped; if that fails, again after the next cells."""
        with self._lock:
            self._loss = self._loss or self._loss_batch()
        if self._loss is not None and await self._publish(self._loss):
            self._loss = None

    def _loss_batch(self) -> Batch | None:
        count, self._unreported = self._unreported, 0
        event = {"ts": timestamp(time.time_ns() // 1000), "stage": "observer", "kind": "process",
                 "reason": "notebook_queue_full", "count": count}  # fmt: skip
        return self._encode("loss", [event]) if count else None

    def _encode(self, kind: str, events: list[dict[str, Any]]) -> Batch:
        """Number the events, for good."""
        first = self._next_seq[kind]
        self._next_seq[kind] += len(events)
        node = self.settings.node
        return encode(kind, events, node=node, boot=self.boot, first_seq=first)

    def _lay_down(self) -> None:
        """Write what was not acknowledged into the folder. Sent twice, it is still the same."""
        batches = [self._sending, self._loss or self._loss_batch()]
        while self._waiting:
            count = min(BATCH_CELLS, len(self._waiting))
            events = [self._waiting.popleft() for _ in range(count)]
            batches.append(self._encode("process", events))
        if self.settings.folder is None:
            return
        for number, batch in enumerate(each for each in batches if each is not None):
            if len(self._left()) >= MAXIMUM_LEFT:
                return
            path = self.settings.folder / f"{self.boot}-{number:03d}.{batch.kind}"
            path.with_suffix(".new").write_bytes(batch.payload)
            path.with_suffix(".new").rename(path)

    def _left(self) -> list[Path]:
        folder = self.settings.folder
        kinds = (".process", ".loss")
        return sorted(each for each in folder.iterdir() if each.suffix in kinds) if folder else []

    async def _publish_left(self) -> None:
        """Send what ended kernels left behind."""
        with contextlib.suppress(OSError):
            for path in self._left():
                try:
                    batch = Batch(path.suffix[1:], path.read_bytes())
                    other = batch.headers["Tenwatch-Node"] != self.settings.node
                except (ValueError, KeyError):
                    path.unlink()
                    continue
                if other or not await self._publish(batch):
                    return
                path.unlink()

    async def _publish(self, batch: Batch) -> bool:
        """One attempt; True when the broker has stored the batch."""
        try:
            client = await self._connected()
            await client.jetstream().publish(
                f"raw.{batch.kind}.{escape_token(self.settings.node)}",
                batch.payload,
                headers=batch.headers,
                timeout=PUBLISH_SECONDS,
            )
        except Exception as error:
            self.problem = f"{type(error).__name__}: {error}"
            return False
        self.problem = ""
        return True

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until the end."""
        if self._stop is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)

    async def _connected(self) -> Any:
        if self._client is None or not self._client.is_connected:
            import nats  # in this thread, since it takes a while

            if self._client is not None:
                await self._client.close()
            self._client = await nats.connect(
                list(self.settings.servers),
                name=f"tenwatch-notebook-{self._hostname}",
                connect_timeout=CONNECT_SECONDS,
                allow_reconnect=False,
                error_cb=self._connection_error,
                **self.settings.options(),
            )
        return self._client

    async def _connection_error(self, error: Exception) -> None:
        self.problem = f"{type(error).__name__}: {error}"
