"""Where a replay reads the log from. Every source gives the messages in the order of RAW."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.reader import StreamReader
from stream.broker.streams import RAW_STREAM
from tenwatch.errors import UsageError
from tenwatch.recording.reader import Recording


@dataclass(frozen=True, slots=True)
class SourceMessage:
    """One message of RAW, as it was stored."""

    sequence: int
    timestamp_ns: int
    """When RAW stored it."""
    subject: str
    """``part.<partition>.<kind>.<node>``."""
    headers: Mapping[str, str]
    data: bytes


class Source(Protocol):
    """A log that ends where it ended when it was opened."""

    async def open(self) -> int:
        """Look at it; gives the number of messages that will come, about."""

    async def transform(self) -> str:
        """Destination of RAW's subject transform, which makes the partitions."""

    def messages(self, start_sequence: int) -> AsyncGenerator[SourceMessage, None]:
        """Everything from a sequence on."""


class StreamSource:
    """The stream RAW at the broker."""

    def __init__(self, connection: BrokerConnection, jetstream: JetStream) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._last = 0

    async def open(self) -> int:
        state = (await self._jetstream.stream_info(RAW_STREAM)).state
        self._last = state.last_seq
        return state.messages

    async def transform(self) -> str:
        config = (await self._jetstream.stream_info(RAW_STREAM)).config
        return str(config["subject_transform"]["dest"])

    async def messages(self, start_sequence: int) -> AsyncGenerator[SourceMessage, None]:
        if start_sequence > self._last:
            return
        reader = StreamReader(self._connection, RAW_STREAM, start_seq=max(1, start_sequence))
        try:
            async for delivery in reader:
                if delivery.stream_seq <= self._last:
                    yield SourceMessage(
                        delivery.stream_seq,
                        delivery.timestamp_ns,
                        delivery.subject,
                        delivery.headers or {},
                        delivery.data,
                    )
                if delivery.stream_seq >= self._last:
                    return
        finally:
            await reader.close()


class RecordingSource:
    """A folder that ``tenwatch record`` wrote."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`~tenwatch.recording.format.RecordingError`, or :class:`UsageError` for a
        recording of something else than raw events."""
        self._recording = Recording(folder)
        if self._recording.description.stream != RAW_STREAM:
            raise UsageError(
                f"{folder} is a recording of {self._recording.description.stream}; only one of "
                f"{RAW_STREAM} can be replayed"
            )

    async def open(self) -> int:
        return self._recording.messages

    async def transform(self) -> str:
        return self._recording.description.transform

    async def messages(self, start_sequence: int) -> AsyncGenerator[SourceMessage, None]:
        frames = self._recording.read(start_sequence - 1)
        # The next frame is unpacked while the one before is published.
        following = asyncio.create_task(asyncio.to_thread(next, frames, None))
        try:
            while (messages := await following) is not None:
                following = asyncio.create_task(asyncio.to_thread(next, frames, None))
                for message in messages:
                    yield SourceMessage(
                        message.seq, message.time_ns, message.subject, message.headers,
                        message.data,
                    )  # fmt: skip
        finally:
            await asyncio.gather(following, return_exceptions=True)
