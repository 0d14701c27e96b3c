"""Reading a stream by a callback-fed pull consumer, bounded by bytes, checked for gaps.

One reader is one ephemeral consumer without acknowledgements: the position is ours, so a lost
delivery, a dead server or a deleted consumer only means a new consumer from that position.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from .connection import API, FAILED, UNANSWERED, Connection, is_transient
from .tasks import stop_task, wait_event

logger = logging.getLogger(__name__)

SECOND = 1_000_000_000
"""Nanoseconds, the unit of the JetStream API."""

_EXPIRES = 30.0
_FINISHED = ("Batch Completed", "Message Size Exceeds MaxBytes", "Request Timeout")

Record = tuple[int, int, str, bytes, "dict[str, str] | None"]
"""Stream sequence, time stored (nanoseconds UTC), subject, payload, headers."""


class Reader:
    """Keeps ``buffer`` filled with records of a stream, in order and without a hole of ours.

    ``pending`` is how many messages the stream holds beyond the last one received, None until
    known. ``wake`` is called when the buffer stops being empty.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        filters: Sequence[str],
        start: int,
        wake: Callable[[], None],
        *,
        last_per_subject: bool = False,
        headers_only: bool = False,
        start_time: str | None = None,
        heartbeat: float = 2.0,
    ) -> None:
        self.connection = connection
        self.stream = stream
        self.filters = list(filters)
        self.position = max(start, 1)
        self.buffer: deque[Record] = deque()
        self.buffered_bytes = 0
        self.pending: int | None = None
        self.reopened = -1
        self.error: Exception | None = None
        self._wake = wake
        self._first_policy: dict[str, Any] = {}
        if last_per_subject:
            self._first_policy = {"deliver_policy": "last_per_subject"}
        elif start_time is not None:
            self._first_policy = {"deliver_policy": "by_start_time", "opt_start_time": start_time}
        self._headers_only = headers_only
        self._heartbeat = heartbeat
        settings = connection.settings
        self._batch = settings.pull_messages
        self._half = settings.pull_bytes // 2
        self._requests: deque[list[int]] = deque()
        self._request_number = 0
        self._delivered = 0
        self._heard = 0.0
        self._opened_at = -10.0
        self._received_any = False
        self._broken = True
        self._kick = asyncio.Event()
        self._name = ""
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read."""
        self.connection.on_reconnect.append(self._on_reconnect)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop reading and give the consumer back."""
        task, self._task = self._task, None
        if task is not None:
            self.connection.on_reconnect.remove(self._on_reconnect)
            await stop_task(task)
        await self._close_consumer()

    def take(self, most: int) -> list[Record]:
        """Remove and return up to ``most`` records from the front of the buffer."""
        buffer = self.buffer
        if len(buffer) <= most:
            records = list(buffer)
            buffer.clear()
            self.buffered_bytes = 0
        else:
            records = [buffer.popleft() for _ in range(most)]
            self.buffered_bytes -= sum(len(record[3]) for record in records)
        if len(self._requests) < 2:
            self._kick.set()
        return records

    def put_back(self, records: list[Record]) -> None:
        """Return records that were taken last, and could not be used now."""
        self.buffer.extendleft(reversed(records))
        self.buffered_bytes += sum(len(record[3]) for record in records)

    def _on_reconnect(self) -> None:
        self._break()

    def _break(self) -> None:
        self._broken = True
        self._kick.set()

    async def _run(self) -> None:
        wait = self.connection.settings.retry_wait
        while True:
            try:
                if self._broken:
                    if time.monotonic() - self._opened_at < 1.0:
                        # Broken as soon as it was made: its server is on its way out, or in.
                        await asyncio.sleep(wait)
                        wait = min(wait * 2, 2.0)
                    else:
                        wait = self.connection.settings.retry_wait
                    await self._open()
                self._pull()
                await self._pause()
            except FAILED as error:
                if not is_transient(error):
                    self.error = error
                    self._wake()
                logger.warning("reading %s: %r; trying again", self.stream, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, 2.0)
                self._broken = True

    async def _pause(self) -> None:
        self._kick.clear()
        if self._broken or self._wants_pull():
            return
        await wait_event(self._kick, self._heartbeat)
        silent = time.monotonic() - self._heard
        if self._requests and silent > 2.5 * self._heartbeat and self.connection.connected:
            logger.warning("reading %s: silent for %.1f s, opening anew", self.stream, silent)
            self._broken = True

    async def _open(self) -> None:
        await self._close_consumer()
        self._requests.clear()
        self._delivered = 0
        self._name = uuid.uuid4().hex[:16]
        policy = {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position}
        if self._first_policy and not self._received_any:
            policy = self._first_policy
        config = {
            "name": self._name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": 60 * SECOND,
            "headers_only": self._headers_only,
            **policy,
        }
        if len(self.filters) == 1:
            config["filter_subject"] = self.filters[0]
        elif self.filters:
            config["filter_subjects"] = self.filters
        answer = await self.connection.api(
            f"CONSUMER.CREATE.{self.stream}.{self._name}",
            {"stream_name": self.stream, "config": config},
        )
        self._inbox = self.connection.client.new_inbox()
        self._subscription = await self.connection.client.subscribe(
            f"{self._inbox}.*",
            cb=self._on_message,
            pending_msgs_limit=4 * self._batch,
            pending_bytes_limit=1 << 30,
        )
        self._broken = False
        self._heard = self._opened_at = time.monotonic()
        self.reopened += 1
        self.error = None
        self.pending = answer["num_pending"]
        if not self.pending:
            self._wake()

    async def _close_consumer(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        with contextlib.suppress(*UNANSWERED):
            await subscription.unsubscribe()
            await self.connection.client.publish(f"{API}CONSUMER.DELETE.{self.stream}.{self._name}")

    def _wants_pull(self) -> bool:
        return len(self._requests) < 2 and self.buffered_bytes <= self._half

    def _pull(self) -> None:
        while not self._broken and self._wants_pull():
            self._request_number += 1
            limit = max(self._half, self.connection.client.max_payload + 65536)
            body = b'{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}' % (
                self._batch,
                limit,
                _EXPIRES * SECOND,
                self._heartbeat * SECOND,
            )
            sent = self.connection.write(
                b"PUB %bCONSUMER.MSG.NEXT.%b.%b %b.%d %d\r\n%b\r\n"
                % (
                    API.encode(),
                    self.stream.encode(),
                    self._name.encode(),
                    self._inbox.encode(),
                    self._request_number,
                    len(body),
                    body,
                )
            )
            if not sent:
                return
            self._requests.append([self._batch, self._request_number])

    async def _on_message(self, message: Msg) -> None:
        reply = message.reply
        if not reply:
            self._on_status(message)
            return
        # $JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<time>.<pending>,
        # or the same after <domain>.<account> (nats-architecture-and-design, ADR-15).
        parts = reply.split(".")
        at = 5 if len(parts) == 9 else 7
        delivered = int(parts[at + 1])
        if delivered != self._delivered + 1:
            if not self._broken and delivered > self._delivered:
                logger.warning("reading %s: a delivery was lost, opening anew", self.stream)
                self._break()
            return
        self._delivered = delivered
        self._received_any = True
        sequence = int(parts[at])
        self.position = sequence + 1
        self.pending = int(parts[at + 3])
        self._heard = time.monotonic()
        requests = self._requests
        if requests:
            requests[0][0] -= 1
            if not requests[0][0]:
                requests.popleft()
                self._kick.set()
        data = message.data
        self.buffered_bytes += len(data)
        buffer = self.buffer
        buffer.append((sequence, int(parts[at + 2]), message.subject, data, message.headers))
        if len(buffer) == 1:
            self._wake()

    def _on_status(self, message: Msg) -> None:
        self._heard = time.monotonic()
        headers = message.headers or {}
        status = headers.get("Status")
        if status == "100":
            last = headers.get("Nats-Last-Consumer")
            if last is not None and int(last) != self._delivered:
                logger.warning("reading %s: deliveries were lost, opening anew", self.stream)
                self._break()
            return
        description = headers.get("Description", "")
        number = int(message.subject.rpartition(".")[2])
        if status == "408" or (status == "409" and description in _FINISHED):
            self._requests = deque(entry for entry in self._requests if entry[1] != number)
            self._kick.set()
            return
        logger.info("reading %s: %s %s, opening anew", self.stream, status, description)
        self._break()
