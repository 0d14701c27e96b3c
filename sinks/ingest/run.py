"""The role: ``tenwatch sink``."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import msgspec

from sinks.errors import SchemaError, StoreAwayError, StoreError, StoreFullError, StoreLockedError
from sinks.ingest.health import HealthServer, metrics_text
from sinks.ingest.settings import SinkSettings, SqlSettings
from sinks.ingest.sink import Sink
from sinks.maintenance.loop import Maintenance
from sinks.sql_endpoint import ChdbReaders, EndpointSettings, Role, SqlEndpoint, User
from sinks.store.client import Store
from sinks.store.migrations import apply_schema
from sinks.store.settings import StoreSettings
from stream.broker.connection import BrokerConnection
from stream.broker.credentials import ENVIRONMENT as CREDENTIALS
from stream.broker.errors import BrokerError
from stream.broker.settings import BrokerSettings
from stream.settings import Configuration

_log = logging.getLogger("tenwatch.sink")
RETRY_SECONDS = 2.0


class ExitCode(IntEnum):
    """What the process ends with."""

    DRAINED = 0
    """Stopped in order; all that was held is stored."""
    LEFT_OVER = 1
    """Stopped (or stood still too long on a server), and something held was not stored in time;
    the broker keeps it."""
    UNUSABLE = 2
    """The store can't be used as it is configured: locked, edited migrations, no such folder."""


