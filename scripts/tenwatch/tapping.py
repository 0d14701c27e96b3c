"""Subscribes to subjects of the pipeline and prints what comes."""

import asyncio
import random
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from stream.contract.subjects import BUCKETS, TAP, escape_token
from tenwatch.access import open_nats
from tenwatch.where import Condition

PENDING_BYTES = 64 * 1024 * 1024
"""What may wait in this process; beyond it the client drops for this tap alone and says so."""


@dataclass(frozen=True, slots=True)
class TapOptions:
    """What to listen to and how to print it."""

    stage: str
    kinds: tuple[str, ...]
    node: str | None
    condition: Condition | None
    sample: float
    limit: int | None
    style: str

    def subjects(self) -> list[str]:
        """The subjects to subscribe to."""
        stage = f"{TAP}.{BUCKETS}" if self.stage == BUCKETS else self.stage
        last = escape_token(self.node) if self.node else ">"
        if not self.kinds:
            return [f"{stage}.*.{last}" if self.node else f"{stage}.>"]
        return [f"{stage}.{escape_token(kind)}.{last}" for kind in self.kinds]


async def tap(options: TapOptions, data: Path | None) -> None:
    """Print until the limit is reached or the user stops it."""
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    printed = 0
    dropped = 0

    async def on_message(message: Msg) -> None:
        nonlocal printed
        if done.is_set():
            return
        for line in _lines(message, options):
            sys.stdout.buffer.write(line)
            printed += 1
            if options.limit is not None and printed >= options.limit:
                done.set()
                break
        try:
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            done.set()

    async def on_error(error: Exception) -> None:
        nonlocal dropped
        dropped += 1
        if dropped == 1:
            print(f"tenwatch tap: {error}; some messages are not shown", file=sys.stderr)

    client: Client = await open_nats(data, on_error)
    try:
        for subject in options.subjects():
            await client.subscribe(
                subject, cb=on_message, pending_bytes_limit=PENDING_BYTES, pending_msgs_limit=-1
            )
        print(f"listening on {', '.join(options.subjects())}", file=sys.stderr)
        await done.wait()
    finally:
        await client.close()


def _lines(message: Msg, options: TapOptions) -> Iterator[bytes]:
    for line in message.data.splitlines():
        # Not for secrets: which lines a sample shows may be guessed.
        if options.sample < 1.0 and random.random() >= options.sample:  # noqa: S311
            continue
        if options.condition is None and options.style == "json":
            yield line + b"\n"
            continue
        if options.style == "raw" and options.condition is None:
            yield message.subject.encode() + b" " + line + b"\n"
            continue
        try:
            event: dict[str, Any] = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if options.condition is not None and not options.condition(event):
            continue
        if options.style == "pretty":
            yield _pretty(event)
        elif options.style == "raw":
            yield message.subject.encode() + b" " + line + b"\n"
        else:
            yield line + b"\n"


_LEFT_OUT = {"ts", "node", "boot", "seq", "log_partition", "log_offset", "log_line"}


def _pretty(event: dict[str, Any]) -> bytes:
    """Time and node first, then every other field as ``name=value``."""
    when = event.get("ts") or event.get("window_start") or ""
    parts = [str(when), str(event.get("node", ""))]
    for name, value in event.items():
        if name in _LEFT_OUT:
            continue
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            value = " ".join(value)
        shown = value if isinstance(value, str) else orjson.dumps(value).decode()
        if " " in shown:
            shown = orjson.dumps(shown).decode()
        parts.append(f"{name}={shown}")
    text = " ".join(parts)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text).encode() + b"\n"
