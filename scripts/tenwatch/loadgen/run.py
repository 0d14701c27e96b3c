"""Publishes the load: paced or as fast as it goes, every batch until it is acknowledged."""

import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stream.broker.connection import BrokerConnection
from stream.broker.errors import BrokerError
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.contract.boot import new_boot_id
from stream.contract.timestamps import format_timestamp
from tenwatch.access import open_admin_broker
from tenwatch.embedded.instance import find_instance
from tenwatch.errors import TenwatchError, UsageError
from tenwatch.loadgen.node import SECOND, Message, SimulatedNode

CLOSE_SECONDS = 15
"""How far the last watermark is behind the last event, so that every window is closed by it."""
RETRY_SECONDS = 60.0
PAUSE_SECONDS = 0.2
DEFAULT_MIX = {"process": 0.75, "file": 0.22, "hostpath": 0.03}


class LoadError(TenwatchError):
    """Not all of the load was taken by the broker."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to generate."""

    nodes: int
    prefix: str
    events: int
    """Of the mix, over all nodes; samples, pods and progress come on top."""
    rate: float | None
    """Events per second over all nodes; None is as fast as it goes, in simulated time."""
    node_rate: int
    """Events per simulated second and node, when there is no rate."""
    seed: int
    pods: int
    batch: int
    mix: Mapping[str, float] = field(default_factory=lambda: DEFAULT_MIX)


@dataclass(slots=True)
class LoadReport:
    """What was published, and what the buckets must add up to."""

    seed: int
    nodes: list[str]
    boot: str
    events: dict[str, int]
    """Published events by kind, over all nodes."""
    expected: dict[str, dict[str, int]]
    """Sums over the buckets of scope node, by kind and metric (``pods_cpu_us``: over scope pod)."""
    by_node: dict[str, dict[str, int]]
    first_ts: str
    last_ts: str
    batches: int = 0
    bytes: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def events_per_second(self) -> float:
        """Everything that was acknowledged, by the time it took."""
        return sum(self.events.values()) / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"events_per_second": round(self.events_per_second, 1)}


def parse_mix(text: str) -> dict[str, float]:
    """``process=70,file=25,hostpath=5`` as shares; raises :class:`UsageError`."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        kind, _, weight = part.partition("=")
        try:
            weights[kind] = float(weight)
        except ValueError:
            weights[kind] = -1.0
        if kind not in DEFAULT_MIX or not 0 <= weights[kind] < 1e9:
            raise UsageError(f"{part!r} is not a share; write like process=70,file=25,hostpath=5")
    total = sum(weights.values())
    if not total:
        raise UsageError(f"all shares of {text!r} are 0; write like process=70,file=30")
    return {kind: weight / total for kind, weight in weights.items()}


class Load:
    """One run. :meth:`messages` can be used without a broker, too."""

    def __init__(self, options: LoadOptions, now: int | None = None) -> None:
        """``now``: microseconds since the epoch; the simulated time ends before it."""
        self.options = options
        self.boot = new_boot_id()
        self.nodes = [
            SimulatedNode(
                f"{options.prefix}-{number}", options.seed, self.boot,
                pods=options.pods, batch=options.batch, mix=options.mix,
            )
            for number in range(options.nodes)
        ]  # fmt: skip
        current = (time.time_ns() // 1000 if now is None else now) // SECOND * SECOND
        if options.rate is None:
            per_second = options.node_rate * options.nodes
            seconds = -(-options.events // per_second)
            self.start = current - (seconds + CLOSE_SECONDS + 1) * SECOND
        else:
            per_second = max(1, round(options.rate))
            seconds = -(-options.events // per_second)
            self.start = current
        self.seconds = seconds
        self._per_second = per_second

    async def messages(self) -> AsyncIterator[Message]:
        """Everything in order; waits for its time when there is a rate."""
        for node in self.nodes:
            for message in node.begin(self.start):
                yield message
        left = self.options.events
        began = time.monotonic()
        for second in range(self.seconds):
            now = self.start + second * SECOND
            due = min(left, self._per_second)
            left -= due
            if self.options.rate is not None:
                # A second is told once it is over, as a producer would.
                await asyncio.sleep(max(0.0, began + second + 1 - time.monotonic()))
            share, rest = divmod(due, len(self.nodes))
            for number, node in enumerate(self.nodes):
                for message in node.second(now, share + (number < rest)):
                    yield message
        end = self.start + self.seconds * SECOND
        ahead = CLOSE_SECONDS * SECOND if self.options.rate is None else 0
        for node in self.nodes:
            for message in node.progress(end + ahead, end + ahead, closing=True):
                yield message

    def report(self) -> LoadReport:
        """Counts of what was generated so far."""
        events: dict[str, int] = defaultdict(int)
        expected: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for node in self.nodes:
            for kind, count in node.events.items():
                events[kind] += count
            for kind, sums in node.expected.items():
                for metric, value in sums.items():
                    expected[kind][metric] += value
        return LoadReport(
            seed=self.options.seed,
            nodes=[node.name for node in self.nodes],
            boot=self.boot,
            events=dict(events),
            expected={kind: dict(sums) for kind, sums in expected.items()},
            by_node={node.name: dict(node.events) for node in self.nodes},
            first_ts=format_timestamp(self.start),
            last_ts=format_timestamp(self.start + self.seconds * SECOND),
        )


async def publish(data: Path | None, options: LoadOptions, *, progress: bool) -> LoadReport:
    """Publish all of it with the administrator's login; raises :class:`LoadError`."""
    instance = find_instance(data)
    load = Load(options)
    async with open_admin_broker(instance, "tenwatch loadgen") as connection:
        await connection.wait_connected(10)
        return await _Publishing(connection, load, progress).run()


