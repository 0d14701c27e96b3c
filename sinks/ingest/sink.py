"""The sink's loop: it takes in what the broker delivers and hands it to the thread that writes.

The loop never blocks and the thread never waits for the loop: one round stores what is due of all
tables, reports what the store refused, books it in the ledger, and acknowledges. Meanwhile the
next round gathers. What can't be stored stays held, and the window of the subscription is the
bound: beyond it messages stay at the broker.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from sinks.errors import StoreError
from sinks.ingest.group import Group, Stage
from sinks.ingest.intake import Intake
from sinks.ingest.settings import SinkSettings
from sinks.ingest.tables import SINK_TABLES
from sinks.ingest.tables.definition import SinkTable
from sinks.ingest.writer import Writer
from sinks.store.client import Store
from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError, NotFoundError
from stream.broker.jetstream import ConsumerInfo, JetStream
from stream.broker.publisher import AckedPublisher
from stream.broker.subscription import PullSubscription
from stream.broker.wire import encode_headers
from stream.contract.batch import MESSAGE_ID_HEADER
from stream.contract.dead import DeadLetter
from stream.contract.subjects import dead_subject

_log = logging.getLogger("tenwatch.sink")
_encode = msgspec.json.Encoder().encode
HEARTBEAT_SECONDS: Final = 5.0
FROZEN_SECONDS: Final = 30.0
"""A loop that stood still for so long may have been replaced: half of what the broker waits before
it gives the read requests of a silent sink up."""
RETRY_SECONDS: Final = 1.0
"""Pause between two tries to reach the broker's consumers."""

Result = TypeVar("Result")


