"""Workers as processes of their own, on a real nats-server."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from tests.support.nats_server import NatsServer
from tests.support.polling import eventually
from tests.support.raw_log import RawMessage

ROOT = Path(__file__).parents[3]
MEBIBYTE = 1024 * 1024


class WorkerProcess:
    """``tenwatch work``."""

    def __init__(
        self, pipeline: "Pipeline", name: str, settings: dict[str, str], broken: str = ""
    ) -> None:
        self.log = pipeline.folder / f"{name}.log"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TENWATCH_")
        }
        environment |= {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}",
            "TENWATCH_BROKER_SERVERS": json.dumps([pipeline.server.url]),
            "TENWATCH_CREDENTIALS_FILE": str(pipeline.server.write_credentials("worker")),
            "TENWATCH_WORKER_MEMBER": name,
            "TENWATCH_WORKER_DATA": str(pipeline.folder / name),
        }
        environment |= {f"TENWATCH_{name}": value for name, value in settings.items()}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{broken}\nfrom tenwatch.cli import main; main()", "work"]
                if broken
                else [sys.executable, "-m", "tenwatch", "work"],
                cwd=pipeline.folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the health server."""
        address = await eventually(self._address, 20, "health address")
        return await asyncio.to_thread(_get, f"{address}{path}")

    def _address(self) -> str | None:
        for line in self.text.splitlines():
            if "health on " in line:
                return line.rpartition("health on ")[2].strip()
        assert self.process.poll() is None, self.text
        return None


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Pipeline:
    """A broker with our streams, and workers on it."""

    def __init__(self, folder: Path, server: NatsServer) -> None:
        self.folder = folder
        self.server = server
        self.workers: list[WorkerProcess] = []
        self.client: Any = None
        self.connection: BrokerConnection = None  # type: ignore[assignment]

    async def start(self, partitions: int) -> None:
        self.client = await self.server.connect("admin", max_reconnect_attempts=-1)
        self.connection = BrokerConnection(
            BrokerSettings(
                servers=(self.server.url,),
                credentials_file=str(self.server.write_credentials("admin")),
            ),
            "test",
        )
        self.connection.start()
        await self.connection.wait_connected(10)
        self.jetstream = JetStream(self.connection)
        size = 256 * MEBIBYTE
        await ensure_streams(
            self.jetstream,
            StreamSettings(
                partitions=partitions, raw_max_bytes=size, events_max_bytes=size,
                buckets_max_bytes=size, dead_max_bytes=size,
            ),
        )  # fmt: skip

    async def stop(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        await self.connection.close()
        await self.client.close()

    def worker(self, name: str = "worker-0", *, broken: str = "", **settings: str) -> WorkerProcess:
        """Start one more; settings are like ``WORKER_RUN="r1"``.

        ``broken`` is Python that runs in it first, to break something on purpose.
        """
        worker = WorkerProcess(self, name, settings, broken)
        self.workers.append(worker)
        return worker

    async def publish(self, messages: list[RawMessage], prefix: str = "") -> None:
        """As producers do: acknowledged, one after the other."""
        js = self.client.jetstream()
        for each in messages:
            await js.publish(f"{prefix}raw.{each.key}", each.payload, headers=each.headers)

    async def stored(self, stream: str) -> list[Any]:
        """All messages of a stream now."""
        state = (await self.jetstream.stream_info(stream)).state
        if not state.messages:
            return []
        js = self.client.jetstream()
        subscription = await js.pull_subscribe(
            "", stream=stream, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
        )
        found: list[Any] = []
        while len(found) < state.messages:
            found += await subscription.fetch(min(500, state.messages - len(found)), timeout=5)
        await subscription.unsubscribe()
        return found

    async def lines(self, stream: str) -> list[Any]:
        """All lines of a stream now, decoded."""
        return [
            json.loads(line)
            for each in await self.stored(stream)
            for line in each.data.splitlines()
        ]


@pytest.fixture
async def pipeline(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pipeline]:
    """One partition, or as many as the parameter says."""
    server = NatsServer(tmp_path / "nats").start()
    pipeline = Pipeline(tmp_path, server)
    try:
        await pipeline.start(getattr(request, "param", 1))
        yield pipeline
    finally:
        await pipeline.stop()
        server.stop()
