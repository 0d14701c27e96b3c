"""The faust app of a worker: one processor per partition that it holds."""

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncIterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nats.errors import Error as NatsError

from stream.broker.credentials import Credentials, load_credentials
from stream.contract.timestamps import MICROSECONDS
from stream.faust_jetstream import JetStreamSettings, NotAssignedError, StaleEventError, create_app
from stream.worker.codec import KeyCodec, StateCodec
from stream.worker.errors import WorkerError
from stream.worker.messages import Message
from stream.worker.processor import Processor
from stream.worker.raw_stream import RawStream, StreamFill, purge_before
from stream.worker.rules_file import RulesFile
from stream.worker.settings import Names, WorkerRole

_log: Final = logging.getLogger("tenwatch.worker")
TICK_SECONDS: Final = 0.2
"""How often open windows are looked at for provisional rows."""
ROW_MESSAGES: Final = 200
"""Messages of final rows, and windows that they are of, in one commit at most."""
_INCARNATION_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_INCARNATION_SECONDS: Final = 4 * 3600


class WorkerApp:
    """Everything between the broker and the processors."""

    def __init__(self, role: WorkerRole, raw: RawStream, rules: RulesFile) -> None:
        self.role = role
        self._raw = raw
        self.names = Names(role.worker)
        self.rules = rules
        self.processors: dict[int, Processor] = {}
        self.provisional_dropped = 0
        """Messages of provisional rows that were not published since the broker was away."""
        self.purged = 0
        self._closing: set[int] = set()
        self._wake = asyncio.Event()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.app: Any = create_app(
            self.names.app,
            settings=self._transport(raw.partitions),
            datadir=self._data(),
        )
        self.jetstream: Any = self.app.jetstream
        self.table: Any = self.app.Table("state", codec=StateCodec(), key_codec=KeyCodec())
        self._declare(raw.partitions)

    def _data(self) -> Path:
        if self.role.worker.data:
            return Path(self.role.worker.data)
        self._folder = tempfile.TemporaryDirectory(prefix="tenwatch-worker-")
        return Path(self._folder.name)

    def _transport(self, partitions: int) -> JetStreamSettings:
        broker, worker = self.role.broker, self.role.worker
        login: Credentials = load_credentials(broker.credentials_file)
        if login.nkey_seed:
            raise WorkerError(
                "the credentials file gives an nkey seed; give the worker a user and password, "
                "a token or a creds_file"
            )
        return JetStreamSettings(
            servers=list(broker.servers),
            user=login.user or None,
            password=login.password or None,
            token=login.token or None,
            credentials_file=Path(login.creds_file) if login.creds_file else None,
            inbox_prefix=login.inbox,
            tls_ca=Path(broker.tls_ca) if broker.tls_ca else None,
            tls_cert=Path(broker.tls_certificate) if broker.tls_certificate else None,
            tls_key=Path(broker.tls_key) if broker.tls_key else None,
            tls_hostname=broker.tls_hostname or None,
            connect_timeout=broker.connect_timeout_seconds,
            partitions=partitions,
            replicas=worker.replicas,
            member_id=self.names.member,
            commit_interval=worker.commit_seconds,
            state_max_bytes=worker.state_max_bytes,
        )

    def _declare(self, partitions: int) -> None:
        jetstream, names = self.jetstream, self.names
        raw = jetstream.bind_topic(
            "raw", stream=names.raw, partitions=partitions, filter_subject="part.{partition}.>"
        )
        jetstream.ensure_outbox_stream(names.buckets, [f"{names.prefix}buckets.*.*"])
        if names.prefix:
            jetstream.ensure_outbox_stream(
                names.events,
                [f"{names.prefix}{stage}.*.*" for stage in ("events", "loss", "dead")],
            )
        jetstream.on_partition_recovered(self._recovered)
        jetstream.on_partition_revoked(self._revoked)
        jetstream.on_snapshot(self._snapshot)
        jetstream.before_commit(self._flush)
        self.app.agent(raw, name="enrich-and-window")(self._work)
        self.app.task(self._tick)
        self.app.task(self._commit_closings)
        self.app.task(self._watch_rules)
        if not names.prefix:
            self.app.task(self._give_space_back)

    # -- the partitions -------------------------------------------------------------------

    async def _recovered(self, partition: int) -> None:
        self.processors[partition] = Processor(
            partition,
            self.table.for_partition(partition),
            rules=self.rules.rules,
            windows=self.role.windows,
            prefix=self.names.prefix,
            incarnation=await self._incarnation(partition),
            from_the_middle=self._raw.emptied or bool(self.names.prefix),
            now=time.monotonic(),
        )
        _log.info("partition %d is ours", partition)

    def _revoked(self, partition: int) -> None:
        if self.processors.pop(partition, None) is not None:
            _log.info("partition %d is not ours any more", partition)

    async def _incarnation(self, partition: int) -> int:
        """A number that rises when the state's stream is made anew, and commits count from 1.

        Steps of 4 hours since 2026 fit 16 bits for 30 years.
        """
        stream = self.jetstream.names.state_stream(partition)
        info = await self.jetstream.connection.api_until_answered(f"STREAM.INFO.{stream}")
        created = datetime.fromisoformat(info["created"][:19]).replace(tzinfo=UTC)
        elapsed = (created - _INCARNATION_EPOCH).total_seconds()
        return max(0, min(0xFFFF, int(elapsed // _INCARNATION_SECONDS)))

    # -- events ---------------------------------------------------------------------------

    async def _work(self, stream: Any) -> None:
        events: AsyncIterable[Any] = stream.events()
        async for event in events:
            try:
                await self._process(event.message)
            except (StaleEventError, NotAssignedError):
                continue  # another worker has the partition, and will read the event
            except Exception as error:
                # Not an input's fault, since what is wrong with input is refused before. The
                # event stays unfinished, so its offset is never committed.
                _log.exception("offset %s can't be processed", event.message.offset)
                self.jetstream.crash(error)
                await asyncio.Event().wait()

    async def _process(self, message: Any) -> None:
        processor = self.processors.get(message.partition)
        if processor is None:
            raise NotAssignedError(message.partition)
        processor.windows.now = time.monotonic()
        headers = message.headers
        for each in processor.process(
            message.key.decode("utf-8", "replace"),
            dict(headers) if headers else None,
            message.value,
            message.offset,
            message.timestamp,
        ):
            await self._publish(each)
        if processor.windows.has_final_rows:
            self._closing.add(message.partition)
            self._wake.set()

    async def _publish(self, message: Message) -> None:
        await self.jetstream.publisher.publish(message.subject, message.payload, message.headers)

    # -- commits --------------------------------------------------------------------------

    def _snapshot(self, partition: int) -> None:
        processor = self.processors.get(partition)
        if processor is None:
            return
        room = max(1, min(ROW_MESSAGES, self.jetstream.room(partition) // 4))
        for row in processor.final_rows(self.jetstream.commit_number(partition), room, room):
            self.jetstream.outbox.send(partition, row.subject, row.payload)
        processor.use_rules(self.rules.rules)

    async def _flush(self, partition: int) -> None:
        await self.jetstream.publisher.flush()

    async def _commit_closings(self) -> None:
        """Commit at once where windows closed, so that final rows don't wait for the interval."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            closing, self._closing = self._closing, set()
            for partition in closing:
                if partition in self.processors:
                    with contextlib.suppress(StaleEventError, NotAssignedError):
                        await self.jetstream.commit(partition)
            await asyncio.sleep(0.05)

    # -- besides --------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Provisional rows, and the windows of producers that went silent."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for partition, processor in list(self.processors.items()):
                try:
                    await self._tick_partition(partition, processor)
                except (StaleEventError, NotAssignedError):
                    continue

    async def _tick_partition(self, partition: int, processor: Processor) -> None:
        windows = processor.windows
        windows.now = time.monotonic()
        windows.step()
        rows = list(processor.provisional_rows(self.jetstream.commit_number(partition)))
        caught_up = self.jetstream.caught_up(partition)
        if (caught_up and windows.close_idle()) or windows.has_final_rows:
            self._closing.add(partition)
            self._wake.set()
        for row in rows:
            await self._publish_provisional(row)

    async def _publish_provisional(self, row: Message) -> None:
        """Publish without waiting for an acknowledgement: the next row is newer anyway."""
        connection = self.jetstream.connection
        try:
            if connection.connected:
                await connection.client.publish(row.subject, row.payload)
                return
        except (NatsError, OSError) as error:
            _log.debug("provisional rows of %s dropped: %r", row.subject, error)
        self.provisional_dropped += 1

    async def _watch_rules(self) -> None:
        while True:
            await asyncio.sleep(self.role.worker.rules_check_seconds)
            await asyncio.to_thread(self.rules.check)

    async def _give_space_back(self) -> None:
        while True:
            await asyncio.sleep(self.role.worker.raw_check_seconds)
            try:
                await self._purge()
            except Exception as error:
                _log.warning("RAW could not be emptied, trying again: %r", error)

    async def _purge(self) -> None:
        connection, settings = self.jetstream.connection, self.role.worker
        answer = await connection.api(f"STREAM.INFO.{self.names.raw}")
        state = answer["state"]
        fill = StreamFill(
            state["bytes"],
            int(answer["config"].get("max_bytes", -1)),
            state["first_seq"],
            state["last_seq"],
        )
        for partition in list(self.processors):
            committed = self.jetstream.engine.held[partition].offsets.get("raw", 0)
            before = purge_before(
                fill,
                committed,
                settings.raw_purge_above_fraction,
                settings.raw_purge_to_fraction,
            )
            if before:
                purged = await connection.api(
                    f"STREAM.PURGE.{self.names.raw}",
                    {"filter": f"part.{partition}.>", "seq": before},
                )
                self.purged += purged.get("purged", 0)

    # -- life -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Start faust; returns when the partitions that are ours have been loaded."""
        self.app.finalize()
        await self.app.start()

    async def stop(self) -> None:
        """Finish what was begun, commit, and give the partitions up."""
        await self.app.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def not_ready(self) -> list[str]:
        """Reasons against being ready, in sentences."""
        reasons = []
        if not self.jetstream.connection.connected:
            reasons.append(f"no connection to NATS at {', '.join(self.role.broker.servers)}")
        if self.app.rebalancing:
            reasons.append("partitions are being distributed")
        return reasons

    def clock_lag(self, partition: int) -> float:
        """Seconds by which the oldest watermark of a partition is behind the wall clock."""
        lanes = self.processors[partition].windows.lanes()
        marks = [lane.watermark for lane in lanes if lane.own_progress]
        known = [mark for mark in marks if mark]
        return time.time() - min(known) / MICROSECONDS if known else 0.0
