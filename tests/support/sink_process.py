"""The sink as a process of its own, which may be killed at a chosen step of an insert."""

import faulthandler
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from tests.support.nats_server import NatsServer
from tests.support.polling import eventually_sync

STEPS = ("before_insert", "after_insert", "before_ledger", "after_ledger")


@dataclass
class SinkProcess:
    """Start, stop and kill one sink on an embedded store."""

    server: NatsServer
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables without ``TENWATCH_``."""
    die_at: str = ""
    """``<step>:<n>``: SIGKILL itself at the n-th time of a step, counted from 1."""
    process: "subprocess.Popen[str] | None" = None
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def log(self) -> Path:
        return self.folder / "sink.log"

    def spawn(self) -> "subprocess.Popen[str]":
        """Start it without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "TENWATCH_CREDENTIALS_FILE": str(self.server.write_credentials("sink")),
            "TENWATCH_BROKER_SERVERS": json.dumps([self.server.url]),
            "TENWATCH_BROKER_RECONNECT_WAIT_SECONDS": "0.1",
            "TENWATCH_SQL_PORT": "0",
            "TEST_DIE_AT": self.die_at,
            **{f"TENWATCH_{name}": value for name, value in self.settings.items()},
        }
        if "STORE_URL" not in self.settings:
            environment["TENWATCH_STORE_PATH"] = str(self.store)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from tests.support.sink_process import main; main()"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        return self.process

    def start(self) -> "SinkProcess":
        """Start it and wait until it stores."""
        process = self.spawn()
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the sink ended ({process.wait(10)}):\n{self.log.read_text()}")
        self.addresses = json.loads(line)
        return self

    def kill(self) -> None:
        """SIGKILL, and wait."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> int:
        """SIGTERM, and give the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def died(self, deadline: float = 30) -> int:
        """Wait until it has ended by itself."""
        process = self.process
        assert process is not None
        eventually_sync(lambda: process.poll() is not None, deadline, "the sink to die")
        return process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()


async def acknowledged(client: Client, table: str, stream: str = "EVENTS") -> bool:
    """Whether the consumer of a table has nothing left, neither unread nor unacknowledged."""
    try:
        info = await client.jetstream().consumer_info(stream, f"sink-{table}")
    except NatsError:
        return False
    return not info.num_pending and not info.num_ack_pending


def main() -> None:
    """What the child runs."""
    import logging

    from sinks.ingest.run import SinkRole, run_sink
    from stream.settings import Configuration

    faulthandler.register(signal.SIGUSR1)
    logging.basicConfig(level="INFO", stream=sys.stderr)
    step, _, number = os.environ["TEST_DIE_AT"].partition(":")
    if step:
        _arm(step, int(number))

    def ready(addresses: dict[str, str]) -> None:
        print(json.dumps(addresses), flush=True)

    sys.exit(run_sink(SinkRole.of(Configuration.load(None)), ready))


def _arm(step: str, number: int) -> None:
    from sinks.store.client import Client

    insert = Client.insert_lines
    seen = dict.fromkeys(STEPS, 0)

    def reach(name: str) -> None:
        seen[name] += 1
        if name == step and seen[name] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def insert_lines(self: Client, table: str, lines: bytes, **how: Any) -> int | None:
        what = "ledger" if table == "ledger" else "insert"
        reach(f"before_{what}")
        result = insert(self, table, lines, **how)
        reach(f"after_{what}")
        return result

    Client.insert_lines = insert_lines  # type: ignore[method-assign]
