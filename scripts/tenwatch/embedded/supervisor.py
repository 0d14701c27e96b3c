"""Starts the parts of one machine in order, watches them, and drains them in order.

Order of start: broker, its streams, then sink, worker and producers together. Order of stop:
producers first, so that nothing new comes; then the worker, once it has read everything; then the
sink, once it has stored everything; the broker last.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tenwatch.embedded.child import Child, Part
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.probe import degradations, metrics, why_not_ready
from tenwatch.embedded.user import RoleUser
from tenwatch.errors import StartError

POLL_SECONDS = 0.1
BROKER_START_SECONDS = 30.0
PART_START_SECONDS = 90.0
DRAIN_SECONDS = 20.0
"""How long the worker and the sink may take to catch up at a stop; what is left stays on disk."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of an instance, by their place in the order."""

    broker: Part
    sink: Part
    worker: Part
    producers: Sequence[Part]

    @property
    def others(self) -> tuple[Part, ...]:
        """All but the broker, in the order of their start."""
        return (self.sink, self.worker, *self.producers)


@dataclass(slots=True)
class Supervisor:
    """Runs one :class:`Plan`. ``say`` takes sentences for people."""

    plan: Plan
    folder: DataFolder
    user: RoleUser
    say: Callable[[str], None]
    prepare_broker: Callable[[], Awaitable[None]]
    """Called once the broker answers: makes streams, say."""
    children: dict[str, Child] = field(default_factory=dict)
    _told: dict[str, list[str]] = field(default_factory=dict)

    async def start(self) -> None:
        """Start everything; returns once all is ready. Raises :class:`StartError`.

        A producer that can't run is not fatal: it is left out and told by :meth:`degraded`.
        """
        await self._launch(self.plan.broker)
        await self._until_ready([self.plan.broker], BROKER_START_SECONDS, path_is_healthz=True)
        await self.prepare_broker()
        for part in self.plan.others:
            await self._launch(part)
        await self._until_ready([self.plan.sink, self.plan.worker], PART_START_SECONDS)
        await self._until_ready(self.plan.producers, PART_START_SECONDS, required=False)
        await self.ask_degraded()

    async def stop(self) -> None:
        """Drain and stop everything in order; may be called after a failed start, too."""
        await asyncio.gather(*(self._stop(part) for part in self.plan.producers))
        await self._drain(self.plan.worker)
        await self._stop(self.plan.worker)
        await self._drain(self.plan.sink)
        await self._stop(self.plan.sink)
        await self._stop(self.plan.broker)

    def pids(self) -> dict[str, int]:
        """Process ids of the parts that run now, by name."""
        return {name: child.pid for name, child in self.children.items() if child.pid is not None}

    def degraded(self) -> list[str]:
        """A sentence for each part that was given up, and for what the others can't do fully."""
        found = [
            f"{child.part.name} does not run: {child.given_up}"
            for child in self.children.values()
            if child.given_up
        ]
        found += [f"{name}: {each}" for name, told in self._told.items() for each in told]
        return found

    async def ask_degraded(self) -> None:
        """Ask every producer what it can't do fully."""
        for part in self.plan.producers:
            self._told[part.name] = await degradations(part.health_port)

    def fatal(self) -> str | None:
        """Why the instance can't go on, if it can't."""
        for part in (self.plan.broker, self.plan.sink, self.plan.worker):
            child = self.children.get(part.name)
            if child is not None and child.given_up:
                return f"{part.name} can't run: {child.given_up}"
        return None

    async def _launch(self, part: Part) -> None:
        child = Child(part, self.folder, self.user, self.say)
        self.children[part.name] = child
        await child.start()

    async def _until_ready(
        self,
        parts: Sequence[Part],
        seconds: float,
        *,
        required: bool = True,
        path_is_healthz: bool = False,
    ) -> None:
        deadline = time.monotonic() + seconds
        for part in parts:
            child = self.children[part.name]
            while child.given_up is None:
                path = "/healthz" if path_is_healthz else "/ready"
                why = await why_not_ready(part.health_port, path)
                if why is None:
                    break
                if time.monotonic() > deadline:
                    if not required:
                        child.given_up = f"not ready after {seconds:g} s: {why}"
                        break
                    raise StartError(
                        f"{part.name} is not ready after {seconds:g} s: {why}. "
                        f"Its log is {self.folder.logs / part.name}.log; "
                        f"the last line: {child.last_words()}"
                    )
                await asyncio.sleep(POLL_SECONDS)
            if required and child.given_up is not None:
                raise StartError(f"{part.name} can't run: {child.given_up}")

    async def _drain(self, part: Part) -> None:
        """Wait until the part says that it has nothing left to read."""
        child = self.children.get(part.name)
        deadline = time.monotonic() + DRAIN_SECONDS
        while child is not None and child.pid is not None and time.monotonic() < deadline:
            numbers = await metrics(part.health_port)
            lags = [value for name, value in numbers.items() if _is_lag(name, part.name)]
            if lags and not any(lags):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _stop(self, part: Part) -> None:
        child = self.children.get(part.name)
        if child is not None:
            await child.stop()


def _is_lag(metric: str, part: str) -> bool:
    return metric.startswith(f"tenwatch_{part}_lag_messages")
