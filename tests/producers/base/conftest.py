"""A producer of known truth as a process, and a broker with our streams."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error as NatsError

from stream.broker.server_config import ClusterConfig
from stream.broker.settings import StreamSettings
from tests.support.nats_server import NODE, NatsServer
from tests.support.polling import eventually
from tests.support.producing import MEBIBYTE, Broker, ProducerProcess, make_broker

ROOT = Path(__file__).parents[3]


@pytest.fixture
def raw_max_bytes() -> int:
    return 64 * MEBIBYTE


@pytest.fixture
async def broker(nats_server: NatsServer, raw_max_bytes: int) -> AsyncIterator[Broker]:
    """A running broker with our streams (small ones)."""
    broker = await make_broker(
        nats_server,
        StreamSettings(
            raw_max_bytes=raw_max_bytes,
            events_max_bytes=MEBIBYTE,
            buckets_max_bytes=MEBIBYTE,
            dead_max_bytes=MEBIBYTE,
        ),
    )
    yield broker
    await broker.connection.close()


@pytest.fixture
def start_producer(
    nats_server: NatsServer, tmp_path: Path
) -> Iterator[Callable[..., ProducerProcess]]:
    """``start_producer(folder=…, per_second=…)``: options as of ``counting_observer``."""
    started: list[ProducerProcess] = []

    def start(folder: Path | None = None, node: str = NODE, **options: Any) -> ProducerProcess:
        folder = folder or tmp_path / "spool"
        folder.mkdir(exist_ok=True)
        log = tmp_path / f"producer-{len(started)}.log"
        arguments = [
            sys.executable, "-m", "tests.support.counting_observer",
            "--server", nats_server.url,
            "--credentials", str(nats_server.write_credentials(f"producer-{node}")),
            "--node", node,
            "--folder", str(folder),
        ]  # fmt: skip
        for name, value in options.items():
            flag = f"--{name.replace('_', '-')}"
            arguments += [flag] if value is True else [flag, str(value)]
        with log.open("wb") as output:
            process = subprocess.Popen(arguments, stdout=output, stderr=output, cwd=ROOT)
        started.append(ProducerProcess(process, folder, log))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait(10)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB, to be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=True)
    yield folder
    deadline = time.monotonic() + 10
    while subprocess.run(["umount", str(folder)], capture_output=True).returncode:
        assert time.monotonic() < deadline, "the small disk is still in use"
        time.sleep(0.1)


@pytest.fixture
async def nats_cluster(make_nats_server: Callable[..., NatsServer]) -> list[NatsServer]:
    """Three servers that are one cluster."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in sockets]
    routes = tuple(f"127.0.0.1:{port}" for port in ports)
    servers = [make_nats_server() for _ in ports]
    for number, (server, port) in enumerate(zip(servers, ports, strict=True)):
        cluster = ClusterConfig("test", port, routes, "route-password-of-a-test")
        server.config = replace(server.config, name=f"n{number}", cluster=cluster)
        server.start()
    client = await servers[0].connect()

    async def led() -> bool:
        try:
            await client.jetstream().account_info()
        except (NatsError, TimeoutError):
            return False
        return True

    await eventually(led, 30, "the cluster has a leader", 0.3)
    await client.close()
    return servers