class Sink:
    """Stores what the streams hold, each event once."""

    def __init__(
        self,
        store: Store,
        connection: BrokerConnection,
        settings: SinkSettings | None = None,
        tables: Sequence[SinkTable] = SINK_TABLES,
    ) -> None:
        self.settings = settings or SinkSettings()
        self.connection = connection
        self.jetstream = JetStream(connection)
        self.writer = Writer(store, tables)
        self.intakes = {table.name: Intake(table, self.settings, self._wake_up) for table in tables}
        self.recovered_rows = 0
        self.started = False
        self.problem = "starting"
        self._store = store
        self._publisher = AckedPublisher(connection)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink-writer")
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._resumed: set[str] = set()
        self.frozen = asyncio.Event()
        """Set when this sink stood still for so long that another may have taken its place."""
        self._alive_at = 0.0

    async def start(self) -> None:
        """Book what an earlier sink left, then begin to read. Raises ``StoreError``."""
        self.recovered_rows = await self.in_writer(self.writer.start)
        self.started = True
        self.problem = ""
        self._alive_at = asyncio.get_running_loop().time()
        self._tasks = [
            asyncio.create_task(self._watch_itself(), name="sink-watch"),
            asyncio.create_task(self._store_loop(), name="sink-store"),
            asyncio.create_task(self._keep_alive_loop(), name="sink-keep-alive"),
            *(
                asyncio.create_task(self._subscribe(intake), name=f"sink-read-{name}")
                for name, intake in self.intakes.items()
            ),
        ]

    async def rival(self) -> str:
        """Whether another sink reads the same consumers now, in a sentence; empty if none does.

        An embedded store has a lock. On a server two sinks would each store what the other one
        holds, so the second waits until no read request of the first is left at the broker.
        """
        for intake in self.intakes.values():
            name = f"sink-{intake.table.name}"
            try:
                found = await self.jetstream.consumer_info(intake.table.stream, name)
            except NotFoundError:
                continue
            if found.num_waiting:
                return (
                    f"another sink reads the consumer {name} of {found.stream_name}; "
                    "this one waits until it is gone"
                )
        return ""

    async def in_writer(self, work: Callable[[], Result]) -> Result:
        """Run something in the thread that writes, between two rounds."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def troubles(self) -> list[str]:
        """Why it isn't well, a sentence each; empty when it is."""
        found = [self.problem] if self.problem else []
        if not self.connection.connected:
            found.append(self.connection.problem)
        for name, intake in self.intakes.items():
            if intake.problem:
                found.append(f"{name}: {intake.problem}")
            if intake.subscription is not None and intake.subscription.problem:
                found.append(f"{name}: {intake.subscription.problem}")
        return list(dict.fromkeys(found))

    async def stop(self) -> bool:
        """Store what is held, acknowledge it and stop reading; True if nothing was left over.

        A frozen sink stores nothing any more.
        """
        for intake in self.intakes.values():
            intake.draining = True
        self._wake_up()
        if not self.frozen.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.drain_seconds):
                    await self._emptied()
        left = sum(len(intake) for intake in self.intakes.values())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for intake in self.intakes.values():
            intake.give_back()
            if intake.subscription is not None:
                with contextlib.suppress(BrokerError):
                    await intake.subscription.stop()
        await self._publisher.close()
        self._thread.shutdown(wait=True)
        if left:
            _log.warning("%d messages were not stored in time; the broker keeps them", left)
        return not left

    async def _emptied(self) -> None:
        while any(self.intakes.values()):
            self._settled.clear()
            await self._settled.wait()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _subscribe(self, intake: Intake) -> None:
        """Make the consumer and read it, and both again whenever the broker has lost them."""
        gone = asyncio.Event()
        table = intake.table
        while True:
            try:
                await self.connection.wait_connected()
                info = await self._ensure_consumer(table)
            except BrokerError as error:
                intake.problem = str(error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            intake.problem = ""
            intake.behind = info.num_pending + info.num_ack_pending
            if intake.subscription is None:
                intake.subscription = PullSubscription(
                    self.connection,
                    table.stream,
                    f"sink-{table.name}",
                    intake.receive,
                    max_messages=self._window_messages,
                    max_bytes=table.window_bytes,
                    heartbeat_seconds=HEARTBEAT_SECONDS,
                    on_gone=lambda _why: gone.set(),
                )
                intake.subscription.start()
            await gone.wait()
            gone.clear()

    _window_messages: Final = 2048

    def _consumer(self, table: SinkTable) -> dict[str, object]:
        return {
            "name": f"sink-{table.name}",
            "durable_name": f"sink-{table.name}",
            "description": f"fills the table {table.table}",
            "filter_subject": table.subject,
            "ack_policy": "explicit",
            "ack_wait": int(self.settings.acknowledge_seconds * 1e9),
            "max_ack_pending": 2 * self._window_messages,
            "max_waiting": 16,
        }

    async def _ensure_consumer(self, table: SinkTable) -> ConsumerInfo:
        """The consumer, made if it is missing.

        What an earlier sink held when it died would come again only when the broker has waited
        for its acknowledgements. So the first time the consumer is made anew where that one's
        acknowledgements ended; what was stored beyond is known as a repeat.
        """
        wanted = self._consumer(table)
        if table.name not in self._resumed:
            with contextlib.suppress(NotFoundError):
                found = await self.jetstream.consumer_info(table.stream, str(wanted["name"]))
                if found.num_ack_pending:
                    wanted["deliver_policy"] = "by_start_sequence"
                    wanted["opt_start_seq"] = found.ack_floor.stream_seq + 1
                    await self.jetstream.delete_consumer(table.stream, found.name)
            info = await self.jetstream.ensure_consumer(table.stream, wanted)
            self._resumed.add(table.name)
            return info
        return await self.jetstream.ensure_consumer(table.stream, wanted)

    async def _keep_alive_loop(self) -> None:
        while True:
            await asyncio.sleep(self.settings.acknowledge_seconds / 3)
            for intake in self.intakes.values():
                intake.keep_alive()

    def _may_be_replaced(self) -> bool:
        """Whether the loop stood still; only where another sink can take its place."""
        late = asyncio.get_running_loop().time() - self._alive_at > FROZEN_SECONDS
        if late and self._store.settings.url:
            self.frozen.set()
        return self.frozen.is_set()

    async def _watch_itself(self) -> None:
        while not self._may_be_replaced():
            self._alive_at = asyncio.get_running_loop().time()
            await asyncio.sleep(1.0)

    async def _store_loop(self) -> None:
        while True:
            groups = await self._due_groups()
            if self._may_be_replaced():
                return
            try:
                await self._round(groups)
            except Exception:
                # Nothing is acknowledged, so nothing is lost; the next round tries again.
                _log.exception("a round of inserts failed in a way that was not foreseen")
                for group in groups:
                    group.attempts += 1
            for group in groups:
                self.intakes[group.table.name].settle(group)
            self._settled.set()
            if not any(intake.group for intake in self.intakes.values()):
                await self.in_writer(self.writer.trim)

    async def _due_groups(self) -> list[Group]:
        """Wait until something is due, then give all that is."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now = loop.time()
            dues = {name: intake.due() for name, intake in self.intakes.items()}
            ready = [name for name, due in dues.items() if due is not None and due <= now]
            if ready:
                return [self.intakes[name].next_group() for name in ready]
            later = [due for due in dues.values() if due is not None]
            try:
                # Not wait_for: before 3.12 it swallows a cancellation that comes with a wake-up.
                async with asyncio.timeout_at(min(later) if later else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self, groups: list[Group]) -> None:
        await self.in_writer(lambda: self.writer.store(groups))
        for group in groups:
            if group.stage is Stage.STORED:
                await self._report(group)
        await self.in_writer(lambda: self.writer.book(groups))

    async def _report(self, group: Group) -> None:
        """Publish the dead letters of a group; it goes on only when the broker has them all."""
        try:
            for letter in group.dead:
                headers = encode_headers({MESSAGE_ID_HEADER: _letter_id(letter)})
                await self._publisher.publish_wait(
                    dead_subject("sink", letter.kind), _encode(letter) + b"\n", headers
                )
            group.stage = Stage.REPORTED
        except BrokerError as error:
            group.attempts += 1
            group.error = StoreError(f"a dead letter can't be published: {error}")


def _letter_id(letter: DeadLetter) -> str:
    """The same each time that the same line is refused."""
    return (
        f"sink:{letter.kind}:{letter.node}:{letter.boot}:{letter.seq}:"
        f"{letter.log_partition}:{letter.log_offset}:{hash_of(letter.payload)}"
    )


def hash_of(text: str) -> str:
    """Ten hexadecimal digits that tell texts apart."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
