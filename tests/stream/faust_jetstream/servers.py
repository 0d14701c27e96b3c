"""nats-servers for these tests: one, or a cluster of three, each on ports of its own."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import nats
import nats.errors
import orjson

from tests.support.polling import eventually_sync

BINARY = Path(sys.executable).parent / "nats-server"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One nats-server; the port stays the same over restarts."""

    def __init__(self, folder: Path, name: str = "n1", extra: str = "") -> None:
        self.folder = folder
        self.name = name
        self.port = free_port()
        self.http = free_port()
        self.extra = extra
        self.jetstream = ""
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def start(self, wait: bool = True) -> "Server":
        config = self.folder / f"{self.name}.conf"
        config.write_text(
            f"server_name: {self.name}\n"
            f"listen: 127.0.0.1:{self.port}\n"
            f"http: 127.0.0.1:{self.http}\n"
            f'jetstream {{ store_dir: "{self.folder / self.name}", max_file: 8G, max_mem: 1G\n'
            f"{self.jetstream} }}\n"
            f"{self.extra}\n"
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([BINARY, "-c", config], stdout=log, stderr=log)
        if wait:
            self.wait_healthy()
        return self

    def wait_healthy(self, deadline: float = 30) -> None:
        eventually_sync(self.healthy, deadline, f"{self.name} healthy; see {self.log}")

    def healthy(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.http}/healthz"
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        return False

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Cluster:
    """Three servers that replicate."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
        self.servers = [
            Server(
                folder,
                f"n{number}",
                f"cluster {{ name: R3, listen: 127.0.0.1:{port}, routes: [{routes}] }}",
            )
            for number, port in enumerate(ports, 1)
        ]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def start(self) -> "Cluster":
        for server in self.servers:
            server.start(wait=False)
        for server in self.servers:
            server.wait_healthy()
        return self

    def stop(self) -> None:
        for server in self.servers:
            server.kill()

    def named(self, name: str) -> Server:
        return next(server for server in self.servers if server.name == name)


class Api:
    """Raw JetStream requests of a test."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @classmethod
    async def connect(cls, *urls: str) -> "Api":
        client = await nats.connect(
            list(urls),
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            pending_size=64 << 20,
            error_cb=_quiet,
        )
        return cls(client)

    async def close(self) -> None:
        await self.client.close()

    async def __call__(
        self, subject: str, body: Any = None, timeout: float = 5, tries: int = 8
    ) -> Any:
        """Ask, and ask again while a cluster that lost a server does not answer."""
        payload = b"" if body is None else orjson.dumps(body)
        while True:
            tries -= 1
            try:
                message = await self.client.request(f"$JS.API.{subject}", payload, timeout=timeout)
                answer = orjson.loads(message.data)
                if "error" not in answer:
                    return answer
                problem: Exception = RuntimeError(f"{subject}: {answer['error']}")
                if answer["error"].get("code") != 503:
                    raise problem
            except (nats.errors.Error, TimeoutError) as error:
                problem = error
            if tries <= 0:
                raise problem
            await asyncio.sleep(0.2)

    async def create_partitioned(
        self, name: str, root: str, partitions: int, **config: Any
    ) -> None:
        """A stream that takes ``<root>.<a>.<b>`` and stores it as ``part.<p>.<a>.<b>``."""
        partition = f"{{{{partition({partitions},2)}}}}"
        await self(
            f"STREAM.CREATE.{name}",
            {
                "name": name,
                "subjects": [f"{root}.*.*"],
                "storage": "file",
                "subject_transform": {
                    "src": f"{root}.*.*",
                    "dest": f"part.{partition}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
                },
                **config,
            },
            timeout=15,
        )

    async def state(self, stream: str) -> dict[str, Any]:
        answer: dict[str, Any] = (await self(f"STREAM.INFO.{stream}"))["state"]
        return answer

    async def read(
        self, stream: str, subject: str = ">"
    ) -> list[tuple[str, bytes, dict[str, str]]]:
        """All messages of a stream: subject, payload, headers; asked again until answered."""
        while True:
            try:
                return await self._read(stream, subject)
            except (nats.errors.Error, TimeoutError, _IncompleteError):
                await asyncio.sleep(0.3)

    async def _read(self, stream: str, subject: str) -> list[tuple[str, bytes, dict[str, str]]]:
        answer = await self(
            f"CONSUMER.CREATE.{stream}",
            {
                "stream_name": stream,
                "config": {
                    "ack_policy": "none",
                    "deliver_policy": "all",
                    "mem_storage": True,
                    "num_replicas": 1,
                    "inactive_threshold": 30 * 10**9,
                    **({} if subject == ">" else {"filter_subject": subject}),
                },
            },
            timeout=10,
        )
        found: list[tuple[str, bytes, dict[str, str]]] = []
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(
            inbox, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            left = answer["num_pending"]
            while left:
                batch = min(left, 5000)
                await self.client.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{answer['name']}",
                    orjson.dumps({"batch": batch, "expires": 10 * 10**9}),
                    reply=inbox,
                )
                for _ in range(batch):
                    message = await subscription.next_msg(12)
                    if not message.reply:
                        raise _IncompleteError(message.headers)
                    found.append((message.subject, message.data, message.headers or {}))
                left -= batch
        finally:
            await subscription.unsubscribe()
        return found


class _IncompleteError(Exception):
    """A pull ended before it was complete: a consumer's server died, say."""


async def _quiet(error: Exception) -> None:
    """Connection errors are what these tests make; do not print them."""
