"""One producer process: observers, the pipeline, health, and an orderly stop.

Exit codes: 0 stopped in order (what wasn't published waits in the spool), 2 a setting or the
credentials are wrong, 3 an observer can't start, 4 the spool can't be used, 5 a part failed while
running.
"""

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import partial
from typing import Final

from producers.base.errors import SpoolError
from producers.base.health import HealthServer
from producers.base.metrics import producer_metrics
from producers.base.observer import Observer
from producers.base.pipeline import Pipeline
from producers.base.settings import RunSettings
from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError

_log = logging.getLogger("tenwatch.producer")

SHORT_SECONDS: Final = 0.5
"""What each step of a stop gets at least, even when the time is over."""

LOOK_SECONDS: Final = 0.5
"""How often to look whether an observer has failed."""


class ExitCode(IntEnum):
    """What the exit code of a producer process means."""

    STOPPED = 0
    SETTINGS = 2
    OBSERVER = 3
    SPOOL = 4
    FAILED = 5


def run_producer(observers: Sequence[Observer], settings: RunSettings) -> int:
    """Run until SIGTERM or SIGINT; gives the :class:`ExitCode`."""
    try:
        return asyncio.run(Producer(observers, settings).run())
    except BrokerError as error:
        _log.error("%s", error)
        return ExitCode.SETTINGS


class Producer:
    """The process, without the process: everything that :func:`run_producer` runs."""

    def __init__(self, observers: Sequence[Observer], settings: RunSettings) -> None:
        self._observers = list(observers)
        self._settings = settings
        self._started: list[Observer] = []
        self._stop = asyncio.Event()
        self._deadline = 0.0
        self._orderly = True
        self.starting = "starting"
        """What is still to be done before it observes, or that it is stopping; else empty."""
        self.health: HealthServer | None = None
        self.pipeline: Pipeline | None = None

    def stop(self) -> None:
        """Ask it to stop in order. To be called on the loop."""
        self._stop.set()

    async def run(self) -> int:
        """Start everything, wait for the stop, stop everything."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        connection = BrokerConnection(settings.broker, f"tenwatch-{settings.name}")
        kinds = [kind for each in self._observers for kind in each.kinds]
        pipeline = self.pipeline = Pipeline(settings, connection, kinds)
        pipeline.degraded = self.degraded
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, NotImplementedError):  # not the main thread
                loop.add_signal_handler(number, self.stop)
        try:
            await pipeline.open()
        except SpoolError as error:
            _log.error("%s", error)
            return ExitCode.SPOOL
        health = self.health = HealthServer(
            lambda: self.reasons(connection, pipeline),
            lambda: producer_metrics(
                pipeline, connection, self._started, not self.reasons(connection, pipeline)
            ),
            self.degraded,
        )
        try:
            await health.start(settings.producer.health_host, settings.producer.health_port)
        except OSError as error:
            _log.error(
                "health can't listen on %s:%d: %s; choose another producer.health_port",
                settings.producer.health_host,
                settings.producer.health_port,
                error.strerror,
            )
            await pipeline.close(0)
            return ExitCode.SETTINGS
        _log.info("health on http://%s:%d", settings.producer.health_host, health.port)
        connection.start()
        code = await self._observe(pipeline)
        code = await self._close(pipeline, code)
        await health.stop()
        await connection.close()
        return code

    async def _close(self, pipeline: Pipeline, code: int) -> int:
        """Store and publish what is left; gives the exit code."""
        try:
            done = await pipeline.close(self._left(), self._orderly and code == ExitCode.STOPPED)
        except Exception:
            _log.critical("the producer could not stop in order", exc_info=True)
            return ExitCode.FAILED
        if not done:
            _log.warning(
                "not everything was published within %.0f s; %d bytes stay in the spool",
                self._settings.producer.stop_seconds,
                pipeline.storage.spool.unacknowledged_bytes,
            )
        return code

    def _left(self) -> float:
        """Seconds that are left of the stop, at least a short while for every step."""
        return max(SHORT_SECONDS, self._deadline - time.monotonic())

    async def _observe(self, pipeline: Pipeline) -> int:
        """Observers from start to stop; gives the exit code."""
        code = await self._start_observers(pipeline)
        if code == ExitCode.STOPPED:
            pipeline.storage.observing = True
            self.starting = ""
            failed = asyncio.create_task(pipeline.failed(), name="pipeline-failed")
            stop = asyncio.create_task(self._stop.wait(), name="stop")
            blind = asyncio.create_task(self._observer_failed(), name="observer-failed")
            tasks = (failed, stop, blind)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                _log.critical("a part of the producer failed", exc_info=failed.result())
                code = ExitCode.FAILED
                pipeline.queue.close()
            elif blind.done():
                _log.critical("%s", blind.result())
                code = ExitCode.FAILED
            for task in tasks:
                task.cancel()
        self.starting = "stopping"
        self._deadline = time.monotonic() + self._settings.producer.stop_seconds
        pipeline.stop_blocking()
        for observer in reversed(self._started):
            try:
                async with asyncio.timeout(self._left()):
                    await _in_thread(observer.stop)
            except TimeoutError:
                self._orderly = False
                _log.error("the observer of %s did not stop in time", _kinds(observer))
            except Exception:
                self._orderly = False
                _log.exception("the observer of %s failed to stop", _kinds(observer))
        return code

    async def _observer_failed(self) -> str:
        """Wait until an observer has failed for good; gives why."""
        while True:
            for each in self._started:
                failure = getattr(each, "failure", None)
                if failure:
                    return f"the observer of {_kinds(each)} failed: {failure}"
            await asyncio.sleep(LOOK_SECONDS)

    async def _start_observers(self, pipeline: Pipeline) -> ExitCode:
        for observer in self._observers:
            self.starting = f"the observer of {_kinds(observer)} is starting"
            try:
                await _in_thread(partial(observer.start, pipeline.queue))
            except Exception as error:
                # Of any package: each observer has errors of its own.
                _log.error("the observer of %s can't start: %s", _kinds(observer), error)
                _log.debug("where it failed", exc_info=True)
                return ExitCode.OBSERVER
            self._started.append(observer)
            if not getattr(observer, "bridged", False):
                pipeline.report_down(observer.kinds)
            if self._stop.is_set():
                break
        return ExitCode.STOPPED

    def degraded(self) -> list[str]:
        """What the observers say does not work fully."""
        found: list[str] = []
        for each in self._started:
            try:
                found += each.degraded()
            except Exception as error:
                found.append(f"the observer of {_kinds(each)} can't tell its state: {error!r}")
        return found

    def reasons(self, connection: BrokerConnection, pipeline: Pipeline) -> list[str]:
        """Why the producer isn't ready: all that keeps events from being seen or delivered."""
        found = [self.starting] if self.starting else []
        for each in self._started:
            try:
                reason = each.ready()
            except Exception as error:
                reason = f"the observer of {_kinds(each)} can't tell whether it is ready: {error!r}"
            found += [reason] if reason is not None else []
        if not connection.connected:
            found.append(connection.problem)
        elif connection.violation:
            found.append(f"the broker refuses: {connection.violation}")
        if pipeline.publisher.problem and connection.connected:
            found.append(pipeline.publisher.problem)
        if pipeline.spool_problem:
            found.append(pipeline.spool_problem)
        return found


async def _in_thread(function: Callable[[], None]) -> None:
    """Run it in a thread that nobody waits for at exit, should it hang."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            function()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="observer", daemon=True).start()
    await future


def _kinds(observer: Observer) -> str:
    return ", ".join(observer.kinds)
