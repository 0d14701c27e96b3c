"""Pipelined JetStream publishing: many messages in flight, each acknowledged, none doubled."""

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Mapping

import orjson
from nats.aio.msg import Msg

from .connection import Connection, is_transient
from .errors import (
    ApiError,
    JetStreamTransportError,
    MessageTooLargeError,
    PublishError,
    WindowFullError,
)
from .names import check_subject
from .tasks import stop_task, wait_event
from .wire import header_block, publish_frame

logger = logging.getLogger(__name__)


class _Unacknowledged:
    __slots__ = ("due", "first", "frame", "future", "number", "subject", "tries")

    def __init__(
        self,
        number: int,
        subject: str,
        frame: bytes,
        future: "asyncio.Future[int] | None",
        now: float,
    ) -> None:
        self.number = number
        self.subject = subject
        self.frame = frame
        self.future = future
        self.first = now
        self.due = now
        self.tries = 0


class _Flush:
    __slots__ = ("future", "left", "mark")

    def __init__(self, mark: int, left: int, future: "asyncio.Future[None]") -> None:
        self.mark = mark
        self.left = left
        self.future = future


class Publisher:
    """Publishes without waiting for each acknowledgement, within a window.

    A message without ``msg_id`` gets a unique one, so that sending it again (after a timeout,
    a reconnect or a refusal by a full stream) cannot double it within the stream's duplicate
    window. Messages that had to be sent again may be stored after later ones.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.settings = connection.settings
        self.refused = 0
        self.retried = 0
        self.published = 0
        self._waiting: dict[int, _Unacknowledged] = {}
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._last = 0
        self._unique = uuid.uuid4().hex[:12]
        self._room = asyncio.Event()
        self._flushes: list[_Flush] = []
        self._failed: dict[str, str] = {}
        self._failed_count = 0
        self._task: asyncio.Task[None] | None = None
        self._inbox = ""

    @property
    def in_flight(self) -> int:
        """Messages that were published and are not acknowledged yet."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether :meth:`publish` would wait."""
        return (
            len(self._waiting) >= self.settings.publish_window
            or self._bytes >= self.settings.publish_window_bytes
        )

    async def start(self) -> None:
        """Subscribe to acknowledgements, and begin to watch for missing ones."""
        if self._task is not None:
            return
        client = self.connection.client
        self._inbox = client.new_inbox()
        await client.subscribe(
            f"{self._inbox}.*",
            cb=self._on_ack,
            pending_msgs_limit=4 * self.settings.publish_window + 1024,
            pending_bytes_limit=1 << 30,
        )
        self.connection.on_reconnect.append(self._resend_all)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Stop retrying. Call :meth:`flush` first: what is in flight is not waited for."""
        task, self._task = self._task, None
        if task is not None:
            await stop_task(task)
            self.connection.on_reconnect.remove(self._resend_all)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        msg_id: str | None = None,
    ) -> None:
        """Publish ``payload``; waits only while the window is full.

        Raises :exc:`ConfigurationError` for a subject or header that cannot be sent. Whether
        the stream took the message is told by :meth:`flush`.
        """
        await self.wait_for_room()
        self._send(subject, payload, headers, msg_id, None)

    async def wait_for_room(self) -> None:
        """Wait while the window, or the socket's buffer, is full."""
        while self.full or self.connection.congested:
            self._room.clear()
            await wait_event(self._room, 0.5)

    def publish_nowait(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        msg_id: str | None = None,
    ) -> None:
        """Like :meth:`publish`, but raises :exc:`WindowFullError` instead of waiting."""
        if self.full:
            raise WindowFullError(self.settings.publish_window)
        self._send(subject, payload, headers, msg_id, None)

    def publish_soon(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        msg_id: str | None = None,
    ) -> "asyncio.Future[int]":
        """Publish at once, whatever the window; the future gives the stream sequence.

        The future carries the failure, which :meth:`flush` then does not raise again.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._send(subject, payload, headers, msg_id, future)
        return future

    async def flush(self) -> None:
        """Wait until all that was published before this call is acknowledged.

        Raises :exc:`PublishError` if anything published since the last flush failed for good.
        """
        if self._waiting:
            if self._task is None:
                raise JetStreamTransportError(
                    f"{len(self._waiting)} message(s) wait for acknowledgement, but the publisher "
                    "is stopped: flush before the app stops."
                )
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            flush = _Flush(self._last, len(self._waiting), future)
            self._flushes.append(flush)
            try:
                await future
            finally:
                if flush in self._flushes:
                    self._flushes.remove(flush)
        if self._failed:
            failed, self._failed = self._failed, {}
            count, self._failed_count = self._failed_count, 0
            raise PublishError(failed, count)

    def _send(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None,
        msg_id: str | None,
        future: "asyncio.Future[int] | None",
    ) -> None:
        number = self._last = next(self._numbers)
        block = header_block(headers)
        if msg_id is not None:
            block = header_block({"Nats-Msg-Id": msg_id}) + block
        elif not headers or "Nats-Msg-Id" not in headers:
            block = b"Nats-Msg-Id: %b\r\n" % f"{self._unique}.{number}".encode() + block
        limit = self.connection.client.max_payload
        if len(payload) + len(block) > limit:
            raise MessageTooLargeError(subject, len(payload), limit)
        frame = publish_frame(check_subject(subject), f"{self._inbox}.{number}", block, payload)
        entry = _Unacknowledged(number, subject, frame, future, time.monotonic())
        entry.due += self.settings.publish_timeout
        self._waiting[number] = entry
        self._bytes += len(frame)
        self.published += 1
        self.connection.write(frame)

    async def _on_ack(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        entry = self._waiting.get(number)
        if entry is None:
            return
        data = message.data
        if data and b'"error"' not in data:
            if entry.future is not None and not entry.future.done():
                entry.future.set_result(int(orjson.loads(data)["seq"]))
            self._settle(entry)
            return
        error = _refusal(data, entry.subject)
        if is_transient(error):
            self._refused(entry, error)
        else:
            self._fail(entry, error)

    def _refused(self, entry: _Unacknowledged, error: ApiError) -> None:
        self.refused += 1
        entry.tries += 1
        if entry.tries == 1:
            logger.warning("publish to %s refused, trying again: %s", entry.subject, error)
        pause = min(self.settings.retry_wait * 2 ** min(entry.tries, 6), 2.0)
        entry.due = time.monotonic() + pause
        self._give_up_if_old(entry, error)

    def _give_up_if_old(self, entry: _Unacknowledged, error: Exception) -> None:
        limit = self.settings.publish_give_up
        if limit and time.monotonic() - entry.first > limit:
            self._fail(entry, error)

    def _fail(self, entry: _Unacknowledged, error: Exception) -> None:
        if entry.future is not None:
            if not entry.future.done():
                entry.future.set_exception(error)
        else:
            self._failed.setdefault(entry.subject, str(error))
            self._failed_count += 1
        self._settle(entry)

    def _settle(self, entry: _Unacknowledged) -> None:
        del self._waiting[entry.number]
        self._bytes -= len(entry.frame)
        if not self._room.is_set():
            self._room.set()
        if self._flushes:
            for flush in self._flushes:
                if entry.number <= flush.mark:
                    flush.left -= 1
                    if flush.left == 0 and not flush.future.done():
                        flush.future.set_result(None)

    def _resend_all(self) -> None:
        now = time.monotonic()
        for entry in self._waiting.values():
            entry.due = now

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.05 if self.refused else 0.2)
            now = time.monotonic()
            if not self.connection.connected or self.connection.congested:
                continue
            for entry in [entry for entry in self._waiting.values() if entry.due <= now]:
                if not self.connection.write(entry.frame):
                    break
                self.retried += 1
                entry.tries += 1
                entry.due = now + self.settings.publish_timeout
                self._give_up_if_old(entry, TimeoutError("no acknowledgement"))


def _refusal(data: bytes, subject: str) -> ApiError:
    if not data:
        return ApiError(503, 0, "no stream listens on the subject", subject)
    error = orjson.loads(data)["error"]
    return ApiError(
        error.get("code", 0), error.get("err_code", 0), error.get("description", ""), subject
    )
