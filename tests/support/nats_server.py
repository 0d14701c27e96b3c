"""A real nats-server with our generated configuration, in a folder and on a port of its own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from stream.broker.permissions import Role, User, inbox_prefix, producer_name
from stream.broker.server_config import ServerConfig, write_server_config
from tests.support.polling import eventually_sync

NODE = "node-a"
OTHER_NODE = "node-b"


def default_users() -> list[User]:
    """One user of each role; producers of two nodes; a tap with and one without content."""
    return [
        User("admin", Role.ADMIN, "admin-password-of-a-test"),
        User("worker", Role.WORKER, "worker-password-of-a-test"),
        User("sink", Role.SINK, "sink-password-of-a-test"),
        User("tap", Role.TAP, "tap-password-of-a-test"),
        User("reader", Role.TAP, "reader-password-of-a-test", content=True),
        User(producer_name(NODE), Role.PRODUCER, "producer-a-password-of-a-test", node=NODE),
        User(producer_name(OTHER_NODE), Role.PRODUCER, "producer-b-password", node=OTHER_NODE),
    ]


def server_binary() -> str:
    """The server from the virtual environment, else one on the PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("no nats-server; install requirements.txt")
    return found


@dataclass
class NatsServer:
    """Start, stop, kill and freeze one server. The port stays the same over restarts."""

    folder: Path
    users: list[User] = field(default_factory=default_users)
    config: ServerConfig = None  # type: ignore[assignment]
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.config is None:
            self.config = ServerConfig(
                data=self.folder / "jetstream", port=-1, ports_folder=self.folder
            )

    @property
    def port(self) -> int:
        return self.config.port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> "NatsServer":
        """Start it and wait until it accepts connections."""
        path = write_server_config(self.folder, self.config, self.users)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [server_binary(), "--config", str(path)], stdout=log, stderr=log
            )
        ports_folder = self.config.ports_folder
        assert ports_folder is not None

        def listening() -> int | None:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"nats-server ended:\n{self.log.read_text()}")
            return read_port(ports_folder, self.process.pid)

        port = eventually_sync(listening, 20, "nats-server")
        assert port is not None
        self.config = replace(self.config, port=port)
        return self

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self, users: Iterable[User]) -> None:
        """Take other users without a restart, and wait until they are taken."""
        self.users = list(users)
        write_server_config(self.folder, self.config, self.users)
        assert self.process is not None
        said = "Reloaded server configuration"
        before = self.log.read_text().count(said)
        os.kill(self.process.pid, signal.SIGHUP)
        eventually_sync(lambda: self.log.read_text().count(said) > before, 10, said)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)
            os.kill(self.process.pid, how)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        for path in self.folder.glob(f"*_{self.process.pid}.ports"):
            path.unlink()
        self.process = None

    def user(self, name: str) -> User:
        return next(each for each in self.users if each.name == name)

    def credentials(self, name: str = "admin") -> dict[str, Any]:
        """What a credentials file holds for a user."""
        return {"nats": {"user": name, "password": self.user(name).password}}

    def write_credentials(self, name: str = "admin", path: Path | None = None) -> Path:
        """A credentials file of mode 0600, as the program reads it."""
        path = path or self.folder / f"credentials-{name}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self.credentials(name), file)
        return path

    async def connect(self, name: str = "admin", **options: Any) -> Client:
        """A plain nats-py connection as one of the users."""
        return await nats.connect(
            self.url,
            user=name,
            password=self.user(name).password,
            inbox_prefix=inbox_prefix(name),
            **options,
        )


async def processed(client: Client) -> None:
    """Wait until the server has processed everything that was sent, subscriptions above all.

    One ``flush`` isn't enough: nats-py writes its PING past the commands that it still buffers.
    """
    await client.flush()
    await client.flush()


def read_port(ports_folder: Path, pid: int) -> int | None:
    """The client port of the server ``pid``, once it has written its ports file; else None."""
    for path in ports_folder.glob(f"*_{pid}.ports"):
        try:
            urls = json.loads(path.read_text(encoding="utf-8")).get("nats") or []
        except ValueError:
            return None  # it is being written
        for url in urls:
            return int(url.rpartition(":")[2])
    return None
