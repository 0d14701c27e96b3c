"""What ``tenwatch streams`` does."""

import asyncio
import time
from typing import Final

from rich.console import Console

from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, ConfigMismatchError
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from stream.settings import Configuration

PAUSE_SECONDS: Final = 2.0


async def apply_streams(configuration: Configuration, wait: float) -> None:
    """Create or update every stream, and print one line for each.

    A cluster answers before it has a leader, and then refuses; that is tried again until ``wait``
    seconds have passed. Raises :class:`BrokerError` after that, and at once for streams that can't
    be brought to the settings.
    """
    settings = configuration.section("streams", StreamSettings)
    broker = configuration.section("broker", BrokerSettings)
    deadline = time.monotonic() + wait
    async with BrokerConnection(broker, "tenwatch-streams") as connection:
        await connection.wait_connected(wait)
        while True:
            try:
                streams = await ensure_streams(JetStream(connection), settings)
                break
            except ConfigMismatchError:
                raise
            except BrokerError as error:
                if time.monotonic() + PAUSE_SECONDS > deadline:
                    raise
                Console(stderr=True).print(f"trying again: {error}", markup=False)
                await asyncio.sleep(PAUSE_SECONDS)
    for name, info in streams.items():
        print(f"{name}: {info.state.messages} messages, {info.state.bytes} bytes")