@dataclass(frozen=True, slots=True)
class SinkRole:
    """All settings of the role."""

    store: StoreSettings
    sink: SinkSettings = field(default_factory=SinkSettings)
    sql: SqlSettings = field(default_factory=SqlSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    @classmethod
    def of(cls, configuration: Configuration) -> "SinkRole":
        """Read the sections; raises ``SettingsError``."""
        return cls(
            configuration.section("store", StoreSettings),
            configuration.section("sink", SinkSettings),
            configuration.section("sql", SqlSettings),
            configuration.section("broker", BrokerSettings),
        )


def run_sink(role: SinkRole, on_ready: Callable[[dict[str, str]], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT and give the exit code.

    ``on_ready`` is told the addresses of ``health`` and ``sql`` once both answer.
    """
    return asyncio.run(_Run(role, on_ready).run())


class _Run:
    def __init__(self, role: SinkRole, on_ready: Callable[[dict[str, str]], None] | None) -> None:
        self._role = role
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self._sink: Sink | None = None
        self._maintenance: Maintenance | None = None
        self._problem = "starting"

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        settings = self._role.sink
        health = HealthServer(settings.host, settings.health_port, self._troubles, self._metrics)
        await health.start()
        try:
            store = await self._open_store()
            if store is None:
                return ExitCode.DRAINED
            try:
                return await self._serve(store, health)
            finally:
                await asyncio.to_thread(store.close)
        except StoreError as error:
            _log.error("%s", error)
            return ExitCode.UNUSABLE
        finally:
            await health.stop()

    async def _open_store(self) -> Store | None:
        """Open it and bring the schema up; waits for a store that is away. None when stopped."""
        store: Store | None = None
        while not self._stop.is_set():
            try:
                if store is None:
                    store = await asyncio.to_thread(Store, self._role.store)
                await asyncio.to_thread(apply_schema, store)
                return store
            except (StoreLockedError, SchemaError):
                if store is not None:
                    await asyncio.to_thread(store.close)
                raise
            except (StoreAwayError, StoreFullError) as error:
                if self._problem != str(error):
                    _log.warning("waiting for the store: %s", error)
                self._problem = str(error)
                await self._pause()
        if store is not None:
            await asyncio.to_thread(store.close)
        return None

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await self._stop.wait()

    async def _serve(self, store: Store, health: HealthServer) -> int:
        connection = BrokerConnection(self._role.broker, "tenwatch-sink")
        endpoint = self._endpoint(store)
        if endpoint is not None:
            await endpoint.start()
        sink = Sink(store, connection, self._role.sink)
        try:
            connection.start()
            if not await self._start(sink):
                return ExitCode.DRAINED
            self._sink = sink
            self._problem = ""
            node = self._role.sink.node or socket.gethostname()
            self._maintenance = Maintenance(store, sink, node)
            upkeep = asyncio.create_task(self._maintenance.run(), name="sink-maintenance")
            addresses = {"health": f"http://{self._role.sink.host}:{health.port}"}
            if endpoint is not None:
                addresses["sql"] = endpoint.url
            _log.info("storing; %s", ", ".join(f"{k} at {v}" for k, v in addresses.items()))
            if self._on_ready is not None:
                self._on_ready(addresses)
            await self._until_stopped(sink)
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)
            drained = await sink.stop() and not sink.frozen.is_set()
            return ExitCode.DRAINED if drained else ExitCode.LEFT_OVER
        finally:
            if endpoint is not None:
                await endpoint.stop()
            await connection.close()

    async def _until_stopped(self, sink: Sink) -> None:
        waits = [
            asyncio.ensure_future(self._stop.wait()),
            asyncio.ensure_future(sink.frozen.wait()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        if sink.frozen.is_set():
            _log.error("stood still for too long: another sink may have taken over, so this ends")
        else:
            _log.info("stopping: storing what is held")

    async def _start(self, sink: Sink) -> bool:
        """Start it as soon as the store lets it; False when stopped before."""
        while not self._stop.is_set():
            try:
                problem = "" if self._role.store.path else await self._rival(sink)
                if not problem:
                    await sink.start()
                    return True
            except (StoreAwayError, StoreFullError, BrokerError) as error:
                problem = str(error)
            if problem != self._problem:
                _log.warning("not storing yet: %s", problem)
            self._problem = problem
            await self._pause()
        return False

    async def _rival(self, sink: Sink) -> str:
        await sink.connection.wait_connected(RETRY_SECONDS)
        return await sink.rival()

    def _endpoint(self, store: Store) -> SqlEndpoint | None:
        sql = self._role.sql
        if not sql.enabled or store.settings.target != "embedded":
            return None
        users = sql_users(os.environ.get(CREDENTIALS, self._role.broker.credentials_file))
        if not users:
            _log.warning("no sql_users in the credentials file, so SQL over HTTP is not served")
            return None
        return SqlEndpoint(
            ChdbReaders(store.settings.folder),
            users,
            EndpointSettings(
                host=sql.host,
                port=sql.port,
                database=store.settings.database,
                certificate=Path(sql.certificate) if sql.certificate else None,
                private_key=Path(sql.private_key) if sql.private_key else None,
            ),
        )

    def _troubles(self) -> list[str]:
        if self._problem:
            return [self._problem]
        return self._sink.troubles() if self._sink is not None else []

    def _metrics(self) -> str:
        if self._sink is None:
            return ""
        upkeep = self._maintenance
        further = (
            [
                ("upkeep_rounds_total", "counter", "Rounds of upkeep", upkeep.rounds),
                (
                    "upkeep_failures_total",
                    "counter",
                    "Steps of upkeep that failed",
                    upkeep.failures,
                ),
                ("upkeep_seconds", "gauge", "Length of the newest round", upkeep.round_seconds),
                ("rolled_windows_total", "counter", "Windows rolled up", upkeep.windows),
                (
                    "purged_messages_total",
                    "counter",
                    "Stored messages taken from streams",
                    upkeep.purged,
                ),
            ]
            if upkeep is not None
            else []
        )
        return metrics_text(self._sink, further)


class _SqlUser(msgspec.Struct):
    user: str
    password: str
    role: Role = Role.READER
    hidden_tables: list[str] = []


class _File(msgspec.Struct):
    sql_users: list[_SqlUser] = []


def sql_users(path: str) -> list[User]:
    """The accounts under ``sql_users`` of a credentials file; none without a file.

    Raises ``SchemaError`` for a file that can't be read; its message quotes no secret.
    """
    if not path:
        return []
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=_File)
    except OSError as error:
        raise SchemaError(f"the credentials file {path} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SchemaError(f"the credentials file {path} is not as expected: {error}") from None
    return [
        User(each.user, each.password, each.role, frozenset(each.hidden_tables))
        for each in found.sql_users
    ]
