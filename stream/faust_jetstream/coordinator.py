"""Brings what this worker holds in line with what the group assigned to it."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from mode import Service

from .connection import FAILED, UNANSWERED
from .errors import FencedError, JetStreamTransportError
from .membership import Membership, View
from .ownership import SupersededError
from .tasks import wait_event

if TYPE_CHECKING:
    from .consumer import Consumer

logger = logging.getLogger(__name__)

_REBALANCE_END_TIMEOUT = 30.0
_REBALANCE_ERRORS: tuple[type[Exception], ...] = (FencedError, *FAILED)
_ACQUIRE_ERRORS: tuple[type[Exception], ...] = (JetStreamTransportError, *UNANSWERED)


class Coordinator(Service):  # type: ignore[misc]
    """Runs rebalances, one after the other, in a task of the worker's loop.

    Partitions are given up as soon as the assignment says so, and taken when nobody else that
    lives holds them, or at once from a dead member.
    """

    def __init__(self, consumer: "Consumer", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.consumer = consumer
        self.app = consumer.app
        self.context = consumer.context
        self.rebalances = 0
        self.held: set[int] = set()
        self.wanted: set[int] = set()
        self._changed = asyncio.Event()
        self._topics: set[str] | None = None
        self._prepared: set[str] | None = None
        self._topics_changed = False
        self._rolled_back: set[int] = set()
        self._superseded: dict[int, int] = {}
        self.membership = Membership(
            self.context.settings,
            self.context.names,
            url=str(self.app.conf.canonical_url),
            on_change=self._changed.set,
            on_fatal=self._fatal,
        )

    def subscribe(self, topics: set[str]) -> None:
        """Note the topics the app reads; the rebalance follows in the coordinator's task."""
        if topics != self._topics:
            self._topics = topics
            self._topics_changed = True
            self._changed.set()

    def roll_back(self, partition: int) -> None:
        """Discard a partition's memory and take it anew, if it is still assigned to us."""
        self._rolled_back.add(partition)
        self._changed.set()

    def is_leader(self) -> bool:
        """Whether this worker leads the group."""
        return self.membership.is_leader

    async def leave(self) -> None:
        """Tell the group that this worker goes."""
        await self.membership.leave()

    def _fatal(self, error: Exception) -> None:
        self.app.loop.create_task(self.app.crash(error))

    @Service.task  # type: ignore[untyped-decorator]
    async def _run(self) -> None:
        started = False
        while not self.should_stop:
            self.membership.alive()
            if self._topics is not None and not started:
                await self.context.prepare(self._topics)
                self._prepared = self._topics
                self.membership.start(self.context.engine.partitions_needed)
                started = True
            if started:
                await self._step()
            await wait_event(self._changed, 0.5)

    async def _step(self) -> None:
        self._changed.clear()
        if self._topics is not None and self._topics != self._prepared:
            await self.context.prepare(self._topics)
            self._prepared = self._topics
        view = self.membership.view
        if not self.consumer.rebalanced and self.membership.member not in view.assignment:
            return
        wanted = set(view.assignment.get(self.membership.member, ()))
        self.wanted = wanted
        free = {
            p
            for p in wanted - self.held
            if self._is_free(p, view) and self._superseded.get(p, -1) < view.generation
        }
        target = (self.held & wanted) | free
        lost = self._rolled_back & self.held
        first = not self.consumer.rebalanced
        if first and wanted and not target:
            return
        if target == self.held and not lost and not self._topics_changed and not first:
            return
        self._topics_changed = False
        try:
            await self._rebalance(target, view)
        except _REBALANCE_ERRORS as error:
            logger.warning("rebalancing again: %r", error)
            await asyncio.sleep(2 * self.context.settings.retry_wait)
        self._changed.set()

    def _is_free(self, partition: int, view: View) -> bool:
        return not any(
            partition in owned
            for member, owned in view.owned.items()
            if member != self.membership.member
        )

    async def _rebalance(self, target: set[int], view: View) -> None:
        app, consumer = self.app, self.consumer
        began = time.monotonic()
        self.rebalances += 1
        app.on_rebalance_start()
        await consumer.on_partitions_revoked(consumer.assignment())
        rolled_back, self._rolled_back = self._rolled_back, set()
        keep = {
            p
            for p in self.held & target
            if p not in rolled_back and self.context.engine.is_clean(p)
        }
        for partition in sorted(self.held - keep):
            await self.context.engine.release(partition)
        reload = (self.held & target) - keep
        self.held = keep
        self._announce(keep | reload)
        failed = await asyncio.gather(
            *(self._acquire(partition, view.generation) for partition in sorted(target - keep))
        )
        self._announce(set(self.held))
        await consumer.assigned(self.held, view)
        await self._wait_for_end()
        logger.info(
            "rebalanced to partitions %s in %.2f s (generation %d, kept %s)",
            sorted(self.held),
            time.monotonic() - began,
            view.generation,
            sorted(keep),
        )
        for error in failed:
            if error is not None:
                raise error

    async def _acquire(self, partition: int, generation: int) -> Exception | None:
        try:
            await self.context.engine.acquire(partition, generation)
        except SupersededError as error:
            logger.info("waiting for a later assignment: %s", error)
            self._superseded[partition] = generation
        except _ACQUIRE_ERRORS as error:
            return error
        else:
            self.held.add(partition)
        return None

    def _announce(self, owned: set[int]) -> None:
        self.membership.announce(frozenset(owned), self.context.engine.partitions_needed)

    async def _wait_for_end(self) -> None:
        deadline = time.monotonic() + _REBALANCE_END_TIMEOUT
        while self.app.rebalancing and not self.should_stop and time.monotonic() < deadline:
            self.membership.alive()
            await asyncio.sleep(0.01)
        self.consumer.delivery.wake.set()
