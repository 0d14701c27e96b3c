"""Sends what is in the spool to the broker, in its order, and says what has arrived.

Batches are sent without waiting for the acknowledgement of the one before. When one fails, nothing
more is sent until all that are under way have an answer; then it begins again with the oldest that
is not acknowledged (go-back), one at a time at first. Every attempt carries the same
``Nats-Msg-Id``. So the order in RAW is the order of the spool, but for one case: JetStream refuses
a batch (it is full, say) and takes a smaller one that was already under way behind it. A progress
record is therefore only sent once everything before it is acknowledged: its watermark is true in
any case.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from producers.base.progress import PROGRESS
from producers.base.settings import ProducerSettings
from producers.base.spool_record import Meta
from producers.base.spool_types import Position, Stored
from stream.broker.connection import BrokerConnection
from stream.broker.errors import (
    BrokerError,
    JetStreamError,
    NoJetStreamError,
    NotConnectedError,
    RequestTimeoutError,
    StreamFullError,
)
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.broker.server_config import HEADER_ROOM
from stream.broker.wire import encode_headers
from stream.contract.subjects import raw_subject
from stream.contract.timestamps import parse_timestamp

MESSAGE_TOO_LARGE: Final = 10054
"""``message size exceeds maximum allowed``: a limit of the stream that no retry overcomes."""
CAREFUL_BATCHES: Final = 16
"""Batches that are sent one at a time after a failure."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0

Read = Callable[[Position, int], Awaitable[tuple[list[Stored], Position]]]
Refused = Callable[[Meta, str, str], None]


@dataclass(slots=True, eq=False)
class _Entry:
    """A batch in memory, on its way. ``end`` is None when it isn't in the spool."""

    meta: Meta
    payload: bytes
    end: Position | None
    backlog: bool
    acknowledged: bool = False


