"""Connections of ours to a real server, one per role."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from tests.support.nats_server import NatsServer

MEBIBYTE = 1024 * 1024
SMALL_STREAMS = StreamSettings(
    raw_max_bytes=64 * MEBIBYTE,
    events_max_bytes=64 * MEBIBYTE,
    buckets_max_bytes=16 * MEBIBYTE,
    dead_max_bytes=16 * MEBIBYTE,
)
Connect = Callable[..., Awaitable[BrokerConnection]]


@pytest.fixture
async def connect(nats_server: NatsServer) -> AsyncIterator[Connect]:
    """``await connect("worker")``: a connection of ours as that user, closed after the test."""
    made: list[BrokerConnection] = []

    async def connect(user: str = "admin", **settings: object) -> BrokerConnection:
        options = {"reconnect_wait_seconds": 0.1, "servers": (nats_server.url,)} | settings
        connection = BrokerConnection(
            BrokerSettings(
                credentials_file=str(nats_server.write_credentials(user)),
                **options,  # type: ignore[arg-type]
            ),
            name=f"test-{user}",
        )
        made.append(connection)
        connection.start()
        await connection.wait_connected(10)
        return connection

    yield connect
    for connection in made:
        await connection.close()


@pytest.fixture
async def jetstream(connect: Connect) -> JetStream:
    """JetStream's API as admin, with our streams (small ones) in place."""
    jetstream = JetStream(await connect("admin"))
    await ensure_streams(jetstream, SMALL_STREAMS)
    return jetstream
