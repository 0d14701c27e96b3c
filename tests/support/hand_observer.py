"""A producer in the test's own process, whose observer emits what the test hands it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from producers.base.observer import EventSink, Observer
from producers.base.runner import ExitCode, Producer
from producers.base.settings import ProducerSettings, RunSettings, SpoolSettings
from stream.broker.settings import BrokerSettings
from stream.contract.kinds.file import FileEvent
from stream.contract.timestamps import now_timestamp
from tests.support.nats_server import NODE, NatsServer
from tests.support.polling import eventually
from tests.support.producing import MEBIBYTE, Broker


class HandObserver:
    """Emits what the test hands it."""

    def __init__(self, *kinds: str, fails: str = "", bridged: bool = False) -> None:
        self.kinds: tuple[str, ...] = kinds or ("file",)
        self.fails = fails
        self.bridged = bridged
        self.not_ready: str | None = None
        self.failure: str | None = None
        self.stopped = False
        self.sink: EventSink

    def start(self, sink: EventSink) -> None:
        if self.fails:
            raise RuntimeError(self.fails)
        self.sink = sink

    def stop(self) -> None:
        self.emit("the last one, emitted while stopping")
        self.stopped = True

    def ready(self) -> str | None:
        return self.not_ready

    def degraded(self) -> list[str]:
        return ["a part does not work: give it CAP_TEST"]

    def metrics(self) -> dict[str, float]:
        return {"hand_watched_folders": 7, "hand_rescans_total": 1.5}

    def emit(self, path: str, count: int = 1) -> None:
        for _ in range(count):
            self.sink.emit("file", FileEvent(ts=now_timestamp(), action="created", path=path))


def run_settings(
    server: NatsServer, folder: Path, node: str = NODE, *, stop_seconds: float = 15, **spool: Any
) -> RunSettings:
    """Quick settings. A stop lasts ``stop_seconds`` only where it can't finish: no broker."""
    return RunSettings(
        "hand",
        ProducerSettings(
            node=node,
            progress_seconds=0.2,
            batch_idle_age_seconds=0.1,
            stop_seconds=stop_seconds,
            publish_timeout_seconds=1,
        ),
        SpoolSettings(folder=str(folder), max_bytes=8 * MEBIBYTE, **spool),
        BrokerSettings(
            servers=(server.url,),
            credentials_file=str(server.write_credentials(f"producer-{node}")),
            reconnect_wait_seconds=0.1,
        ),
    )


@asynccontextmanager
async def running(*observers: Observer, settings: RunSettings) -> AsyncIterator[Producer]:
    """A producer in this process; stopped in order at the end."""
    producer = Producer(observers, settings)
    task = asyncio.create_task(producer.run())
    await eventually(lambda: task.done() or not producer.starting, 10, "started")
    yield producer
    producer.stop()
    assert await asyncio.wait_for(task, 20) == ExitCode.STOPPED


async def get(producer: Producer, path: str, method: str = "GET") -> tuple[int, str]:
    assert producer.health is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", producer.health.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    assert f"Content-Length: {len(body.encode())}" in head or method == "HEAD"
    return int(head.split()[1]), body


async def reasons(producer: Producer) -> list[str]:
    status, body = await get(producer, "/ready")
    answer = json.loads(body)
    assert (status == 200) == answer["ready"] == (not answer["reasons"])
    return list(answer["reasons"])


async def has_count(broker: Broker, count: int) -> bool:
    return await broker.count("file") == count
