"""Publishes the log of RAW again, in its order, on the subjects of a run."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from stream.broker import wire
from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.contract.batch import COUNT_HEADER
from stream.contract.subjects import unescape_token
from tenwatch.errors import TenwatchError
from tenwatch.replaying.run import Run
from tenwatch.replaying.source import Source, SourceMessage
from tenwatch.replaying.speed import Pace

ALWAYS_FED = frozenset({"progress", "pod"})
"""Kinds that windows and joins need whatever the filter says."""
SETTLE_SECONDS = 30.0
"""How long the last acknowledgements may take."""


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
    """Feeds one run from a source, up to what the log held when it began."""

    connection: BrokerConnection
    source: Source
    run: Run
    kinds: Collection[str] = ()
    """Only these kinds (and :data:`ALWAYS_FED`); all when empty."""
    nodes: Collection[str] = ()
    """Only these nodes; all when empty."""
    progress: FeedProgress = field(default_factory=FeedProgress)
    on_progress: Callable[[FeedProgress], None] | None = None

    async def feed(self, pace: Pace, start_sequence: int = 1) -> FeedProgress:
        """Publish everything from ``start_sequence`` on; raises :class:`FeedError`."""
        progress = self.progress
        progress.total_messages = await self.source.open()
        publisher = AckedPublisher(self.connection)
        failures: list[BrokerError] = []
        messages = self.source.messages(start_sequence)
        try:
            async for message in messages:
                await self._pass_on(message, publisher, pace, failures)
                if failures:
                    break
            settled = await publisher.settled(SETTLE_SECONDS)
            if failures or not settled:
                why = failures[0] if failures else f"no answer for {SETTLE_SECONDS:g} s"
                raise FeedError(
                    f"the broker refused a message of run {self.run.name}: {why}; "
                    f"remove the run with: tenwatch replay --remove {self.run.name}"
                )
            return progress
        finally:
            await messages.aclose()
            await publisher.close()

    async def _pass_on(
        self,
        message: SourceMessage,
        publisher: AckedPublisher,
        pace: Pace,
        failures: list[BrokerError],
    ) -> None:
        progress = self.progress
        progress.read_messages += 1
        if not self._wanted(message.subject):
            return
        await pace.wait_for(message.timestamp_ns)
        headers = message.headers
        events = int(headers.get(COUNT_HEADER, "0") or "0")

        def done(result: PublishAck | BrokerError) -> None:
            if isinstance(result, BrokerError):
                failures.append(result)
                return
            progress.fed_messages += 1
            progress.fed_events += events
            progress.first_ns = progress.first_ns or message.timestamp_ns
            progress.newest_ns = message.timestamp_ns
            if self.on_progress is not None:
                self.on_progress(progress)

        await publisher.publish(
            self.run.raw_subject(message.subject),
            message.data,
            wire.encode_headers(headers) if headers else b"",
            done,
        )

    def _wanted(self, subject: str) -> bool:
        kind, node = subject.split(".")[2:]
        if self.kinds and kind not in self.kinds and kind not in ALWAYS_FED:
            return False
        return not self.nodes or unescape_token(node) in self.nodes
