"""An IPython extension that reports each cell run: when, how long, where, and whether it failed.

Never the code, nor its output. It works alone: besides nats-py it needs nothing but the standard
library, so an image for notebooks carries this one file (``%load_ext producers.notebook``, or the
name under which it was copied; for every notebook: ``c.InteractiveShellApp.extensions``).

It never blocks or breaks a cell: a thread of its own publishes, from a bounded queue. While the
broker is away the queue keeps the newest cells; what it drops is counted and published as a loss
when the broker is back.

Environment: ``TENWATCH_BROKER_SERVERS`` (URLs, comma-separated or a JSON list),
``TENWATCH_PRODUCER_NODE`` (the Kubernetes node's name, by the downward API),
``TENWATCH_CREDENTIALS_FILE`` (JSON: ``{"nats": {"user", "password"}}``; a login of role
``notebook``, which may publish ``raw.process.<node>`` and ``raw.loss.<node>`` and nothing else),
and ``TENWATCH_BROKER_TLS_CA`` (a PEM file, where the server's authority is a private one).
"""

import asyncio
import atexit
import contextlib
import importlib.util
import json
import os
import re
import secrets
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

QUEUE_CELLS: Final = 1000
"""Cells that wait for the broker: some hours of work, half a megabyte."""
BATCH_CELLS: Final = 64
CONNECT_SECONDS: Final = 3
PUBLISH_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 30.0
EXIT_SECONDS: Final = 1.0
"""How long the end of the kernel may wait for what is still queued."""
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_POD_VOLUME: Final = re.compile(r"/pods/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")


class NotConfiguredError(Exception):
    """Something in the environment is missing; the message says what."""


@dataclass(frozen=True)
class Settings:
    """Where to publish, and as whom."""

    servers: tuple[str, ...]
    node: str
    login: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_ca: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the environment; raises :class:`NotConfiguredError`."""
        text = environment.get("TENWATCH_BROKER_SERVERS", "").strip()
        node = environment.get("TENWATCH_PRODUCER_NODE", "")
        if not text or not node:
            missing = "TENWATCH_PRODUCER_NODE" if text else "TENWATCH_BROKER_SERVERS"
            raise NotConfiguredError(f"{missing} is not set")
        login: dict[str, str] = {}
        path = environment.get("TENWATCH_CREDENTIALS_FILE", "")
        try:
            servers = json.loads(text) if text.startswith("[") else text.split(",")
            if path:
                login = dict(json.loads(Path(path).read_text())["nats"])
        except OSError as error:
            raise NotConfiguredError(f"{path} can't be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise NotConfiguredError(
                'TENWATCH_BROKER_SERVERS or the credentials file is not as expected: {"nats": …}'
            ) from None
        return cls(
            servers=tuple(str(each).strip() for each in servers),
            node=node,
            login={key: str(value) for key, value in login.items()},
            tls_ca=environment.get("TENWATCH_BROKER_TLS_CA", ""),
        )

    def options(self) -> dict[str, Any]:
        """Arguments of nats-py's ``connect``."""
        options: dict[str, Any] = {}
        if "password" in self.login:
            user = self.login.get("user", "")
            options = {"user": user, "password": self.login["password"],
                       "inbox_prefix": f"_INBOX_{escape_token(user)}"}  # fmt: skip
        elif "token" in self.login:
            options["token"] = self.login["token"]
        if "inbox_prefix" in self.login:
            options["inbox_prefix"] = self.login["inbox_prefix"]
        if self.tls_ca:
            options["tls"] = ssl.create_default_context(cafile=self.tls_ca)
        return options


