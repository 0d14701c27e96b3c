"""How many queries may run and wait: a bounded queue in front of the engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sinks.sql_endpoint.config import TrafficLimits
from sinks.sql_endpoint.errors import TooManyQueriesError


class Admission:
    """Places for queries. Counters are for /metrics of the process that runs the endpoint."""

    def __init__(self, limits: TrafficLimits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.concurrent)
        self.waiting = 0
        self.running = 0
        self.refused = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place; TooManyQueriesError when the queue is full or the wait too long."""
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()  # at once: nobody waits and a place is free
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._places.release()

    async def _wait(self) -> None:
        if self.waiting >= self._limits.waiting:
            self.refused += 1
            raise TooManyQueriesError(
                f"Too many simultaneous queries: {self.running} run and {self.waiting} wait "
                "already; try again later"
            )
        self.waiting += 1
        try:
            await asyncio.wait_for(self._places.acquire(), self._limits.wait_seconds)
        except TimeoutError:
            self.refused += 1
            raise TooManyQueriesError(
                f"Too many simultaneous queries: no place became free within "
                f"{self._limits.wait_seconds:g} s; try again later"
            ) from None
        finally:
            self.waiting -= 1