class SpoolPublisher:
    """Keeps a window of the spool in memory, sends it, and moves the floor behind it."""

    def __init__(
        self,
        connection: BrokerConnection,
        settings: ProducerSettings,
        node: str,
        window_bytes: int,
        read: Read,
        refused: Refused,
    ) -> None:
        """``read`` reads the spool; ``refused`` is told of a batch that can never be published.

        ``window_bytes`` of batches are kept in memory until they are acknowledged.
        """
        self._connection = connection
        self._settings = settings
        self._node = node
        self._window_limit = window_bytes
        self._read = read
        self._refused = refused
        self._acked = AckedPublisher(
            connection,
            max_messages=settings.publish_window + 1,
            max_bytes=2 * window_bytes,
            timeout_seconds=settings.publish_timeout_seconds,
        )
        self._window: deque[_Entry] = deque()
        self._next = 0
        """Index in the window of what is to be sent next."""
        self._window_bytes = 0
        self._cursor = self._end = Position(0, 0)
        self._failure: BrokerError | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._careful = 0
        self._wake = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._credit = 0.0
        self._credit_at = 0.0
        self.floor = Position(0, 0)
        """Everything in the spool below it is acknowledged."""
        self.published: Counter[str] = Counter()
        """Events by kind that the broker acknowledged."""
        self.batches: Counter[str] = Counter()
        self.bytes = 0
        self.duplicates = 0
        """Batches that the broker already had."""
        self.failures: Counter[str] = Counter()
        self.problem = ""
        """Why nothing gets through; empty when all is well."""

    def start(self, floor: Position, end: Position) -> None:
        """Begin with what lies between ``floor`` and ``end`` in the spool."""
        self.floor = self._cursor = floor
        self._end = end
        self._task = asyncio.create_task(self._run(), name="spool-publisher")

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What runs as long as the publisher does."""
        return [self._task] if self._task is not None else []

    @property
    def cursor(self) -> Position:
        """Up to here the spool is in memory or acknowledged."""
        return self._cursor

    @property
    def idle(self) -> bool:
        """Whether everything that was offered is acknowledged."""
        return not self._window and self._cursor >= self._end

    def unspooled(self) -> list[Meta]:
        """The batches that are in memory only and not acknowledged."""
        return [each.meta for each in self._window if each.end is None and not each.acknowledged]

    @property
    def oldest_age_ms(self) -> int:
        """Age of the oldest batch without an acknowledgement, by the time of its first event."""
        if not self._window or not self._window[0].meta.first_ts:
            return 0
        first = parse_timestamp(self._window[0].meta.first_ts)
        return max(0, time.time_ns() // 1_000_000 - first // 1000)

    def offer(self, stored: Stored) -> None:
        """A batch has been written to the spool."""
        caught_up = self._cursor == self._end
        self._end = max(self._end, stored.end)
        if stored.position < self._cursor:
            return  # read from the spool already
        if caught_up and self._window_bytes < self._window_limit:
            self._cursor = stored.end
            self._push(_Entry(stored.meta, stored.payload, stored.end, backlog=False))
        self._wake.set()

    def offer_unspooled(self, meta: Meta, payload: bytes) -> bool:
        """Take a batch that the disk refused; False if it must wait behind others."""
        room = self._window_bytes + len(payload) <= self._window_limit
        if self._cursor < self._end or not (room or not self._window):
            return False
        self._push(_Entry(meta, payload, None, backlog=False))
        self._wake.set()
        return True

    def _push(self, entry: _Entry) -> None:
        self._window.append(entry)
        self._window_bytes += len(entry.payload)
        self._caught_up.clear()

    async def drained(self, timeout: float) -> bool:
        """Wait until everything is acknowledged; False after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not self.idle:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._caught_up.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._caught_up.wait(), min(left, 0.2))
        return True

    async def stop(self) -> None:
        """Stop sending; what is under way may still arrive."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._acked.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except NotConnectedError as error:
                self._failure = error

    async def _step(self) -> None:
        if self._failure is not None:
            await self._go_back()
        self._skip_acknowledged()
        if self._next >= len(self._window):
            if self._cursor < self._end and self._has_room():
                await self._load()
                return
            self._wake.clear()
            if self._next >= len(self._window) and (
                self._cursor >= self._end or not self._has_room()
            ):
                await self._wake.wait()
            return
        entry = self._window[self._next]
        if not self._acceptable(entry):
            return
        if entry.meta.kind == PROGRESS or self._careful:
            await self._acked.settled()
            if self._failure is not None:
                return
        if entry.backlog:
            await self._throttle(len(entry.payload))
        if not self._connection.connected:
            await self._connection.wait_connected()
        while self._acked.outstanding >= self._settings.publish_window:
            self._wake.clear()
            await self._wake.wait()
        if self._failure is not None:
            return
        identity = entry.meta.identity
        await self._acked.publish(
            raw_subject(identity.kind, identity.node),
            entry.payload,
            encode_headers(identity.headers()),
            partial(self._done, entry),
        )
        self._next += 1

    def _has_room(self) -> bool:
        return self._window_bytes < self._window_limit

    def _skip_acknowledged(self) -> None:
        while self._next < len(self._window) and self._window[self._next].acknowledged:
            self._next += 1

    def _acceptable(self, entry: _Entry) -> bool:
        """Take out what the broker can never accept, so that it doesn't hold up the rest."""
        if entry.meta.node != self._node:
            self._refuse(entry, "node_renamed", f"this producer's node is {self._node!r} now")
            return False
        limit = self._connection.client.max_payload if self._connection.connected else 0
        if limit and len(entry.payload) + HEADER_ROOM > limit:
            self._refuse(entry, "payload_limit", f"the broker takes {limit} bytes with headers")
            return False
        return True

    def _refuse(self, entry: _Entry, reason: str, detail: str) -> None:
        self.failures[reason] += 1
        self._refused(entry.meta, reason, detail)
        self._settle(entry)

    async def _load(self) -> None:
        requested = self._end
        room = self._window_limit - self._window_bytes
        found, cursor = await self._read(self._cursor, min(room, 1024 * 1024))
        self._cursor = max(self._cursor, cursor) if found else max(self._cursor, cursor, requested)
        for each in found:
            self._push(_Entry(each.meta, each.payload, each.end, backlog=True))
        if self.idle:
            self._caught_up.set()
            self.floor = max(self.floor, self._cursor)

    async def _throttle(self, size: int) -> None:
        """A bucket of tokens: one second's worth at most."""
        rate = float(self._settings.drain_bytes_per_second)
        now = time.monotonic()
        self._credit = min(rate, self._credit + (now - self._credit_at) * rate)
        self._credit_at = now
        self._credit -= size
        if self._credit < 0:
            await asyncio.sleep(-self._credit / rate)

    def _done(self, entry: _Entry, result: PublishAck | BrokerError) -> None:
        if isinstance(result, PublishAck):
            if entry.acknowledged:
                return
            self.published[entry.meta.kind] += entry.meta.count
            self.batches[entry.meta.kind] += 1
            self.bytes += len(entry.payload)
            self.duplicates += result.duplicate
            self._careful = max(0, self._careful - 1)
            self._pause = FIRST_PAUSE_SECONDS
            if self._failure is None:
                self.problem = ""
            self._settle(entry)
            return
        if isinstance(result, JetStreamError) and result.err_code == MESSAGE_TOO_LARGE:
            self._refuse(entry, "payload_limit", result.description)
            return
        self.failures[_reason(result)] += 1
        if self._failure is None:
            self._failure = result
            self._wake.set()

    def _settle(self, entry: _Entry) -> None:
        """This entry is done with; the floor moves over all at the front that are."""
        entry.acknowledged = True
        while self._window and self._window[0].acknowledged:
            first = self._window.popleft()
            self._window_bytes -= len(first.payload)
            self._next = max(0, self._next - 1)
            if first.end is not None:
                self.floor = max(self.floor, first.end)
        self._wake.set()
        if self.idle:
            self._caught_up.set()

    async def _go_back(self) -> None:
        """Let everything under way come to its end, wait a little, begin with the oldest again."""
        failure = self._failure
        self.problem = _why(failure)
        if not isinstance(failure, NotConnectedError):
            await self._acked.settled()
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        await self._connection.wait_connected()
        self._careful = CAREFUL_BATCHES
        self._failure = None
        self._next = 0


def _reason(error: BrokerError) -> str:
    """A word for the label of a metric."""
    if isinstance(error, StreamFullError):
        return "stream_full"
    if isinstance(error, NotConnectedError):
        return "not_connected"
    if isinstance(error, RequestTimeoutError):
        return "timeout"
    return "no_jetstream" if isinstance(error, NoJetStreamError) else "refused"


def _why(error: BrokerError | None) -> str:
    if isinstance(error, StreamFullError):
        return (
            f"JetStream takes no more ({error.description}); batches stay in the spool until "
            "workers have made room or streams.raw_max_bytes is raised"
        )
    return str(error) if error is not None else ""