def escape_token(text: str) -> str:
    """A subject token, as ``stream.contract.subjects`` writes it."""
    return "".join(
        chr(byte) if byte in _PLAIN else f"_{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def timestamp(microseconds: int) -> str:
    """A time, as ``stream.contract.timestamps`` writes it."""
    second, fraction = divmod(microseconds, 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{fraction:06d}Z"


def own_cgroup(proc: Path = Path("/proc/self")) -> str:
    """This process's cgroup, as far as a container can see it, for the join with its pod.

    With a cgroup namespace of its own a container sees ``/``. The kubelet's mounts in it
    (``/etc/hosts`` lies in ``…/pods/<uid>/``) still tell the pod; then the path of a pod's cgroup
    with that UID is given, without QoS class and container.
    """
    with contextlib.suppress(OSError):
        for line in (proc / "cgroup").read_text().splitlines():
            path = line.split(":", 2)[-1]
            if "pod" in path and path != "/":
                return path
    with contextlib.suppress(OSError):
        found = _POD_VOLUME.search((proc / "mountinfo").read_text(errors="replace"))
        if found:
            return f"/kubepods/pod{found[1]}"
    return ""


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
        self._lock = threading.Lock()
        self._unreported = 0
        self._next_seq = {"process": 0, "loss": 0}
        self._cells = 0
        self._started: dict[int, tuple[int, int]] = {}
        self._pending_loss: tuple[int, dict[str, Any]] | None = None
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
        """Give what is queued a moment to go out, then end."""
        self._stopping = True
        self._wake_up()
        if os.getpid() == self._pid:
            self._thread.join(seconds)

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
        while not (self._stopping and not self._waiting):
            if not self._waiting:
                await self._wake.wait()
                self._wake.clear()
                continue
            with self._lock:
                count = min(BATCH_CELLS, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
            if not await self._deliver(batch):
                return
            self.published += count
            await self._report_dropped()
        if self._client is not None:
            await self._client.close()

    async def _deliver(self, batch: list[dict[str, Any]]) -> bool:
        """Publish one batch until it is acknowledged; False when the end came first."""
        first = self._next_seq["process"]
        self._next_seq["process"] += len(batch)
        pause = 0.5
        while not await self._publish("process", first, batch):
            if self._stopping:
                return False
            await self._rest(pause)
            pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        return True

    async def _report_dropped(self) -> None:
        """Publish how many cells were dropped; if that fails, again after the next cells."""
        if self._pending_loss is None:
            with self._lock:
                count, self._unreported = self._unreported, 0
            if not count:
                return
            event = {
                "ts": timestamp(time.time_ns() // 1000),
                "stage": "observer",
                "kind": "process",
                "reason": "notebook_queue_full",
                "count": count,
            }
            self._pending_loss = self._next_seq["loss"], event
            self._next_seq["loss"] += 1
        first, event = self._pending_loss
        if await self._publish("loss", first, [event]):
            self._pending_loss = None

    async def _publish(self, kind: str, first: int, events: list[dict[str, Any]]) -> bool:
        """One attempt; True when the broker has stored the batch. A repeat has the same id."""
        node = self.settings.node
        payload = b"".join(
            json.dumps(
                {"ts": each["ts"], "node": node, "boot": self.boot, "seq": first + index, **each},
                separators=(",", ":"),
                ensure_ascii=False,
            ).encode("utf-8", "backslashreplace")
            + b"\n"
            for index, each in enumerate(events)
        )
        headers = {
            "Nats-Msg-Id": f"{node}:{kind}:{self.boot}:{first}",
            "Tenwatch-Schema": f"{kind}/1",
            "Tenwatch-Node": node,
            "Tenwatch-Boot": self.boot,
            "Tenwatch-First-Seq": str(first),
            "Tenwatch-Count": str(len(events)),
            "Content-Type": "application/x-ndjson",
        }
        try:
            client = await self._connected()
            await client.jetstream().publish(
                f"raw.{kind}.{escape_token(node)}",
                payload,
                headers=headers,
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


_reporter: CellReporter | None = None


def load_ipython_extension(shell: Any) -> None:
    """Begin to report cells (``%load_ext``). A missing setting is said once, and nothing breaks."""
    global _reporter
    if _reporter is not None:
        return
    try:
        if importlib.util.find_spec("nats") is None:
            raise NotConfiguredError("nats-py is not installed (pip install nats-py)")
        reporter = CellReporter(Settings.from_environment(os.environ))
    except NotConfiguredError as error:
        print(f"tenwatch: {error}; cells are not reported", file=sys.stderr)
        return
    _reporter = reporter
    shell.events.register("pre_run_cell", reporter.cell_starts)
    shell.events.register("post_run_cell", reporter.cell_ended)
    atexit.register(reporter.stop)


def unload_ipython_extension(shell: Any) -> None:
    """Report no more (``%unload_ext``)."""
    global _reporter
    reporter, _reporter = _reporter, None
    if reporter is not None:
        shell.events.unregister("pre_run_cell", reporter.cell_starts)
        shell.events.unregister("post_run_cell", reporter.cell_ended)
        atexit.unregister(reporter.stop)
        reporter.stop()


def status() -> dict[str, Any]:
    """How the reporting goes: counts, and what keeps it from going; empty when not loaded."""
    if _reporter is None:
        return {}
    return {
        "published": _reporter.published,
        "queued": _reporter.queued,
        "dropped": _reporter.dropped,
        "errors": _reporter.errors,
        "problem": _reporter.problem,
    }
