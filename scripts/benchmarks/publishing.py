"""What the producers' common path costs: from an observer's ``emit`` to an acknowledged batch.

A producer runs as a process of its own whose observer only counts; its figures include making the
events. The yardsticks are nats-py's own ways to publish to JetStream, and the same loop without a
producer around it. Run it from the checkout's root:

    scripts/bench publishing [--seconds 5]
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from stream.broker.connection import BrokerConnection  # noqa: E402
from stream.broker.jetstream import JetStream  # noqa: E402
from stream.broker.publisher import AckedPublisher  # noqa: E402
from stream.broker.settings import BrokerSettings  # noqa: E402
from stream.broker.streams import ensure_streams  # noqa: E402
from stream.broker.subscription import Delivery, PullSubscription  # noqa: E402
from tests.support.nats_server import NODE, NatsServer  # noqa: E402
from tests.support.polling import eventually  # noqa: E402
from tests.support.producing import spooled_bytes  # noqa: E402

SMALL = b"x" * 120
MESSAGES = 50_000


def say(what: str, value: float, unit: str) -> None:
    """One line of the report."""
    print(f"  {what:<58} {value:>12,.1f} {unit}", flush=True)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def pss_mebibytes(pid: int) -> float:
    """Proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Pss for {pid}")


class Bench:
    """A server with our streams, and a connection as admin."""

    def __init__(self, server: NatsServer, folder: Path, seconds: float) -> None:
        self.server = server
        self.folder = folder
        self.seconds = seconds
        self.started: list[subprocess.Popen[bytes]] = []
        self.connection = BrokerConnection(
            BrokerSettings(
                servers=(server.url,), credentials_file=str(server.write_credentials("admin"))
            ),
            "bench",
        )

    def start_producer(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """The counting producer; its spool is ``<folder>/<name>``."""
        spool = self.folder / name
        spool.mkdir(exist_ok=True)
        credentials = self.server.write_credentials(f"producer-{NODE}")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.counting_observer",
             "--server", self.server.url, "--credentials", str(credentials), "--node", NODE,
             "--folder", str(spool), "--progress-seconds", "1", *options],
            cwd=ROOT, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.started.append(process)
        return process

    async def steady(self, per_second: int) -> None:
        """CPU and memory of a producer at a given rate."""
        process = self.start_producer(f"steady-{per_second}", "--per-second", str(per_second))
        await asyncio.sleep(2)
        before, began = cpu_seconds(process.pid), time.monotonic()
        await asyncio.sleep(self.seconds)
        used, elapsed = cpu_seconds(process.pid) - before, time.monotonic() - began
        memory = pss_mebibytes(process.pid)
        process.terminate()
        process.wait()
        say(f"producer at {per_second}/s: CPU", used / elapsed * 100, "% of a core")
        if per_second > 1:
            cost = used / elapsed / per_second * 1e6
            say(f"producer at {per_second}/s: CPU per 1000 events", cost, "ms")
        say(f"producer at {per_second}/s: PSS", memory, "MiB")

    async def flat_out(self, events: int) -> None:
        """As fast as one observer thread can, into RAW."""
        before = (await JetStream(self.connection).stream_info("RAW")).state.bytes
        began = time.monotonic()
        process = self.start_producer("fast", "--per-second", "1e9", "--limit", str(events))
        done = self.folder / "fast" / "done"
        await eventually(done.exists, 120)
        process.terminate()
        process.wait()
        elapsed = time.monotonic() - began
        size = (await JetStream(self.connection).stream_info("RAW")).state.bytes - before
        say("producer flat out, with its start and stop", events / elapsed, "events/s")
        say("the same", size / elapsed / 1024**2, "MiB/s")

    async def drain(self, events: int) -> None:
        """A backlog that an earlier life left, at the default rate limit."""
        self.server.stop()
        process = self.start_producer("drain", "--per-second", "1e9", "--limit", str(events))
        await eventually((self.folder / "drain" / "done").exists, 120)
        process.kill()
        process.wait()
        spool = self.folder / "drain" / "counting"
        size = spooled_bytes(spool)
        self.server.start()
        await self.connection.wait_connected(20)
        began = time.monotonic()
        process = self.start_producer("drain", "--per-second", "1")
        await eventually(lambda: spooled_bytes(spool) < 2 * 1024**2, 240)
        say(f"backlog of {size / 1024**2:.0f} MiB (limit 16 MiB/s): drained at",
            size / (time.monotonic() - began) / 1024**2, "MiB/s")  # fmt: skip
        process.terminate()
        process.wait()

    async def publishing(self) -> None:
        """Small messages, one by one: ours beside nats-py's."""
        subject, jetstream = "events.process.bench", self.connection.client.jetstream()
        publisher = AckedPublisher(self.connection, max_messages=4096)

        async def ours() -> None:
            for _ in range(MESSAGES):
                await publisher.publish(subject, SMALL, b"", lambda _: None)
            await publisher.settled()

        async def asynchronous() -> None:
            for _ in range(MESSAGES):
                await jetstream.publish_async(subject, SMALL, wait_stall=60)
            await jetstream.publish_async_completed()

        async def awaited() -> None:
            for _ in range(MESSAGES // 10):
                await jetstream.publish(subject, SMALL)

        await self.timed("AckedPublisher", ours, MESSAGES)
        await self.timed("yardstick: nats-py publish_async", asynchronous, MESSAGES)
        await self.timed("yardstick: nats-py publish, awaited", awaited, MESSAGES // 10)
        await publisher.close()

    async def pulling(self) -> None:
        """The same messages read with acknowledgements: ours beside nats-py's fetch."""
        api, client = JetStream(self.connection), self.connection.client.jetstream()
        for name in ("ours", "theirs"):
            await api.create_consumer(
                "EVENTS",
                {"name": name, "durable_name": name, "ack_policy": "explicit",
                 "max_ack_pending": 100_000},
            )  # fmt: skip

        async def ours() -> None:
            held: list[Delivery] = []
            finished = asyncio.Event()
            count = 0

            def take(delivery: Delivery) -> None:
                nonlocal count
                count += 1
                held.append(delivery)
                if len(held) == 256 or count == MESSAGES:
                    pull.ack(held)
                    held.clear()
                if count == MESSAGES:
                    finished.set()

            pull = PullSubscription(self.connection, "EVENTS", "ours", take, max_messages=8192)
            pull.start()
            await finished.wait()
            await pull.stop()

        async def theirs() -> None:
            subscription = await client.pull_subscribe_bind("theirs", "EVENTS")
            count = 0
            while count < MESSAGES // 5:
                for message in await subscription.fetch(256):
                    await message.ack()
                    count += 1

        await self.timed("PullSubscription, acknowledged", ours, MESSAGES)
        await self.timed("yardstick: nats-py fetch(256), acknowledged", theirs, MESSAGES // 5)

    async def timed(self, what: str, run: Callable[[], object], count: int) -> None:
        """Messages per second and per CPU-second of this process."""
        began, cpu = time.perf_counter(), time.process_time()
        await run()  # type: ignore[misc]
        say(what, count / (time.perf_counter() - began), "messages/s")
        say("  per CPU-second of this process", count / (time.process_time() - cpu), "messages")


async def run(seconds: float) -> None:
    """All of it, on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="tenwatch-bench-") as name:
        server = NatsServer(Path(name) / "nats").start()
        bench = Bench(server, Path(name), seconds)
        try:
            async with bench.connection:
                await bench.connection.wait_connected(10)
                await ensure_streams(JetStream(bench.connection))
                for rate in (1, 3000, 6000):
                    await bench.steady(rate)
                await bench.flat_out(300_000)
                await bench.drain(300_000)
                await bench.publishing()
                await bench.pulling()
        finally:
            for process in bench.started:
                process.kill()
                process.wait()
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="per steady rate (default 5)")
    asyncio.run(run(parser.parse_args().seconds))
