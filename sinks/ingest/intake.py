"""What was delivered and is not yet stored, per table: gathered, grouped, retried, acknowledged."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from sinks.ingest.group import Group, Stage
from sinks.ingest.message import Held, hold
from sinks.ingest.settings import SinkSettings
from sinks.ingest.tables.definition import SinkTable
from stream.broker.subscription import Delivery, PullSubscription

_log = logging.getLogger("tenwatch.sink")
FIRST_BACKOFF: Final = 0.1
"""Pause after the first failure, seconds; it doubles with each."""


class Intake:
    """The messages of one table. Lives on the loop."""

    def __init__(
        self,
        table: SinkTable,
        settings: SinkSettings,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.table = table
        self.subscription: PullSubscription | None = None
        self.group: Group | None = None
        """What is being stored, or waits to be tried again."""
        self.problem = "not reading yet"
        """Why the newest try failed; empty when it didn't."""
        self.failing_since = 0.0
        self.stored_rows = 0
        self.repeated_rows = 0
        self.dead_rows = 0
        self.inserts = 0
        self.failures = 0
        self.redelivered = 0
        self.behind = 0
        """Messages that the broker still has for this table, as it last said."""
        self._settings = settings
        self._wake = wake
        self._clock = clock
        self._waiting: deque[Held] = deque()
        self._rows = 0
        self._bytes = 0
        self._oldest = 0.0
        self._last_insert = -1e9
        self._retry_at = 0.0
        # With the time, since a stream that is made anew counts from 1 again.
        self._held: dict[tuple[int, int], Held] = {}
        self.draining = False

    def __len__(self) -> int:
        """Messages that are held."""
        return len(self._held)

    def receive(self, delivery: Delivery) -> None:
        """Take one message in; called by the subscription."""
        self.behind = delivery.pending
        key = (delivery.stream_seq, delivery.timestamp_ns)
        known = self._held.get(key)
        if known is not None:
            # Delivered again while it is still held: the newest delivery is the one to answer.
            self.redelivered += 1
            if self.subscription is not None:
                self.subscription.release(known.delivery)
            known.delivery = delivery
            return
        if self.draining:
            if self.subscription is not None:
                self.subscription.ack([delivery], b"-NAK")
            return
        held = hold(self.table, delivery)
        self._held[key] = held
        if not self._waiting:
            self._oldest = self._clock()
        self._waiting.append(held)
        self._rows += held.lines
        self._bytes += len(delivery.data)
        if len(self._waiting) == 1 or self._full():
            self._wake()

    def due(self) -> float | None:
        """When to store next, on the clock; None when there is nothing to do."""
        if self.group is not None:
            return self._retry_at
        if not self._waiting:
            return None
        if self._full() or self.draining:
            return 0.0
        return max(
            self._oldest + self._settings.linger_seconds,
            self._last_insert + self._settings.insert_interval_seconds,
        )

    def next_group(self) -> Group:
        """The group to bring on: the one that failed, else a new one of what waits."""
        if self.group is None:
            held: list[Held] = []
            rows = size = 0
            while self._waiting:
                first = self._waiting[0]
                if held and (
                    rows + first.lines > self.table.maximum_rows
                    or size + len(first.delivery.data) > self.table.maximum_bytes
                ):
                    break
                held.append(self._waiting.popleft())
                rows += first.lines
                size += len(first.delivery.data)
            self._rows -= rows
            self._bytes -= size
            self._oldest = self._clock()
            self.group = Group(self.table, held, gathered=self._clock())
        return self.group

    def settle(self, group: Group) -> None:
        """Acknowledge a booked group, or plan when to try it again."""
        if group.stage is not Stage.BOOKED:
            self.failures += 1
            pause = min(
                FIRST_BACKOFF * 2 ** min(group.attempts - 1, 16),
                self._settings.backoff_maximum_seconds,
            )
            self._retry_at = self._clock() + pause
            problem = str(group.error) if group.error else "not stored yet"
            if not self.problem:
                self.failing_since = self._clock()
                # Once: what keeps failing is in the health and counted, not logged each time.
                _log.warning("%s: can't be stored, trying on: %s", self.table.name, problem[:500])
            self.problem = problem
            return
        if self.problem:
            seconds = self._clock() - self.failing_since
            _log.info("%s: stored again after %.1f s", self.table.name, seconds)
        self.problem = ""
        self.group = None
        self._last_insert = group.gathered
        self.stored_rows += group.lines - sum(each.count for each in group.dead)
        self.repeated_rows += group.repeated
        self.dead_rows += sum(each.count for each in group.dead)
        self.inserts += group.inserts
        for held in group.held:
            del self._held[held.delivery.stream_seq, held.delivery.timestamp_ns]
        if self.subscription is not None:
            self.subscription.ack(_deliveries(group.held))

    def keep_alive(self) -> None:
        """Ask the broker for more time for all that is held."""
        if self.subscription is not None and self._held:
            self.subscription.in_progress(_deliveries(self._held.values()))

    def give_back(self) -> None:
        """Tell the broker to deliver again what is held and won't be stored by this sink."""
        if self.subscription is not None and self._held:
            self.subscription.ack(_deliveries(self._held.values()), b"-NAK")
        self._held.clear()
        self._waiting.clear()
        self.group = None

    def lag_seconds(self) -> float:
        """Age of the oldest message that is held, seconds; 0 when there is none."""
        if not self._held:
            return 0.0
        oldest = next(iter(self._held.values())).delivery.timestamp_ns
        return max(0.0, time.time() - oldest / 1e9)

    def _full(self) -> bool:
        return self._rows >= self.table.maximum_rows or self._bytes >= self.table.maximum_bytes


def _deliveries(held: Iterable[Held]) -> list[Delivery]:
    return [each.delivery for each in held]
