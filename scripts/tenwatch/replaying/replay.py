"""One replay from its beginning to its verdict."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, NotFoundError
from stream.broker.jetstream import JetStream
from stream.contract.timestamps import format_timestamp
from tenwatch.embedded.child import Child
from tenwatch.embedded.instance import Instance
from tenwatch.embedded.probe import metrics, why_not_ready
from tenwatch.errors import NotRunningError, StartError, TenwatchError
from tenwatch.replaying.collect import Collector
from tenwatch.replaying.feed import Feed, FeedProgress
from tenwatch.replaying.run import Run, create_streams, delete_streams
from tenwatch.replaying.source import RecordingSource, Source, StreamSource
from tenwatch.replaying.speed import Pace
from tenwatch.replaying.store_source import StoreSource
from tenwatch.replaying.time_range import TimeRange
from tenwatch.replaying.verify import Verdict, verify
from tenwatch.replaying.worker import run_worker_child
from tenwatch.sql_client import SqlClient

WORKER_START_SECONDS = 60.0
SETTLE_SECONDS = 120.0
"""How long a worker may take to work off what was fed, once the feed has ended."""
POLL_SECONDS = 0.1


class ReplayError(TenwatchError):
    """A replay could not be brought to its end."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What to replay, and how."""

    run: Run
    range: TimeRange
    speed: float
    kinds: Sequence[str] = ()
    nodes: Sequence[str] = ()
    config: Path | None = None
    keep_streams: bool = False
    """Leave the run's streams at the broker, for taps."""
    source: str = "jetstream"
    """``jetstream``, ``clickhouse``, or the folder of a recording."""


@dataclass(slots=True)
class Outcome:
    """What a replay did."""

    run: str
    fed_messages: int = 0
    fed_events: int = 0
    rows: int = 0
    seconds: float = 0.0
    verdict: Verdict | None = None


