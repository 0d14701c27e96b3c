"""faust on JetStream, per CPU-second of the worker process, beside its ceilings.

One process reads, counts and commits; the server runs beside it and is not counted. Every figure
is the median of several rounds, each on a fresh app. Run it from the checkout's root:

    scripts/bench transport [--rounds 5] [--scale 1.0]
"""

import argparse
import asyncio
import contextlib
import itertools
import logging
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import nats  # noqa: E402
import nats.js.api  # noqa: E402

from stream.faust_jetstream import JetStreamSettings, create_app  # noqa: E402
from stream.faust_jetstream.connection import Connection  # noqa: E402
from stream.faust_jetstream.publisher import Publisher  # noqa: E402
from stream.faust_jetstream.reader import Reader  # noqa: E402
from tests.stream.faust_jetstream.servers import Api, Server  # noqa: E402
from tests.support.polling import eventually  # noqa: E402

LINES = 256
SHARDS = 64
BATCH_LIMIT = 20_000
_apps = itertools.count()


class Bench:
    """Streams with messages in them, and what can be measured on them."""

    def __init__(self, server: Server, folder: Path, scale: float) -> None:
        self.server = server
        self.folder = folder
        self.singles = int(100_000 * scale)
        self.batches = int(3_000 * scale)
        self.keys = int(100_000 * scale)
        self.api: Api
        self.recovery_time = 0.0

    async def prepare(self) -> None:
        """Fill the streams."""
        self.api = await Api.connect(self.server.url)
        await self.fill("ONE", self.singles, 50, 1)
        await self.fill("FEW", self.batches, 50, LINES)
        await self.fill("MANY", self.batches, 5000, LINES)
        await self.api(
            "STREAM.CREATE.OUT",
            {"name": "OUT", "subjects": ["out.>"], "storage": "file", "max_msgs": 1000},
        )

    async def fill(self, stream: str, messages: int, keys: int, lines: int) -> None:
        chance = random.Random(1)
        subject = stream.lower()
        await self.api("STREAM.CREATE." + stream, {"name": stream, "subjects": [f"{subject}.>"]})
        for number in range(messages):
            picked = [b"k%d" % chance.randrange(keys) for _ in range(lines)]
            await self.api.client.publish(f"{subject}.0.k{number % keys}", b"\n".join(picked))
        await self.api.client.flush()

        async def stored() -> bool:
            return bool((await self.api.state(stream))["messages"] == messages)

        await eventually(stored, 60)

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        opened = Connection(JetStreamSettings(servers=[self.server.url]), "bench")
        await opened.open()
        try:
            yield opened
        finally:
            await opened.close()

    # -- ceilings and rivals --------------------------------------------------------------------

    async def pull_by_callback(self) -> float:
        """This package's reader alone."""
        async with self.connection() as connection:
            data = asyncio.Event()
            reader = Reader(connection, "ONE", ["one.>"], 1, data.set)
            read = 0
            with cpu() as used:
                reader.start()
                while read < self.singles:
                    taken = len(reader.take(1000))
                    read += taken
                    if not taken:
                        data.clear()
                        await data.wait()
            await reader.close()
        return self.singles / used()

    async def pull_by_fetch(self) -> float:
        """nats-py's ``fetch``, in batches of 500."""
        client = await nats.connect(self.server.url)
        name = f"fetch{next(_apps)}"
        config = nats.js.api.ConsumerConfig(ack_policy=nats.js.api.AckPolicy.NONE)
        sub = await client.jetstream().pull_subscribe(
            "one.>", durable=name, stream="ONE", config=config
        )
        read, most = 0, self.singles // 4
        with cpu() as used:
            while read < most:
                read += len(await sub.fetch(500, timeout=5))
        await client.jetstream().delete_consumer("ONE", name)
        await client.close()
        return read / used()

    async def publish_core(self) -> float:
        """nats-py's plain publish, unacknowledged: the ceiling of any publisher."""
        client = await nats.connect(self.server.url, pending_size=64 << 20)
        with cpu() as used:
            for number in range(self.singles):
                await client.publish("nobody.listens", b"x" * 100)
                if not number % 1000:
                    await asyncio.sleep(0)
            await client.flush(60)
        await client.close()
        return self.singles / used()

    async def publish_pipelined(self) -> float:
        """This package's publisher: acknowledged, with message ids."""
        async with self.connection() as connection:
            publisher = Publisher(connection)
            await publisher.start()
            with cpu() as used:
                for _ in range(self.singles):
                    await publisher.publish("out.x", b"x" * 100)
                await publisher.flush()
            await publisher.stop()
        return self.singles / used()

    async def publish_async(self) -> float:
        """nats-py's ``publish_async``."""
        client = await nats.connect(self.server.url, pending_size=64 << 20)
        stream = client.jetstream(publish_async_max_pending=4000)
        most = self.singles // 4
        with cpu() as used:
            for _ in range(most):
                await stream.publish_async("out.x", b"x" * 100, wait_stall=60)
            await stream.publish_async_completed()
        await client.close()
        return most / used()

    async def publish_awaited(self) -> float:
        """nats-py's ``publish``, one after the other."""
        client = await nats.connect(self.server.url)
        stream = client.jetstream()
        most = self.singles // 20
        with cpu() as used:
            for _ in range(most):
                await stream.publish("out.x", b"x" * 100)
        await client.close()
        return most / used()

    # -- faust ------------------------------------------------------------------------------------

    async def one_per_message(self) -> float:
        """One event per message, counted per key in a table, committed every half second."""

        def agent(part: Any, event: Any) -> None:
            part[event.key] += 1

        return await self.app("ONE", self.singles, agent, int) * self.singles

    async def batches_of_few_keys(self) -> float:
        """256-line batches, 50 keys, a key a value."""
        return await self.app("FEW", self.batches, _count, int) * self.batches * LINES

    async def batches_of_many_keys(self) -> float:
        """256-line batches, 5000 keys, packed into 64 values: what the commit's limit asks for."""

        def agent(part: Any, event: Any) -> None:
            for line in event.value.split(b"\n"):
                shard = part.shards[hash(line) & (SHARDS - 1)]
                shard[line] = shard.get(line, 0) + 1
            part.touch_all()

        return await self.app("MANY", self.batches, agent, dict, packed=True) * (
            self.batches * LINES
        )

    async def batches_of_many_keys_by_size(self) -> float:
        """256-line batches, 5000 keys, a key a value: a commit every second or third message."""
        return await self.app("MANY", self.batches, _count, int) * self.batches * LINES

    async def batches_of_many_keys_by_time(self) -> float:
        """The same, with limits that let half a second's changes into one batch."""
        limits = {"batch_limit": BATCH_LIMIT, "commit_messages": BATCH_LIMIT // 2}
        used = await self.app("MANY", self.batches, _count, int, **limits)
        return used * self.batches * LINES

    async def app(
        self,
        stream: str,
        messages: int,
        work: Callable[[Any, Any], None],
        default: Callable[[], Any],
        packed: bool = False,
        **limits: int,
    ) -> float:
        """Run an app over a stream; rounds per CPU-second from the first message to the commit."""
        app = create_app(
            f"bench{next(_apps)}",
            settings=JetStreamSettings(servers=[self.server.url], partitions=1, **limits),
            datadir=self.folder / "data",
        )
        root = stream.lower()
        topic = app.jetstream.bind_topic(
            root, stream=stream, filter_subject=root + ".{partition}.>"
        )
        table = app.Table("counts", default=default, codec=_Packed() if packed else None)
        done = asyncio.Event()
        began: list[float] = []

        @app.agent(topic)
        async def agent(events: Any) -> None:
            count, part = 0, None
            async for event in events.events():
                if part is None:
                    part = _Shards(table.for_partition(0)) if packed else table.for_partition(0)
                    began.append(time.process_time())
                work(part, event)
                count += 1
                if count == messages:
                    done.set()

        app.finalize()
        await app.start()
        await done.wait()
        await app.jetstream.commit()
        used = time.process_time() - began[0]
        await app.stop()
        return 1 / used

    async def recovery(self) -> float:
        """Loading the keys that an app committed: keys per CPU-second."""
        app = create_app(
            f"bench{next(_apps)}",
            settings=JetStreamSettings(servers=[self.server.url], partitions=1),
            datadir=self.folder / "data",
        )
        table = app.Table("t", default=int)
        context = app.jetstream
        await context.connection.open()
        context.topics.bind("one", "ONE", 1, "one.{partition}.>", "")
        await context.prepare({"one"})
        await context.engine.acquire(0, 1)
        for number in range(self.keys):
            table.for_partition(0)[f"key-{number}"] = number
            if context.room(0) < 10:
                await context.commit()
        await context.commit()
        await context.engine.release(0)
        began = time.perf_counter()
        with cpu() as used:
            await context.engine.acquire(0, 2)
        self.recovery_time = time.perf_counter() - began
        if len(table.for_partition(0)) != self.keys:
            raise RuntimeError(f"recovered {len(table.for_partition(0))} of {self.keys} keys")
        await context.engine.stop()
        await context.connection.close()
        return self.keys / used()


def _count(part: Any, event: Any) -> None:
    for key in event.value.split(b"\n"):
        part[key] += 1


class _Packed:
    """Codec of a shard: a dict of bytes to int."""

    def encode(self, value: dict[bytes, int]) -> bytes:
        return b"\n".join(b"%b %d" % pair for pair in value.items()) or b"\n"

    def decode(self, data: bytes) -> dict[bytes, int]:
        pairs = (line.split(b" ") for line in data.split(b"\n") if line)
        return {key: int(count) for key, count in pairs}


class _Shards:
    """A table's part seen as shards that are changed in place."""

    def __init__(self, part: Any) -> None:
        self.part = part
        for number in range(SHARDS):
            part.setdefault(number, {})
        self.shards = [part[number] for number in range(SHARDS)]

    def touch_all(self) -> None:
        for number in range(SHARDS):
            self.part.touch(number)


@contextlib.contextmanager
def cpu() -> Iterator[Callable[[], float]]:
    """Seconds of CPU this process used inside the block."""
    began = time.process_time()
    end: list[float] = []
    yield lambda: end[0] - began
    end.append(time.process_time())


def rows(bench: Bench) -> list[tuple[str, Callable[[], Awaitable[float]], str]]:
    """What is measured, in the order of the table."""
    return [
        ("ceiling: pull by callback", bench.pull_by_callback, "messages"),
        ("nats-py fetch", bench.pull_by_fetch, "messages"),
        ("ceiling: plain publish", bench.publish_core, "messages"),
        ("publisher, acknowledged", bench.publish_pipelined, "messages"),
        ("nats-py publish_async", bench.publish_async, "messages"),
        ("nats-py publish, awaited", bench.publish_awaited, "messages"),
        ("faust, one event per message", bench.one_per_message, "events"),
        (f"faust, {LINES}-line batches, 50 keys", bench.batches_of_few_keys, "events"),
        (
            f"faust, {LINES}-line batches, 5000 keys in 64 values",
            bench.batches_of_many_keys,
            "events",
        ),
        (
            "  as 5000 values, at most 20,000 in a commit",
            bench.batches_of_many_keys_by_time,
            "events",
        ),
        (
            "  as 5000 values, at most 1000 in a commit",
            bench.batches_of_many_keys_by_size,
            "events",
        ),
        ("recovery", bench.recovery, "keys"),
    ]


async def main(rounds: int, scale: float) -> None:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="bench-transport-") as name:
        folder = Path(name)
        server = Server(folder / "nats")
        server.jetstream = f"limits {{ batch {{ max_msgs: {BATCH_LIMIT} }} }}"
        server.start()
        try:
            bench = Bench(server, folder, scale)
            await bench.prepare()
            print(f"per CPU-second of the worker; median of {rounds} (least, most)")
            for title, measure, unit in rows(bench):
                found = [await measure() for _ in range(rounds)]
                print(
                    f"{title:56} {statistics.median(found):>10,.0f} {unit}/s"
                    f"  ({min(found):,.0f}, {max(found):,.0f})",
                    flush=True,
                )
            print(f"last recovery of {bench.keys:,} keys: {bench.recovery_time:.2f} s of wall time")
            await bench.api.close()
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="amount of work (default 1.0)")
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.scale))