class _Publishing:
    def __init__(self, connection: BrokerConnection, load: Load, progress: bool) -> None:
        self._publisher = AckedPublisher(connection, max_messages=4096, max_bytes=64 << 20)
        self._connection = connection
        self._load = load
        self._progress = progress
        self._failed: list[tuple[Message, BrokerError]] = []
        self._told = 0.0
        self._acknowledged = 0
        self._batches = 0
        self._bytes = 0
        self._retries = 0

    async def run(self) -> LoadReport:
        began = time.monotonic()
        try:
            async for message in self._load.messages():
                await self._send(message)
                if self._failed:
                    await self._retry()
                self._tell(began)
            while not await self._publisher.settled(RETRY_SECONDS) or self._failed:
                await self._retry()
        finally:
            await self._publisher.close()
        report = self._load.report()
        report.batches, report.bytes, report.retries = self._batches, self._bytes, self._retries
        report.seconds = round(time.monotonic() - began, 3)
        return report

    async def _send(self, message: Message) -> None:
        subject, headers, payload, events = message

        def done(result: PublishAck | BrokerError) -> None:
            if isinstance(result, BrokerError):
                self._failed.append((message, result))
                return
            self._acknowledged += events
            self._batches += 1
            self._bytes += len(payload)

        try:
            await self._publisher.publish(subject, payload, headers, done)
        except BrokerError as error:
            self._failed.append((message, error))

    async def _retry(self) -> None:
        """Send again what failed, in order, until the broker has it; ids make repeats harmless."""
        deadline = time.monotonic() + RETRY_SECONDS
        while self._failed:
            if time.monotonic() > deadline:
                raise LoadError(
                    f"the broker has not taken all of the load: {self._failed[0][1]}; "
                    f"{self._acknowledged} events were taken"
                )
            await asyncio.sleep(PAUSE_SECONDS)
            if not self._connection.connected:
                continue
            again, self._failed = self._failed, []
            self._retries += len(again)
            for message, _ in again:
                await self._send(message)
            await self._publisher.settled(RETRY_SECONDS)

    def _tell(self, began: float) -> None:
        now = time.monotonic()
        if self._progress and now - self._told >= 1.0:
            self._told = now
            rate = self._acknowledged / (now - began)
            text = f"\r{self._acknowledged:,} events, {rate:,.0f}/s"
            print(text, end="", file=sys.stderr, flush=True)
