"""A broker with our streams, a producer of known truth as a process, and what RAW then holds."""

import contextlib
import json
import signal
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream.broker.connection import BrokerConnection
from stream.broker.jetstream import JetStream
from stream.broker.reader import StreamReader
from stream.broker.settings import BrokerSettings, StreamSettings
from stream.broker.streams import ensure_streams
from stream.contract.batch import read_identity, split_lines
from tests.support.nats_server import NatsServer

MEBIBYTE = 1024 * 1024


@dataclass
class Raw:
    """Everything in RAW, understood: what is stored, and what is said to be lost."""

    events: list[dict[str, Any]] = field(default_factory=list)
    """In the order of the log, repeats left out."""
    repeats: int = 0

    def of(self, kind: str, boot: str | None = None) -> list[dict[str, Any]]:
        return [
            each for each in self.events if each["_kind"] == kind and boot in (None, each["boot"])
        ]

    @property
    def boots(self) -> list[str]:
        return sorted({each["boot"] for each in self.events})

    def stored(self, kind: str, boot: str) -> list[int]:
        return [each["seq"] for each in self.of(kind, boot)]

    def lost(self, kind: str, boot: str) -> set[int]:
        """Seqs that loss events name."""
        found: set[int] = set()
        for each in self.of("loss"):
            if each["kind"] == kind and each.get("lost_boot") == boot:
                seqs = range(each["first_seq"], each["last_seq"] + 1)
                assert each["count"] == len(seqs)
                found.update(seqs)
        return found

    def unknown(self, kind: str, reason: str) -> list[dict[str, Any]]:
        """Losses of unknown count."""
        return [
            each
            for each in self.of("loss")
            if (each["kind"], each["reason"]) == (kind, reason) and each.get("count") is None
        ]

    def announced(self, kind: str, boot: str) -> int:
        """The highest seq that progress records announced, plus one."""
        return max(
            (each["next_seq"] for each in self.of("progress", boot) if each["producer"] == kind),
            default=0,
        )


@dataclass
class Broker:
    """A server with our streams; survives being stopped and started."""

    server: NatsServer
    connection: BrokerConnection
    jetstream: JetStream

    async def raw(self) -> Raw:
        """Read all of RAW, checking every header and line against the contract."""
        raw = Raw()
        seen: dict[tuple[str, str], set[int]] = defaultdict(set)
        async for delivery in StreamReader(self.connection, "RAW"):
            _, _, kind, node = delivery.subject.split(".")
            identity = read_identity(f"raw.{kind}.{node}", delivery.headers)
            for number, line in enumerate(split_lines(delivery.data, identity.count)):
                event = json.loads(line)
                assert event["seq"] == identity.first_seq + number
                assert (event["boot"], event["node"]) == (identity.boot, identity.node)
                if event["seq"] in seen[kind, identity.boot]:
                    raw.repeats += 1
                    continue
                seen[kind, identity.boot].add(event["seq"])
                raw.events.append(event | {"_kind": kind, "_offset": delivery.stream_seq})
        return raw

    async def count(self, kind: str) -> int:
        """Events of one kind in RAW, from the headers."""
        total = 0
        async for delivery in StreamReader(self.connection, "RAW", filters=[f"part.*.{kind}.*"]):
            assert delivery.headers is not None
            total += int(delivery.headers["Tenwatch-Count"])
        return total


async def make_broker(
    server: NatsServer, settings: StreamSettings, others: Sequence[NatsServer] = ()
) -> Broker:
    """Connect to the server (and the others of its cluster) as admin, and make the streams."""
    connection = BrokerConnection(
        BrokerSettings(
            servers=(server.url, *(each.url for each in others)),
            credentials_file=str(server.write_credentials("admin")),
            reconnect_wait_seconds=0.1,
        ),
        "test-admin",
    )
    connection.start()
    await connection.wait_connected(10)
    jetstream = JetStream(connection)
    await ensure_streams(jetstream, settings)
    return Broker(server, connection, jetstream)


def spooled_bytes(folder: Path) -> int:
    """Bytes of all segments in a spool, which may vanish while we look."""
    total = 0
    for path in folder.glob("*.spool"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@dataclass
class ProducerProcess:
    """The counting producer as a process."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    @property
    def spool(self) -> Path:
        return self.folder / "counting"

    def spooled_bytes(self) -> int:
        return spooled_bytes(self.spool)

    def spools_over(self, size: int) -> bool:
        return self.spooled_bytes() > size

    def spools_under(self, size: int) -> bool:
        return self.spooled_bytes() < size

    def has_emitted_all(self) -> bool:
        return (self.folder / "done").exists()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.terminate()
        return self.process.wait(30)

    @property
    def emitted(self) -> dict[str, int]:
        """What the observer emitted; only after an orderly stop."""
        return dict(json.loads((self.folder / "emitted").read_text().replace("'", '"')))
