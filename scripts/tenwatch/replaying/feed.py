"""Reads the log of RAW and publishes it again, in its order, on the subjects of a run."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from stream.broker import wire
from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError
from stream.broker.jetstream import JetStream
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.broker.streams import RAW_STREAM
from stream.broker.subscription import Delivery, PullSubscription
from stream.contract.batch import COUNT_HEADER
from stream.contract.subjects import unescape_token
from tenwatch.errors import TenwatchError
from tenwatch.replaying.run import Run
from tenwatch.replaying.speed import Pace

ALWAYS_FED = frozenset({"progress", "pod"})
"""Kinds that windows and joins need whatever the filter says."""
SILENCE_SECONDS = 30.0


class FeedError(TenwatchError):
    """The run could not be fed to its end."""


@dataclass(slots=True)
class FeedProgress:
    """How far a feed is; counts are of what was acknowledged by the broker."""

    total_messages: int = 0
    read_messages: int = 0
    fed_messages: int = 0
    fed_events: int = 0
    first_ns: int = 0
    newest_ns: int = 0
    """When the newest fed message had been stored originally."""


@dataclass(slots=True)
class Feed:
    """Feeds one run from RAW, up to what the log held when it began."""

    connection: BrokerConnection
    jetstream: JetStream
    run: Run
    kinds: Collection[str] = ()
    """Only these kinds (and :data:`ALWAYS_FED`); all when empty."""
    nodes: Collection[str] = ()
    """Only these nodes; all when empty."""
    progress: FeedProgress = field(default_factory=FeedProgress)
    on_progress: Callable[[FeedProgress], None] | None = None

    async def feed(self, pace: Pace, start_sequence: int = 1) -> FeedProgress:
        """Publish everything from ``start_sequence`` on; raises :class:`FeedError`."""
        state = (await self.jetstream.stream_info(RAW_STREAM)).state
        last = state.last_seq
        progress = self.progress
        progress.total_messages = state.messages
        if state.messages == 0 or start_sequence > last:
            return progress
        name = f"replay-{self.run.name}"
        await self.jetstream.create_consumer(
            RAW_STREAM,
            {
                "name": name,
                "ack_policy": "none",
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": max(start_sequence, state.first_seq, 1),
                "mem_storage": True,
                "num_replicas": 1,
                "inactive_threshold": int(60e9),
            },
        )
        arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        subscription = PullSubscription(self.connection, RAW_STREAM, name, arrived.put_nowait)
        publisher = AckedPublisher(self.connection)
        failures: list[BrokerError] = []
        subscription.start()
        try:
            while not failures:
                delivery = await self._next(arrived, subscription)
                if delivery.stream_seq <= last:
                    await self._pass_on(delivery, publisher, subscription, pace, failures)
                if delivery.stream_seq >= last or delivery.pending == 0:
                    break
            await publisher.settled(SILENCE_SECONDS)
            if failures:
                raise FeedError(
                    f"the broker refused a message of run {self.run.name}: {failures[0]}; "
                    f"remove the run with: tenwatch replay --remove {self.run.name}"
                )
            return progress
        finally:
            await subscription.stop()
            await publisher.close()

    async def _next(
        self, arrived: asyncio.Queue[Delivery], subscription: PullSubscription
    ) -> Delivery:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await arrived.get()
        except TimeoutError:
            raise FeedError(
                f"the log of RAW did not answer for {SILENCE_SECONDS:g} s: "
                f"{subscription.problem or 'no reason given'}; is the broker well?"
            ) from None

    async def _pass_on(
        self,
        delivery: Delivery,
        publisher: AckedPublisher,
        subscription: PullSubscription,
        pace: Pace,
        failures: list[BrokerError],
    ) -> None:
        progress = self.progress
        progress.read_messages += 1
        if not self._wanted(delivery.subject):
            subscription.release(delivery)
            return
        await pace.wait_for(delivery.timestamp_ns)
        headers = delivery.headers or {}
        events = int(headers.get(COUNT_HEADER, "0") or "0")

        def done(result: PublishAck | BrokerError) -> None:
            subscription.release(delivery)
            if isinstance(result, BrokerError):
                failures.append(result)
                return
            progress.fed_messages += 1
            progress.fed_events += events
            progress.first_ns = progress.first_ns or delivery.timestamp_ns
            progress.newest_ns = delivery.timestamp_ns
            if self.on_progress is not None:
                self.on_progress(progress)

        await publisher.publish(
            self.run.raw_subject(delivery.subject),
            delivery.data,
            wire.encode_headers(headers) if headers else b"",
            done,
        )

    def _wanted(self, subject: str) -> bool:
        kind, node = subject.split(".")[2:]
        if self.kinds and kind not in self.kinds and kind not in ALWAYS_FED:
            return False
        return not self.nodes or unescape_token(node) in self.nodes
