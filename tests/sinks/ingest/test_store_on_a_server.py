"""Two sinks on one server by mistake: the second waits, and takes over when the first is gone."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from sinks.store.client import Store
from sinks.store.settings import StoreSettings
from tests.support.enriched import Producer
from tests.support.nats_server import NatsServer
from tests.support.polling import eventually_sync
from tests.support.sink_process import SinkProcess, acknowledged

Eventually = Callable[..., Awaitable[object]]


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    """Our SQL endpoint in a process of its own, as a server of ClickHouse would be."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "tests.sinks.sql_endpoint.serving",
            json.dumps({"folder": str(tmp_path / "server"), "tables": False}),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.wait(20)
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


@pytest.fixture
def sinks(broker: NatsServer, server_url: str, tmp_path: Path) -> Iterator[list[SinkProcess]]:
    """Two sinks with the same settings, not started."""
    credentials = tmp_path / "sink-and-sql.json"
    content = broker.credentials("sink") | {"sql": {"user": "admin", "password": "admin-password"}}
    descriptor = os.open(credentials, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file)
    made = [
        SinkProcess(
            broker, tmp_path / name,
            {"STORE_URL": server_url, "CREDENTIALS_FILE": str(credentials)},
        )
        for name in ("first", "second")
    ]  # fmt: skip
    yield made
    for each in made:
        each.close()


def why_not_ready(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        return error.read().decode()
    except OSError:
        return ""
    return "ready"


async def test_the_second_waits_and_takes_over_without_a_double(
    sinks: list[SinkProcess], server_url: str, client: Client, eventually: Eventually, tmp_path: Any
) -> None:
    first, second = sinks
    first.start()
    producer = Producer()
    for _ in range(10):
        await producer.batch(30).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 30, "the first ten")
    port = 20_000 + os.getpid() % 20_000
    second.settings["SINK_HEALTH_PORT"] = str(port)
    second.spawn()
    eventually_sync(lambda: "another sink reads" in why_not_ready(port), 30, "the second to say so")
    for _ in range(10):
        await producer.batch(30).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 30, "the next ten")
    first.kill()
    for _ in range(10):
        await producer.batch(30).publish(client)
    eventually_sync(lambda: why_not_ready(port) == "ready", 30, "the second to take over")
    await eventually(lambda: acknowledged(client, "process"), 30, "all")
    assert second.stop() == 0
    admin = tmp_path / "admin.json"
    admin.write_text('{"sql": {"user": "admin", "password": "admin-password"}}')
    with Store(StoreSettings(url=server_url, credentials_file=str(admin))) as store:
        assert store.writer.rows("SELECT count(), uniqExact(seq) FROM tenwatch.process_events") == [
            (900, 900)
        ]
        assert store.writer.value("SELECT sum(stored) FROM tenwatch.ledger") == 900


@pytest.mark.slow  # The broker keeps a silent reader's requests for a minute.
async def test_a_sink_that_was_frozen_and_replaced_ends_without_a_double(
    sinks: list[SinkProcess], server_url: str, client: Client, eventually: Eventually, tmp_path: Any
) -> None:
    first, second = sinks
    first.start()
    producer = Producer()
    for _ in range(10):
        await producer.batch(30).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 30, "the first ten")
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    # Delivered to the frozen one, and never acknowledged by it.
    for _ in range(10):
        await producer.batch(30).publish(client)
    port = 20_000 + os.getpid() % 20_000
    second.settings["SINK_HEALTH_PORT"] = str(port)
    second.spawn()
    eventually_sync(lambda: why_not_ready(port) == "ready", 120, "the second to take over")
    await eventually(lambda: acknowledged(client, "process"), 30, "the next ten")
    first.process.send_signal(signal.SIGCONT)
    assert first.died() == 1
    assert "stood still for too long" in first.log.read_text()
    for _ in range(10):
        await producer.batch(30).publish(client)
    await eventually(lambda: acknowledged(client, "process"), 30, "all")
    assert second.stop() == 0
    admin = tmp_path / "admin.json"
    admin.write_text('{"sql": {"user": "admin", "password": "admin-password"}}')
    with Store(StoreSettings(url=server_url, credentials_file=str(admin))) as store:
        assert store.writer.rows("SELECT count(), uniqExact(seq) FROM tenwatch.process_events") == [
            (900, 900)
        ]
