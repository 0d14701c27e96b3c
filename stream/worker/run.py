"""The role: ``tenwatch work``."""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final

from stream.enrichment.errors import RulesError
from stream.worker.app import WorkerApp
from stream.worker.errors import WorkerError
from stream.worker.health import HealthServer
from stream.worker.metrics import metrics_text
from stream.worker.raw_stream import find_raw_stream
from stream.worker.rules_file import RulesFile
from stream.worker.settings import Names, WorkerRole

_log: Final = logging.getLogger("tenwatch.worker")
_COLLECTOR: Final = (50_000, 20, 50)
"""Python's default (700, 10, 10) looks for cycles after every second batch, and a quarter of a
worker's time went there."""


class ExitCode(IntEnum):
    """What the process ends with."""

    DRAINED = 0
    """Stopped in order; all that was done is committed."""
    CRASHED = 1
    """Something went wrong that trying again inside the process does not mend."""
    UNUSABLE = 2
    """It can't run as it is configured."""


def tune_garbage_collector() -> None:
    """Look for cycles seldom: a worker makes none in its hot path."""
    gc.freeze()
    gc.set_threshold(*_COLLECTOR)


def run_worker(role: WorkerRole, on_ready: Callable[[dict[str, str]], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT and give the exit code.

    ``on_ready`` is told the address of ``health`` once the worker has its partitions.
    """
    tune_garbage_collector()
    return asyncio.run(_Run(role, on_ready).run())


class _Run:
    def __init__(self, role: WorkerRole, on_ready: Callable[[dict[str, str]], None] | None) -> None:
        self._role = role
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self._worker: WorkerApp | None = None
        self._problem = "starting"

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        health = HealthServer(self._not_ready, self._metrics)
        try:
            rules = RulesFile(self._role.worker.rules_file)
            await health.start(self._role.worker.host, self._role.worker.health_port)
            _log.info("health on http://%s:%d", self._role.worker.host, health.port)
            return await self._serve(rules, health)
        except (WorkerError, RulesError) as error:
            _log.error("%s", error)
            return ExitCode.UNUSABLE
        except OSError as error:
            _log.error("the worker can't start: %s", error)
            return ExitCode.UNUSABLE
        finally:
            await health.stop()

    async def _serve(self, rules: RulesFile, health: HealthServer) -> int:
        name = Names(self._role.worker).raw
        finding = asyncio.ensure_future(find_raw_stream(self._role.broker, name))
        if not await self._before_stop(finding):
            return ExitCode.DRAINED
        raw = await finding
        worker = WorkerApp(self._role, raw, rules)
        try:
            starting = asyncio.ensure_future(worker.start())
            if await self._before_stop(starting):
                await starting
                self._worker = worker
                if self._on_ready is not None:
                    address = f"http://{self._role.worker.host}:{health.port}"
                    self._on_ready({"health": address})
                await worker.app.wait(self._stop.wait())
        except Exception as error:
            _log.error("stopping after: %r", error)
            return ExitCode.CRASHED
        finally:
            self._problem = "stopping"
            self._worker = None
            await worker.stop()
        return ExitCode.CRASHED if worker.app.crashed else ExitCode.DRAINED

    async def _before_stop(self, work: asyncio.Future[Any]) -> bool:
        """Wait for some work, or for the signal to stop; True if the work is done."""
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if work.done():
            return True
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return False

    def _not_ready(self) -> list[str]:
        return [self._problem] if self._worker is None else self._worker.not_ready()

    def _metrics(self) -> str:
        return metrics_text(self._worker) if self._worker is not None else ""
