"""Reading a stream in its order, from any place on, without leaving a trace in it.

For replay, recording and checks. The consumer is made for the occasion, acknowledges nothing, and
is made anew behind the last message whenever a delivery is missing or the connection broke, so
what comes out is every message once, in order.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, JetStreamError
from stream.broker.jetstream import JetStream
from stream.broker.subscription import Delivery, PullSubscription

INACTIVE_NANOSECONDS = 60 * 10**9
RETRY_SECONDS = 0.5


class StreamReader:
    """Iterate over it: ``async for delivery in StreamReader(connection, "RAW")``."""

    def __init__(
        self,
        connection: BrokerConnection,
        stream: str,
        *,
        filters: Sequence[str] = (),
        start_seq: int = 1,
        start_time: str = "",
        follow: bool = False,
        max_messages: int = 1024,
        max_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        """Messages whose subject matches one of ``filters`` (all, if empty).

        From sequence ``start_seq`` on, or from ``start_time`` (RFC 3339) when the stream stored
        them. Ends behind the last message, unless it is to ``follow`` what comes.
        """
        self._connection = connection
        self._stream = stream
        self._filters = list(filters)
        self._start_seq = start_seq
        self._start_time = start_time
        self._follow = follow
        self._limits = {"max_messages": max_messages, "max_bytes": max_bytes}
        self._jetstream = JetStream(connection)
        self._arrived: deque[Delivery] = deque()
        self._wake = asyncio.Event()
        self._pull: PullSubscription | None = None
        self._expected = 1
        self._broken = False

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        self._connection.on_lost(self._break)
        try:
            pending = await self._begin()
            while pending or self._follow:
                if self._broken:
                    pending = await self._begin()
                    continue
                if not self._arrived:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                delivery = self._arrived.popleft()
                if self._pull is not None:
                    self._pull.release(delivery)
                if delivery.consumer_seq != self._expected:
                    self._break()
                    continue
                self._expected += 1
                self._start_seq, self._start_time = delivery.stream_seq + 1, ""
                yield delivery
                pending = delivery.pending
        finally:
            self._connection.forget(self._break)
            await self.close()

    async def close(self) -> None:
        """Stop, and remove the consumer."""
        if self._pull is None:
            return
        pull, self._pull = self._pull, None
        await pull.stop()
        try:
            await self._jetstream.delete_consumer(self._stream, pull.consumer)
        except BrokerError:
            return  # the server removes it when nobody has asked for a minute

    def _break(self, _: str = "") -> None:
        self._broken = True
        self._wake.set()

    async def _begin(self) -> int:
        """Make the consumer anew, behind what was read; gives the messages that wait."""
        await self.close()
        while True:
            await self._connection.wait_connected()
            self._broken = False
            self._arrived.clear()
            self._expected = 1
            try:
                made = await self._jetstream.create_consumer(self._stream, self._config())
                break
            except JetStreamError as error:
                if error.code not in (408, 503):
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            except BrokerError:
                await asyncio.sleep(RETRY_SECONDS)
        self._pull = PullSubscription(
            self._connection,
            self._stream,
            made.name,
            self._receive,
            on_gone=self._break,
            **self._limits,
        )
        self._pull.start()
        return made.num_pending

    def _receive(self, delivery: Delivery) -> None:
        self._arrived.append(delivery)
        self._wake.set()

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": f"reader-{secrets.token_hex(8)}",
            "ack_policy": "none",
            "max_deliver": 1,
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_NANOSECONDS,
        }
        if len(self._filters) == 1:
            config["filter_subject"] = self._filters[0]
        elif self._filters:
            config["filter_subjects"] = self._filters
        if self._start_time:
            config |= {"deliver_policy": "by_start_time", "opt_start_time": self._start_time}
        else:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._start_seq}
        return config
