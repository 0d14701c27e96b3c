"""From the observers' events to batches in the spool and on their way to the broker.

One task does everything in order: take from the queue, write batches, store them, hand them to the
publisher. So a progress record is stored behind every event that it covers.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from producers.base.accounts import Account, LossLedger
from producers.base.batcher import Batch, Batcher
from producers.base.durability import DurableEventQueue
from producers.base.errors import SpoolFullError, SpoolWriteError
from producers.base.event_queue import EventQueue, Loss
from producers.base.progress import PROGRESS, progress_events, tick_offset, until_tick
from producers.base.publisher import SpoolPublisher
from producers.base.settings import RunSettings
from producers.base.spool_record import Meta
from producers.base.spool_types import LostRange, Position, Recovery, Stored
from producers.base.storage import LOSS, Storage
from stream.broker.connection import BrokerConnection
from stream.contract.boot import new_boot_id
from stream.contract.event import Event
from stream.contract.kinds import KINDS
from stream.contract.timestamps import format_timestamp

_log = logging.getLogger("tenwatch.producer")

LINGER_SECONDS: Final = 0.04
"""How long to let events gather before they are taken: fewer wake-ups, no later batches."""
FULL_PAUSE_SECONDS: Final = 0.1
KEEP_SECONDS: Final = 1.0
"""Between two writes of the state; a kill leaves it that old."""
SPOOL_FULL: Final = "spool_full"
SPOOL_UNWRITABLE: Final = "spool_unwritable"
SPOOL_CORRUPT: Final = "spool_corrupt"


class Pipeline:
    """All between :class:`EventQueue` and :class:`SpoolPublisher`, and the books about it."""

    def __init__(
        self, settings: RunSettings, connection: BrokerConnection, kinds: Iterable[str]
    ) -> None:
        self._settings = settings
        self._producer = settings.producer
        self.boot = new_boot_id()
        self.kinds = tuple(dict.fromkeys(kinds))
        self.accounts: dict[str, Account] = {kind: Account() for kind in (*self.kinds, LOSS)}
        self.degraded: Callable[[], list[str]] = list
        """What observers say does not work fully; asked with every progress record."""
        self.recovery = Recovery()
        self.spool_problem = ""
        self._batchers: dict[str, Batcher] = {}
        self._ledger = LossLedger()
        self._unwritten_losses: list[Batch] = []
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._at_risk = asyncio.Event()
        """Set when a batch is in memory only."""
        self._closing = False
        self._offset = tick_offset()
        self._blocking = True
        self._tasks: list[asyncio.Task[None]] = []
        self.storage = Storage(
            Path(settings.spool.folder) / settings.name, settings.spool, self.boot, self.kinds
        )
        queue = DurableEventQueue if self._producer.queue_policy == "block" else EventQueue
        self.queue = queue(self._producer.queue_events, self._producer.queue_policy, self._wake_up)
        # No more than a segment in memory: a full spool can't drop what is about to be sent.
        window = min(self._producer.publish_window_bytes, settings.spool.segment_bytes)
        self.publisher = SpoolPublisher(
            connection, self._producer, settings.node, window, self._read, self._refused
        )

    async def open(self) -> None:
        """Take the spool, find what the last life left, and begin to publish it.

        Raises :class:`~producers.base.errors.SpoolError`.
        """
        self.recovery = await self.storage.open()
        if isinstance(self.queue, DurableEventQueue):
            self.queue.prepare(self.boot, self.recovery)
        for gap in self.recovery.gaps:
            self._lose(gap, SPOOL_CORRUPT)
        if self.recovery.unexplained_bytes:
            self._corrupt(self.recovery.unexplained_bytes)
        previous = self.storage.previous
        for each in previous.unspooled if previous is not None else ():
            meta = Meta(each.kind, 0, self._settings.node, each.boot, each.first_seq, 1)
            for first, last in self.recovery.found.missing(
                each.boot, each.kind, each.first_seq, each.last_seq
            ):
                self._lose(LostRange(meta, first, last, "", ""), SPOOL_UNWRITABLE)
        self.publisher.start(self.storage.spool.floor, self.storage.spool.end)
        self._tasks = [
            asyncio.create_task(self._run(), name="pipeline"),
            asyncio.create_task(self._keep_state(), name="state-keeper"),
        ]

    def report_down(self, kinds: Iterable[str]) -> None:
        """Report the time since the last life as a loss, for each of ``kinds`` it observed."""
        previous, now = self.storage.previous, time.time_ns() // 1000
        if previous is None:
            return
        for kind in kinds:
            if kind in previous.kinds:
                self.queue.lost(
                    kind,
                    "producer_stopped" if previous.closed else "producer_down",
                    None,
                    stage="observer",
                    first_ts=format_timestamp(min(previous.alive_us, now)),
                    last_ts=format_timestamp(now),
                    detail=f"nothing observed since boot {previous.boot} ended",
                )

    def stop_blocking(self) -> None:
        """From now on a full spool drops the newest: observers that wait must be able to stop."""
        self._blocking = False

    async def failed(self) -> BaseException | None:
        """Wait until one of its tasks ends, which none does by itself; gives its exception."""
        tasks = [*self._tasks, *self.publisher.tasks]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next((task.exception() for task in done if not task.cancelled()), None)

    async def close(self, timeout: float, orderly: bool = True) -> bool:
        """Store what is left, publish within ``timeout`` seconds what can be; True if all was.

        Observers must have stopped. ``orderly`` says whether everything that they saw came here.
        What isn't published stays in the spool for the next start.
        """
        end = time.monotonic() + timeout
        self._closing = True
        self._blocking = False
        self._wake.set()
        for task in self._tasks:
            if task.get_name() == "pipeline":
                await asyncio.wait((task,))
            else:
                task.cancel()
        self.queue.close()
        await self._tick(closing=True)
        done = await self.publisher.drained(max(0.0, end - time.monotonic()))
        await self.publisher.stop()
        await self.storage.close(self.publisher.floor, self._unspooled(), orderly)
        return done

    def _unspooled(self) -> list[Meta]:
        """What a kill would lose although it has a seq: the disk refused it."""
        return self.publisher.unspooled() + [each.meta for each in self._unwritten_losses]

    def _wake_up(self) -> None:
        """Called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def _run(self) -> None:
        interval = self._producer.progress_seconds
        next_tick = self._loop.time() + until_tick(interval, self._offset)
        while not self._closing:
            open_batches = [each.deadline for each in self._batchers.values() if each.open]
            until = min([next_tick, *open_batches])
            timer = self._loop.call_at(until, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            now = self._loop.time()
            if now < until and self.queue.size * 2 < self.queue.limit:
                await asyncio.sleep(min(LINGER_SECONDS, until - now))
            self._wake.clear()
            closed = self._ingest()
            now = self._loop.time()
            for batcher in self._batchers.values():
                if batcher.due(now):
                    closed += batcher.close()
            await self._store(closed)
            if now >= next_tick:
                await self._tick()
                next_tick = self._loop.time() + until_tick(interval, self._offset)

    def _ingest(self) -> list[Batch]:
        """Write everything that observers handed over into batches; gives those that are full."""
        closed: list[Batch] = []
        taken = self.queue.take()
        now = self._loop.time()
        gathered: dict[str, list[Event]] = {}
        for kind, events in taken.events:
            gathered.setdefault(kind, []).extend(events)
        for kind, events in gathered.items():
            if kind not in KINDS:
                self._lose_unseen(Loss(kind, "unknown_kind", "observer", len(events)))
                continue
            batcher = self._batchers.get(kind) or self._new_batcher(kind)
            closed += batcher.add(events, now)
            self._account(kind).emitted = batcher.next_seq
            for reason, count in batcher.refused.items():
                self._lose_unseen(Loss(kind, reason, "observer", count))
            batcher.refused.clear()
        for loss in taken.losses:
            self._lose_unseen(loss)
        for kind, count in taken.filtered.items():
            self._account(kind).filtered += count
        for kind, watermark in taken.watermarks.items():
            account = self._account(kind)
            account.watermark = max(account.watermark, watermark)
        return closed

    def _account(self, kind: str) -> Account:
        found = self.accounts.get(kind)
        if found is None:
            found = self.accounts[kind] = Account()
        return found

    def _new_batcher(self, kind: str) -> Batcher:
        batcher = Batcher(kind, self._settings.node, self.boot, self._producer)
        self._batchers[kind] = batcher
        return batcher

    def _lose_unseen(self, loss: Loss) -> None:
        """Count and report what was lost before it had a seq."""
        account = self._account(loss.kind)
        account.lost += loss.count or 0
        account.blame(loss.reason, loss.count or 0)
        self._ledger.report(loss)

    def _lose(self, lost: LostRange, reason: str, detail: str = "") -> None:
        """Count and report seqs that will never arrive."""
        account = self._account(lost.meta.kind)
        if lost.meta.boot == self.boot:
            account.dropped += lost.count
        account.blame(reason, lost.count)
        self._ledger.seqs(reason, lost, detail)

    def _refused(self, meta: Meta, reason: str, detail: str) -> None:
        _log.error("batch %s is given up: %s", meta.identity.message_id, detail)
        self._lose(_whole(meta), reason, detail)

    def _corrupt(self, size: int) -> None:
        """Damage on the disk that doesn't tell what it took."""
        for kind in self.kinds:
            self._ledger.report(
                Loss(kind, SPOOL_CORRUPT, "spool", None, detail=f"{size} bytes can't be read")
            )

    async def _read(self, cursor: Position, max_bytes: int) -> tuple[list[Stored], Position]:
        """For the publisher: batches that are on disk only."""
        found, cursor, damaged = await self.storage.read(cursor, max_bytes)
        if damaged:
            self._corrupt(damaged)
        return found, cursor

    async def _tick(self, closing: bool = False) -> None:
        """Store everything up to now, and behind it the losses and the progress."""
        closed = self._ingest()
        for batcher in self._batchers.values():
            closed += batcher.close()
            batcher.tick()
        await self._store(closed)
        await self._write_losses()
        now = time.time_ns() // 1000
        self.accounts[LOSS].watermark = max(self.accounts[LOSS].watermark, now)
        problems = [self.spool_problem] if self.spool_problem else []
        lines = progress_events(
            self.accounts,
            interval_seconds=self._producer.progress_seconds,
            spooled_bytes=self.storage.spool.unacknowledged_bytes,
            oldest_age_ms=self.publisher.oldest_age_ms,
            degraded=[*self.degraded(), *problems],
            closing=closing,
        )
        await self._store(self._batch_now(PROGRESS, list(lines)))

    def _batch_now(self, kind: str, events: list[Event]) -> list[Batch]:
        """Batches of the producer's own events, closed at once."""
        batcher = self._batchers.get(kind) or self._new_batcher(kind)
        return [*batcher.add(events, self._loop.time()), *batcher.close()]

    async def _write_losses(self) -> None:
        """Write what the ledger holds, behind earlier losses that still wait for room."""
        if not await self._flush_losses() or not self._ledger:
            return
        account = self.accounts[LOSS]
        ts = format_timestamp(max(time.time_ns() // 1000, account.watermark))
        events = self._ledger.take(ts)
        self._unwritten_losses += self._batch_now(LOSS, list(events))
        account.emitted += len(events)
        await self._flush_losses()

    async def _flush_losses(self) -> bool:
        """Store the batches of losses; False if some must wait. None is ever dropped."""
        while self._unwritten_losses:
            stored, error = await self.storage.append(self._unwritten_losses[:1], reserve=True)
            for each in stored:
                self.publisher.offer(each)
            first = self._unwritten_losses[0]
            if error is not None:
                self._at_risk.set()
                if not self.publisher.offer_unspooled(first.meta, first.payload):
                    return False
            self._unwritten_losses.pop(0)
        return True

    async def _store(self, batches: list[Batch]) -> None:
        """Append to the spool and hand to the publisher; what goes if it can't is the policy's."""
        while batches:
            stored, error = await self.storage.append(batches)
            for each in stored:
                self.publisher.offer(each)
                self._settled(each.meta)
            batches = batches[len(stored) :]
            if error is None:
                self.spool_problem = ""
                return
            self.spool_problem = str(error)
            if isinstance(error, SpoolWriteError):
                first = batches[0]
                if self.publisher.offer_unspooled(first.meta, first.payload):
                    self._settled(first.meta)
                    self._at_risk.set()
                    batches = batches[1:]
                    continue
            reason = SPOOL_FULL if isinstance(error, SpoolFullError) else SPOOL_UNWRITABLE
            if not await self._make_room(reason):
                self._lose(_whole(batches[0].meta), reason)
                self._settled(batches[0].meta)
                batches = batches[1:]

    def _settled(self, meta: Meta) -> None:
        """Tell the observers that wait for it."""
        if isinstance(self.queue, DurableEventQueue):
            self.queue.settled(meta)

    async def _make_room(self, reason: str) -> bool:
        """Apply the policy to a full spool; False if the newest batch is what goes."""
        spool = self.storage.spool
        before = spool.bytes_on_disk
        await self.storage.acknowledge(self.publisher.floor)
        if spool.bytes_on_disk < before:
            return True
        policy = self._settings.spool.policy
        if policy == "block" and self._blocking:
            await asyncio.sleep(FULL_PAUSE_SECONDS)
            return True
        if policy == "drop_oldest":
            victim = await self.storage.victim(self.publisher.cursor)
            if victim is not None:
                await self._drop_segment(victim, reason)
                return True
        return False

    async def _drop_segment(self, number: int, reason: str) -> None:
        """Give up the oldest segment: first write down what is lost, then remove it."""
        ranges, losses = await self.storage.summary(number)
        for each in ranges:
            self._lose(each, reason)
        await self._write_losses()
        await self.storage.drop(number)
        self._unwritten_losses += losses
        await self._write_losses()

    async def _keep_state(self) -> None:
        """Once a second: remove what is acknowledged, sync, remember that this life lasts.

        Sooner and more often while a kill would take what has a seq, so that it is counted.
        """
        while True:
            pause = KEEP_SECONDS / 10 if self._unspooled() else KEEP_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._at_risk.wait(), pause)
            self._at_risk.clear()
            await self.storage.keep(self.publisher.floor, self._unspooled())


def _whole(meta: Meta) -> LostRange:
    return LostRange(meta, meta.first_seq, meta.last_seq, meta.first_ts, meta.last_ts)
