"""The partitions this worker holds: acquiring, committing, releasing them."""

import asyncio
import datetime
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from faust.types import TP

from .atomic import verify_batch_limit
from .committer import Committer
from .errors import FencedError, JetStreamTransportError, NotAssignedError
from .outbox import OutboxCleaner, ensure_outbox_stream
from .ownership import fence, load, state_stream_config
from .partition import Cut, Partition
from .reader import SECOND
from .table import Table
from .tasks import stop_task, wait_event
from .topics import Topic, ensure_stream

if TYPE_CHECKING:
    from .jetstream import JetStream

logger = logging.getLogger(__name__)

_CLOCK_SLACK = 60 * SECOND


class Engine:
    """Owns the partitions' state for one worker. Its methods are called by the transport."""

    def __init__(self, context: "JetStream", held: dict[int, Partition]) -> None:
        self.context = context
        self.settings = context.settings
        self.names = context.names
        self.connection = context.connection
        self.held = held
        self.cleaner = OutboxCleaner(context.connection, context.names, context.outbox)
        self.committer = Committer(context.connection, context.names, self._before, self._after)
        self.partitions_needed = 0
        self.fenced = 0
        self.wake_drain: Callable[[], None] = lambda: None
        self.roll_back: Callable[[int], None] = lambda partition: None
        self.generation_now: Callable[[], int] = lambda: 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._cleaning: asyncio.Task[None] | None = None
        self._prepared: set[str] = set()

    # -- what must exist on the server ----------------------------------------------------------

    async def prepare(self, topics: Iterable[Topic]) -> None:
        """Make the group's, the state's and the outboxes' streams; idempotent."""
        shared = [topic for topic in topics if not topic.local]
        self.partitions_needed = max((topic.partitions for topic in shared), default=1)
        for topic in shared:
            if topic.bound:
                await self.context.topics.check_bound(self.connection, topic)
        common: dict[str, Any] = {
            "replicas": self.settings.replicas,
            "storage": self.settings.storage,
        }
        group = self.names.group_stream()
        if group not in self._prepared:
            await ensure_stream(self.connection, self._group_config(group), ("allow_msg_ttl",))
            self._prepared.add(group)
        for partition in range(self.partitions_needed):
            config = state_stream_config(
                self.names, partition, max_bytes=self.settings.state_max_bytes, **common
            )
            if config["name"] in self._prepared:
                continue
            await ensure_stream(
                self.connection,
                config,
                ("subjects", "max_msgs_per_subject", "allow_atomic", "allow_msg_ttl"),
            )
            if partition == 0:
                await verify_batch_limit(
                    self.connection,
                    config["name"],
                    f"{self.names.state_root(0)}.trial",
                    self.settings.batch_limit,
                    self.settings.commit_try_timeout,
                )
            self._prepared.add(config["name"])
        for stream in self.context.outbox.streams.values():
            await ensure_outbox_stream(
                self.connection, self.names, stream, self.partitions_needed, **common
            )
            answer = await self.connection.api_until_answered(f"STREAM.INFO.{stream.name}")
            self.cleaner.start_after(stream.name, answer["state"]["last_seq"])
        if self._cleaning is None and self.context.outbox.streams:
            self._cleaning = asyncio.create_task(
                self.cleaner.run(self.settings.outbox_check_interval)
            )

    def _group_config(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "description": f"faust workers of {self.names.app}",
            "subjects": [f"{self.names.group_root()}.>"],
            "storage": self.settings.storage,
            "num_replicas": self.settings.replicas,
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
            "allow_direct": True,
        }

    # -- taking and giving up -------------------------------------------------------------------

    async def acquire(self, number: int, generation: int) -> None:
        """Fence a partition, load its state and begin to commit it."""
        began = time.monotonic()
        partition = Partition(
            number,
            self.names.state_root(number),
            generation_now=self.generation_now,
            limit=self.settings.batch_limit,
            soft_limit=self.settings.commit_messages,
            tombstone_headers=b"Nats-TTL:%ds\r\n" % max(int(self.settings.tombstone_ttl), 1),
        )
        partition.snapshot_hooks = self.context.snapshot_hooks
        partition.wake_drain = self.wake_drain
        partition.low_water = self.settings.delivery_low_water
        partition.on_failure = lambda error: self._failed(number, error)
        tables = self.context.tables
        for name, table in tables.items():
            partition.tables[name] = table.new_part(partition)
        sequence, partition.epoch = await fence(
            self.connection, self.names, number, generation, self.settings.member_id
        )
        left = await load(self.connection, self.names, partition, tables, sequence)
        for stored_at, stored, subject in left:
            self._expect_result(number, stored_at, subject, stored)
        self.held[number] = partition
        for name, table in tables.items():
            table.parts[number] = partition.tables[name]
        self._tasks[number] = asyncio.create_task(self.committer.run(partition))
        await _call_all(self.context.recovered_hooks, number)
        logger.info(
            "partition %d: commit %d, %d keys in %.3f s",
            number,
            partition.commits,
            sum(len(part) for part in partition.tables.values()),
            time.monotonic() - began,
        )

    def _expect_result(self, number: int, sequence: int, subject: str, stored: int) -> None:
        try:
            target = self.context.outbox.target(subject)
        except JetStreamTransportError:
            logger.warning("a result for %s waits in an outbox that no stream reads now", subject)
            return
        since = datetime.datetime.fromtimestamp((stored - _CLOCK_SLACK) / 1e9, datetime.UTC)
        self.cleaner.start_from(target, since.isoformat().replace("+00:00", "Z"))
        self.cleaner.add(number, sequence, target)

    async def release(self, number: int) -> None:
        """Forget a partition; what it had not committed is processed by its next owner."""
        partition = self.held.pop(number, None)
        if partition is None:
            return
        partition.discard()
        await stop_task(self._tasks.pop(number))
        self.committer.problems.pop(number, None)
        for table in self.context.tables.values():
            table.parts.pop(number, None)
        self.cleaner.forget(number)
        await _call_all(self.context.revoked_hooks, number)

    def is_clean(self, number: int) -> bool:
        """Whether a held partition's memory equals what is committed."""
        partition = self.held.get(number)
        return partition is not None and partition.clean and not partition.uncut

    async def stop(self) -> None:
        """Release everything."""
        for number in list(self.held):
            await self.release(number)
        task, self._cleaning = self._cleaning, None
        await stop_task(task)

    def _failed(self, number: int, error: Exception) -> None:
        if isinstance(error, FencedError):
            self.fenced += 1
        if isinstance(error, FencedError) or type(error) is JetStreamTransportError:
            logger.warning("%s", error)
            self.roll_back(number)
        else:
            logger.error("partition %d cannot be committed: %s", number, error)
            self.context.crash(error)

    # -- committing ------------------------------------------------------------------------------

    async def commit(self, number: int | None = None, timeout: float | None = None) -> bool:
        """Commit everything that is done now; False if it did not happen.

        Raises :exc:`NotAssignedError` for a partition that is not held.
        """
        if number is None:
            partitions = list(self.held.values())
        elif number in self.held:
            partitions = [self.held[number]]
        else:
            raise NotAssignedError(number)
        results = await asyncio.gather(
            *(self._commit(partition, timeout) for partition in partitions)
        )
        return all(results)

    async def _commit(self, partition: Partition, timeout: float | None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        partition.want_cut()
        wanted: int | None = None
        while partition.alive:
            if wanted is None and not partition.cut_wanted:
                wanted = partition.next_commit - 1
            if wanted is not None and partition.commits >= wanted:
                return True
            partition.progress.clear()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            await wait_event(partition.progress, left)
        return False

    async def _before(self, partition: Partition) -> None:
        for hook in self.context.commit_hooks:
            await hook(partition.number)
        await self.context.flush_sends()

    def _after(self, partition: Partition, cut: Cut, sequence: int) -> None:
        if cut.results:
            first = sequence - len(cut.results)
            last_by_target: dict[str, int] = {}
            for index, subject in enumerate(cut.results):
                last_by_target[self.context.outbox.target(subject)] = first + index
            for target, last in last_by_target.items():
                self.cleaner.add(partition.number, last, target)
        self.context.app.monitor.on_tp_commit(
            {TP(topic, partition.number): offset for topic, offset in cut.offsets.items()}
        )


async def _call_all(hooks: Iterable[Callable[[int], Awaitable[None] | None]], number: int) -> None:
    for hook in hooks:
        result = hook(number)
        if result is not None:
            await result


def tables_of(app: Any) -> dict[str, Table]:
    """Return the app's tables; raise if one is not ours."""
    tables: dict[str, Table] = {}
    for name, table in app.tables.items():
        if not isinstance(table, Table):
            raise JetStreamTransportError(
                f"table {name} is a stock faust table, which needs a changelog topic: make the app "
                "with create_app, or give faust.App(Table=stream.faust_jetstream.Table)."
            )
        tables[name] = table
    return tables