@dataclass(slots=True)
class Replay:
    """Runs one replay against an instance; the login must be the administrator's."""

    instance: Instance
    connection: BrokerConnection
    store: SqlClient
    options: ReplayOptions
    say: Callable[[str], None]
    on_progress: Callable[[FeedProgress], None] | None = None
    outcome: Outcome = field(init=False)

    def __post_init__(self) -> None:
        self.outcome = Outcome(self.options.run.name)

    async def replay(self, *, with_verdict: bool) -> Outcome:
        """Feed, wait, collect, and compare if asked. Raises a :class:`TenwatchError`."""
        began = time.monotonic()
        jetstream = JetStream(self.connection)
        run = self.options.run
        try:
            await self.connection.wait_connected(10)
            if run.raw_stream in await jetstream.stream_names():
                raise ReplayError(
                    f"a run named {run.name} exists already; give another --name, or remove it: "
                    f"tenwatch replay --remove {run.name}"
                )
            await asyncio.to_thread(self._forget_rows)
            source = self._source(jetstream)
            await create_streams(jetstream, run, await source.transform())
            try:
                await self._record("feeding", began)
                await self._feed_and_collect(jetstream, source)
                await self._record("done", began)
            except BaseException:
                await self._record("failed", began)
                raise
            finally:
                if not self.options.keep_streams:
                    await delete_streams(jetstream, run)
        except BrokerError as error:
            raise NotRunningError(f"the broker refused: {error}") from None
        if with_verdict:
            self.outcome.verdict = await asyncio.to_thread(
                verify, self.store, run, self.options.range
            )
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    async def _feed_and_collect(self, jetstream: JetStream, source: Source) -> None:
        options = self.options
        worker = run_worker_child(self.instance, options.run, options.config, self.say)
        await worker.start()
        try:
            await self._until_ready(worker)
            feed = Feed(
                self.connection, source, options.run, options.kinds, options.nodes,
                on_progress=self.on_progress,
            )  # fmt: skip
            progress = await feed.feed(Pace(options.speed))
            self.outcome.fed_messages = progress.fed_messages
            self.outcome.fed_events = progress.fed_events
            await self._until_settled(worker, jetstream)
        finally:
            await worker.stop()
        await self._until_delivered(jetstream)
        self.outcome.rows = await Collector(
            self.connection, jetstream, options.run, options.range, self.store
        ).collect()

    def _source(self, jetstream: JetStream) -> Source:
        match self.options.source:
            case "jetstream":
                return StreamSource(self.connection, jetstream)
            case "clickhouse":
                return StoreSource(self.store, jetstream)
            case folder:
                return RecordingSource(Path(folder))

    async def _until_ready(self, worker: Child) -> None:
        deadline = time.monotonic() + WORKER_START_SECONDS
        while (why := await why_not_ready(worker.part.health_port)) is not None:
            if worker.given_up is not None or time.monotonic() > deadline:
                raise StartError(
                    f"the worker of run {self.options.run.name} does not start: "
                    f"{worker.given_up or why}"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _until_settled(self, worker: Child, jetstream: JetStream) -> None:
        """Wait until the worker has read everything and its results have been delivered."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            numbers = await metrics(worker.part.health_port)
            left = [
                value
                for name, value in numbers.items()
                if name.startswith("tenwatch_worker_lag_messages")
            ]
            if left and not any(left):
                await self._until_delivered(jetstream)
                return
            await asyncio.sleep(POLL_SECONDS)
        raise ReplayError(
            f"the worker of run {self.options.run.name} did not finish within "
            f"{SETTLE_SECONDS:g} s after the feed; its log is in {self.instance.data}/logs"
        )

    async def _until_delivered(self, jetstream: JetStream) -> None:
        """Wait until the run's stream of buckets holds what the worker has committed."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            try:
                if await outbox_is_empty(jetstream, self.options.run):
                    return
            except NotFoundError:
                return  # nothing was ever written
            await asyncio.sleep(POLL_SECONDS)
        raise ReplayError(
            f"results of run {self.options.run.name} are stuck at the broker; try again"
        )

    def _forget_rows(self) -> None:
        """Rows of an earlier run of this name."""
        forget_rows(self.store, self.options.run)

    async def _record(self, state: str, began: float) -> None:
        options, outcome = self.options, self.outcome
        await asyncio.to_thread(
            self.store.execute,
            "INSERT INTO tenwatch.replay_runs (run, state, range_start, range_end, kinds, nodes, "
            "fed_messages, fed_events, rows, seconds) SELECT {run:String}, {state:String}, "
            "{start:DateTime64(6, 'UTC')}, {end:DateTime64(6, 'UTC')}, {kinds:Array(String)}, "
            "{nodes:Array(String)}, {messages:UInt64}, {events:UInt64}, {rows:UInt64}, "
            "{seconds:Float64}",
            {
                "run": options.run.name,
                "state": state,
                "start": format_timestamp(options.range.start)[:-1].replace("T", " "),
                "end": format_timestamp(options.range.end)[:-1].replace("T", " "),
                "kinds": _array(options.kinds),
                "nodes": _array(options.nodes),
                "messages": outcome.fed_messages,
                "events": outcome.fed_events,
                "rows": outcome.rows,
                "seconds": time.monotonic() - began,
            },
        )


async def outbox_is_empty(jetstream: JetStream, run: Run) -> bool:
    """Whether every source of the run's bucket stream has nothing left to deliver."""
    answer = await jetstream.stream_sources(run.buckets_stream)
    return all(source.lag == 0 and source.active >= 0 for source in answer)


def forget_rows(store: SqlClient, run: Run) -> None:
    """Remove a run's rows from the store."""
    store.execute("ALTER TABLE tenwatch.replay_buckets DROP PARTITION {run:String}",
                  {"run": run.name})  # fmt: skip


def _array(values: Sequence[str]) -> str:
    return (
        "["
        + ", ".join("'" + v.replace("\\", "\\\\").replace("'", "\\'") + "'" for v in values)
        + "]"
    )
