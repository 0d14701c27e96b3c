"""What a worker must know of RAW before it starts, and the space it gives back."""

import asyncio
import logging
import re
from typing import Final, NamedTuple

from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, NotFoundError
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings
from stream.worker.errors import WorkerError

_log = logging.getLogger("tenwatch.worker")
_PARTITIONS: Final = re.compile(r"\{\{\s*partition\((\d+),")
RETRY_SECONDS: Final = 0.5


class RawStream(NamedTuple):
    """A stream of raw events."""

    partitions: int
    emptied: bool
    """Whether messages were dropped from its beginning already."""


async def find_raw_stream(broker: BrokerSettings, name: str) -> RawStream:
    """Wait until the stream exists, then say how it is cut into partitions.

    Raises :class:`WorkerError` when it isn't laid out as RAW is.
    """
    connection = BrokerConnection(broker, "tenwatch-worker-start")
    connection.start()
    try:
        told = False
        while True:
            try:
                await connection.wait_connected(5.0)
                info = await JetStream(connection).stream_info(name)
                break
            except NotFoundError:
                problem = f"the stream {name} does not exist yet"
            except BrokerError as error:
                problem = str(error)
            if not told:
                _log.info("waiting for the broker: %s", problem)
                told = True
            await asyncio.sleep(RETRY_SECONDS)
    finally:
        await connection.close()
    transform = (info.config.get("subject_transform") or {}).get("dest", "")
    found = _PARTITIONS.search(transform)
    if found is None:
        raise WorkerError(
            f"the stream {name} is not partitioned (its subject_transform is {transform!r}); "
            "it was not made by this program: remove it, or give the worker another name"
        )
    return RawStream(int(found[1]), info.state.first_seq > 1)


class StreamFill(NamedTuple):
    """How full RAW is."""

    bytes: int
    max_bytes: int
    first_seq: int
    last_seq: int


def purge_before(fill: StreamFill, committed: int, above: float, to: float) -> int:
    """The sequence below which RAW may be emptied now; 0 when there is no need.

    Nothing at or above ``committed`` (the next offset to read) goes. Sizes are taken as even over
    the stream, since the aim is a rough one.
    """
    if fill.max_bytes <= 0 or fill.bytes <= above * fill.max_bytes:
        return 0
    excess = 1 - to * fill.max_bytes / fill.bytes
    wanted = fill.first_seq + int((fill.last_seq - fill.first_seq + 1) * excess)
    before = min(wanted, committed)
    return before if before > fill.first_seq else 0
