"""Enriched batches as a worker publishes them, with the truth about what they hold."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from stream.contract.batch import BatchIdentity
from stream.contract.boot import new_boot_id
from stream.contract.kinds import kind_definition
from stream.contract.subjects import events_subject
from stream.contract.timestamps import format_timestamp, parse_timestamp
from tests.support.polling import eventually

START = parse_timestamp("2026-11-20T08:00:00.000000Z")
Fields = Mapping[str, Any]


def process_fields(seq: int) -> dict[str, Any]:
    return {
        "action": "exit",
        "pid": 1000 + seq,
        "ppid": 1,
        "uid": 1000,
        "exec_id": f"exec-{seq}",
        "comm": "prog",
        "exe": "/usr/bin/prog",
        "argv": ["prog", f"--number={seq}", 'a b\n"c" }{ \\'],
        "cwd": "/workspace",
        "start_ts": format_timestamp(START + seq * 1000 - 500),
        "duration_us": 500,
        "exit_code": seq % 3,
        "purpose": "run",
    }


def file_fields(seq: int) -> dict[str, Any]:
    return {"action": "modified", "path": f"/w/f{seq % 7}.c", "size": seq}


@dataclass
class Producer:
    """One boot of one producer: makes batches with gap-free seqs, in the order of a log."""

    kind: str = "process"
    node: str = "node-a"
    boot: str = field(default_factory=new_boot_id)
    fields: Callable[[int], Fields] = process_fields
    start: int = START
    next_seq: int = 0
    log_offset: int = 0
    common: Fields = field(default_factory=dict)

    def line(self, seq: int, offset: int, number: int) -> bytes:
        event = {
            "ts": format_timestamp(self.start + seq * 1000),
            "node": self.node,
            "boot": self.boot,
            "seq": seq,
            **self.fields(seq),
            "namespace": "default",
            "pod": "pod-a",
            "resolved": True,
            **self.common,
            "log_partition": 0,
            "log_offset": offset,
            "log_line": number,
        }
        return json.dumps(event, separators=(",", ":")).encode() + b"\n"

    def batch(self, count: int) -> "Batch":
        """The next ``count`` events as one message."""
        self.log_offset += 1
        first, self.next_seq = self.next_seq, self.next_seq + count
        lines = [self.line(first + i, self.log_offset, i) for i in range(count)]
        version = kind_definition(self.kind).version
        identity = BatchIdentity(self.kind, version, self.node, self.boot, first, count)
        return Batch(identity, lines)


def progress_of(producer: Producer) -> Producer:
    """The progress records of a producer, a boot of their own kind and of the same name."""
    return Producer(
        kind="progress",
        node=producer.node,
        boot=producer.boot,
        fields=lambda _: {
            "producer": producer.kind,
            "watermark": format_timestamp(producer.start),
            "next_seq": producer.next_seq,
            "seen": producer.next_seq,
            "filtered": 0,
            "emitted": producer.next_seq,
            "lost": 0,
        },
    )


@dataclass
class Batch:
    """One message, not yet published."""

    identity: BatchIdentity
    lines: list[bytes]

    @property
    def payload(self) -> bytes:
        return b"".join(self.lines)

    async def publish(self, client: Client, again: bool = False) -> None:
        """Publish it on its subject. ``again``: under another message id, as an old spool does."""
        headers = self.identity.headers()
        if again:
            headers["Nats-Msg-Id"] += f":again-{secrets.token_hex(4)}"
        subject = events_subject(self.identity.kind, self.identity.node)
        await eventually(lambda: _published(client, subject, self.payload, headers), 30, subject)


async def _published(client: Client, subject: str, payload: bytes, headers: dict[str, str]) -> bool:
    try:
        await client.jetstream().publish(subject, payload, headers=headers, timeout=2)
    except (NatsError, OSError):
        return False
    return True
