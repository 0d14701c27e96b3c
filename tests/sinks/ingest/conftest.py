"""A broker with our streams, a sink as a process, and a look into its store."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import nats.aio.client
import pytest

from sinks.store.client import Store
from sinks.store.settings import StoreSettings
from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from tests.support.nats_server import NatsServer
from tests.support.sink_process import SinkProcess

MEBIBYTE = 1024 * 1024
SMALL_STREAMS = StreamSettings(
    raw_max_bytes=64 * MEBIBYTE,
    events_max_bytes=128 * MEBIBYTE,
    buckets_max_bytes=16 * MEBIBYTE,
    dead_max_bytes=16 * MEBIBYTE,
)


@pytest.fixture
async def broker(nats_server: NatsServer) -> NatsServer:
    """A server with our streams in it."""
    settings = BrokerSettings(
        servers=(nats_server.url,), credentials_file=str(nats_server.write_credentials("admin"))
    )
    async with BrokerConnection(settings, "test-setup") as connection:
        await connection.wait_connected(10)
        await ensure_streams(JetStream(connection), SMALL_STREAMS)
    return nats_server


@pytest.fixture
async def client(broker: NatsServer) -> AsyncIterator[nats.aio.client.Client]:
    """A plain connection that may publish everything."""
    client = await broker.connect("admin", reconnect_time_wait=0.1, max_reconnect_attempts=-1)
    yield client
    await client.close()


@pytest.fixture
def sink(broker: NatsServer, tmp_path: Path) -> Iterator[SinkProcess]:
    """A sink, not started yet."""
    process = SinkProcess(broker, tmp_path / "sink")
    yield process
    process.close()


@pytest.fixture
def ask(sink: SinkProcess) -> Callable[..., list[tuple[Any, ...]]]:
    """Open the store of a sink that has ended, and ask it."""

    def ask(statement: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with Store(StoreSettings(path=str(sink.store))) as store:
            return store.writer.rows(statement, parameters)

    return ask
