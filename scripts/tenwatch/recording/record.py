"""Takes messages of a stream into a recording until the end, a limit, or a signal."""

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stream.broker.connection import BrokerConnection
from stream.broker.errors import NotFoundError
from stream.broker.jetstream import JetStream
from stream.broker.reader import StreamReader
from stream.broker.streams import BUCKETS_STREAM, DEAD_STREAM, EVENTS_STREAM, PARTITION, RAW_STREAM
from stream.broker.subscription import Delivery
from stream.contract.subjects import escape_token
from stream.contract.timestamps import format_timestamp, now_timestamp
from tenwatch.access import open_admin_broker
from tenwatch.embedded.instance import find_instance
from tenwatch.errors import UsageError
from tenwatch.recording.format import Description, RecordedMessage, recorded
from tenwatch.recording.reader import events_of
from tenwatch.recording.writer import RecordingWriter

STAGES: Final = {
    "raw": (RAW_STREAM, f"{PARTITION}.*"),
    "events": (EVENTS_STREAM, "events"),
    "buckets": (BUCKETS_STREAM, "buckets"),
    "dead": (DEAD_STREAM, "dead"),
}
"""Stream of each stage, and how its subjects begin."""
FRAME_BYTES: Final = 4 * 1024 * 1024
"""Payloads that one frame holds at most, about."""
FRAME_SECONDS: Final = 1.0
"""How long a message may wait for its frame to be written."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What to record."""

    stage: str
    kinds: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    start: int | None = None
    """Microseconds since the epoch; None is the beginning of the log."""
    follow: bool = False
    limit: int | None = None
    """Messages."""
    rotate_bytes: int = 256 * 1024 * 1024

    @property
    def stream(self) -> str:
        """The stream to read."""
        return STAGES[self.stage][0]

    def filters(self) -> list[str]:
        """Subjects to read; empty for all."""
        if not self.kinds and not self.nodes:
            return []
        if self.stage == "dead":
            if self.nodes:
                raise UsageError("dead letters have no node in their subject; leave out --node")
            return [f"dead.*.{escape_token(kind)}" for kind in self.kinds]
        start = STAGES[self.stage][1]
        return [
            f"{start}.{escape_token(kind) if kind else '*'}.{escape_token(node) if node else '*'}"
            for kind in self.kinds or ("",)
            for node in self.nodes or ("",)
        ]


@dataclass(slots=True)
class RecordReport:
    """What was recorded by one call."""

    folder: str
    stream: str
    messages: int = 0
    events: int = 0
    bytes: int = 0
    """Compressed."""
    continued_after: int = 0
    """Sequence of the last message of an earlier call; 0 for a new recording."""
    missed_messages: int = 0
    """Messages that the stream has dropped since the earlier call ended."""
    first_ts: str = ""
    last_ts: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Recorder:
    """One call of ``tenwatch record``."""

    connection: BrokerConnection
    folder: Path
    options: RecordOptions
    on_progress: Callable[[RecordReport], None]
    stop: asyncio.Event
    report: RecordReport = field(init=False)
    _held: list[RecordedMessage] = field(default_factory=list)
    _held_bytes: int = 0
    _oldest: float = 0.0

    def __post_init__(self) -> None:
        self.report = RecordReport(str(self.folder), self.options.stream)

    async def record(self) -> RecordReport:
        """Read and write until there is nothing left (or it is stopped)."""
        began = time.monotonic()
        options, report = self.options, self.report
        jetstream = JetStream(self.connection)
        try:
            info = await jetstream.stream_info(options.stream)
        except NotFoundError:
            raise UsageError(
                f"the broker has no stream {options.stream}; is it Tenwatch's?"
            ) from None
        transform = (info.config.get("subject_transform") or {}).get("dest", "")
        description = Description(
            stream=options.stream, transform=transform, filters=options.filters(),
            started=now_timestamp(),
        )  # fmt: skip
        writer = await asyncio.to_thread(
            RecordingWriter, self.folder, description, options.rotate_bytes
        )
        with writer:
            report.continued_after = writer.last_seq
            if writer.last_seq:
                report.missed_messages = max(0, info.state.first_seq - writer.last_seq - 1)
            reader = StreamReader(
                self.connection,
                options.stream,
                filters=options.filters(),
                start_seq=writer.last_seq + 1,
                start_time=_time(options.start) if options.start and not writer.last_seq else "",
                follow=options.follow,
            )
            await self._take(reader, writer, info.state.last_seq)
            await self._write(writer)
        report.bytes = writer.written_bytes
        report.seconds = round(time.monotonic() - began, 3)
        return report

    async def _take(self, reader: StreamReader, writer: RecordingWriter, last: int) -> None:
        messages = aiter(reader)
        stopped = asyncio.create_task(self.stop.wait())
        following: asyncio.Task[Delivery] | None = None
        try:
            while not self.stop.is_set():
                following = following or asyncio.create_task(anext(messages))  # type: ignore[arg-type]
                left = self._oldest + FRAME_SECONDS - time.monotonic() if self._held else None
                done, _ = await asyncio.wait(
                    {following, stopped},
                    timeout=None if left is None else max(0.0, left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if following in done:
                    try:
                        delivery = following.result()
                    except StopAsyncIteration:
                        return
                    finally:
                        following = None
                    if not self.options.follow and delivery.stream_seq > last:
                        return
                    self._hold(delivery)
                    if self.options.limit and self.report.messages >= self.options.limit:
                        return
                    if not self.options.follow and delivery.stream_seq == last:
                        return
                if self._held and (
                    self._held_bytes >= FRAME_BYTES
                    or time.monotonic() - self._oldest >= FRAME_SECONDS
                ):
                    await self._write(writer)
        finally:
            for task in (stopped, following):
                if task is not None:
                    task.cancel()
            await asyncio.gather(
                *(task for task in (stopped, following) if task is not None),
                return_exceptions=True,
            )
            await messages.aclose()  # type: ignore[attr-defined]

    def _hold(self, delivery: Delivery) -> None:
        if not self._held:
            self._oldest = time.monotonic()
        message = recorded(
            delivery.stream_seq, delivery.timestamp_ns, delivery.subject, delivery.headers,
            delivery.data,
        )  # fmt: skip
        self._held.append(message)
        self._held_bytes += len(delivery.data)
        report = self.report
        report.messages += 1
        report.events += events_of([message])
        report.last_ts = _time(delivery.timestamp_ns // 1000)
        report.first_ts = report.first_ts or report.last_ts

    async def _write(self, writer: RecordingWriter) -> None:
        if not self._held:
            return
        messages, self._held, self._held_bytes = self._held, [], 0
        await asyncio.to_thread(writer.write, messages)
        self.report.bytes = writer.written_bytes
        self.on_progress(self.report)


def _time(microseconds: int) -> str:
    return format_timestamp(microseconds)


async def record(
    data: Path | None,
    folder: Path,
    options: RecordOptions,
    on_progress: Callable[[RecordReport], None],
) -> RecordReport:
    """Record from a running instance; SIGINT and SIGTERM end it in order."""
    instance = find_instance(data)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with open_admin_broker(instance, "tenwatch record") as connection:
        await connection.wait_connected(10)
        return await Recorder(connection, folder, options, on_progress, stop).record()
