"""How many queries may run and wait: a bounded queue in front of the engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sinks.sql_endpoint.config import TrafficLimits
from sinks.sql_endpoint.errors import TooManyQueriesError


class Admission:
    """Places for queries, and a smaller number of them for each user."""

    def __init__(self, limits: TrafficLimits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.concurrent)
        self._of_user: dict[str, asyncio.Semaphore] = {}
        self.waiting = 0
        self.running = 0

    @asynccontextmanager
    async def place(self, user: str) -> AsyncIterator[None]:
        """Hold one place; TooManyQueriesError when the queue is full or the wait too long."""
        own = self._of_user.setdefault(user, asyncio.Semaphore(self._limits.concurrent_of_user))
        if own.locked() or self._places.locked():
            await self._wait(own)
        else:
            # At once: nobody waits, and both are free.
            await own.acquire()
            await self._places.acquire()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._places.release()
            own.release()

    async def _wait(self, own: asyncio.Semaphore) -> None:
        if self.waiting >= self._limits.waiting:
            raise TooManyQueriesError(
                f"Too many simultaneous queries: {self.running} run and {self.waiting} wait "
                "already; try again later"
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await own.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise TooManyQueriesError(
                f"Too many simultaneous queries: no place became free within "
                f"{self._limits.wait_seconds:g} s; try again later"
            ) from None
        finally:
            self.waiting -= 1
