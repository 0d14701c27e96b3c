"""When upkeep runs: roll-ups every round, the rest every so many rounds; never two at once."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from sinks.errors import SinkError
from sinks.ingest.sink import Sink
from sinks.maintenance import rollups, upkeep
from sinks.maintenance.streams import StreamCleaner
from sinks.store.client import Client, Store
from stream.broker.errors import BrokerError
from stream.broker.publisher import AckedPublisher
from stream.contract.kinds.loss import LossEvent
from stream.contract.subjects import loss_subject
from stream.contract.timestamps import now_timestamp

_log = logging.getLogger("tenwatch.sink")
HOURLY_EVERY: Final = 10
"""Rounds between two roll-ups to the hour and clean-ups of ended processes."""
LEDGER_EVERY: Final = 60
"""Rounds between two joins of the ledger."""
_KIND_OF_TABLE: Final = {
    "cgroup_samples": "cgroup",
    "process_events": "process",
    "file_events": "file",
    "hostpath_events": "hostpath",
    "snapshot_events": "snapshot",
}


class Maintenance:
    """The rounds, and how they went. Heavy statements have a connection and a thread of their own,
    so that inserts go on meanwhile."""

    def __init__(self, store: Store, sink: Sink, node: str) -> None:
        self.rounds = 0
        self.windows = 0
        self.purged = 0
        self.failures = 0
        self.round_seconds = 0.0
        self._store = store
        self._sink = sink
        self._node = node
        self._client: Client | None = None
        self._publisher = AckedPublisher(sink.connection)
        self._cleaner = StreamCleaner(
            sink.jetstream,
            sink.settings.replay_horizon_seconds,
            sink.settings.purge_above_fraction,
        )

    async def run(self) -> None:
        """Rounds for ever; cancel it to stop."""
        try:
            while True:
                await self.round()
                await asyncio.sleep(self._sink.settings.maintenance_seconds)
        finally:
            await self._publisher.close()
            if self._client is not None:
                await asyncio.to_thread(self._client.close)

    async def round(self) -> None:
        """All that is due. A step that fails is told in the log and tried again next time."""
        started = time.monotonic()
        await self._step("the disk guard", self._guard_disk)
        await self._step("rolling up to minutes", lambda: self._roll_up(rollups.MINUTE))
        if self.rounds % HOURLY_EVERY == 0:
            await self._step("rolling up to hours", lambda: self._roll_up(rollups.HOUR))
            await self._step("clearing ended processes", self._clear_processes)
        if self.rounds % LEDGER_EVERY == LEDGER_EVERY - 1:
            await self._step("joining the ledger", self._compact_ledger)
        await self._step("purging stored messages", self._clean_streams)
        self.rounds += 1
        self.round_seconds = time.monotonic() - started

    async def _step(self, what: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except (SinkError, BrokerError) as error:
            self.failures += 1
            _log.warning("%s failed: %s", what, error)

    async def _reader(self) -> Client:
        if self._client is None:
            self._client = await asyncio.to_thread(self._store.reader)
        return self._client

    async def _roll_up(self, target: rollups.Target) -> None:
        client = await self._reader()
        self.windows += await asyncio.to_thread(rollups.roll_up, self._store, client, target)

    async def _clear_processes(self) -> None:
        client = await self._reader()
        await asyncio.to_thread(upkeep.clear_ended_processes, self._store, client)

    async def _compact_ledger(self) -> None:
        await self._sink.in_writer(lambda: upkeep.compact_ledger(self._store, self._store.writer))

    async def _clean_streams(self) -> None:
        self.purged += sum((await self._cleaner.clean()).values())

    async def _guard_disk(self) -> None:
        client = await self._reader()
        for day in await asyncio.to_thread(upkeep.guard_disk, self._store, client):
            loss = LossEvent(
                ts=now_timestamp(),
                node=self._node,
                stage="sink",
                kind=_KIND_OF_TABLE.get(day.table, day.table),
                reason="disk_guard",
                count=day.rows,
                detail=f"dropped the rows of {day.day} from {day.table}: the disk was full",
            )
            await self._publisher.publish_wait(
                loss_subject("sink", self._node), msgspec.json.encode(loss) + b"\n"
            )
