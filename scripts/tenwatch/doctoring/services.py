"""What a running instance says: broker, streams, store, producers."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from stream.broker.errors import BrokerError
from stream.broker.jetstream import JetStream
from stream.broker.streams import (
    BUCKETS_STREAM,
    DEAD_STREAM,
    EVENTS_STREAM,
    RAW_STREAM,
)
from tenwatch.access import open_admin_broker, open_sql
from tenwatch.doctoring.finding import Finding, broken, note, ok
from tenwatch.embedded.instance import Instance, find_instance
from tenwatch.errors import NotRunningError, TenwatchError

AREA = "instance"
FULL = 0.8
MEBIBYTE = 1024**2


class _Limits(Struct, frozen=True):
    max_storage: int = -1


class _Account(Struct):
    storage: int = 0
    reserved_storage: int = 0
    limits: _Limits = _Limits()


async def service_findings(data: Path | None) -> AsyncIterator[Finding]:
    """Everything about the instance of a data folder; one note if none runs."""
    try:
        instance = find_instance(data)
    except NotRunningError as error:
        yield note(AREA, "running", str(error), "start it with 'tenwatch up'")
        return
    yield _parts(instance)
    async for finding in _broker(instance):
        yield finding
    for finding in _store(data):
        yield finding


def _parts(instance: Instance) -> Finding:
    gone = [name for name, pid in instance.pids.items() if not _alive(pid)]
    if gone:
        return broken(
            AREA, "parts", f"not running: {', '.join(gone)}",
            f"read {instance.data}/logs/{gone[0]}.log; restart 'tenwatch up'",
        )  # fmt: skip
    return ok(AREA, "parts", f"running: {', '.join(instance.pids)}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _broker(instance: Instance) -> AsyncIterator[Finding]:
    check = f"broker {instance.nats}"
    try:
        async with open_admin_broker(instance, "tenwatch doctor") as connection:
            await connection.wait_connected(5)
            version = str(connection.client.connected_server_version).strip("<>").split()[-1]
            yield ok(AREA, check, f"nats-server {version}")
            jetstream = JetStream(connection)
            account = await jetstream.request("INFO", model=_Account)
            found = f"{account.storage / MEBIBYTE:.0f} MiB stored"
            if account.limits.max_storage > 0:
                found += f" of {account.limits.max_storage / MEBIBYTE:.0f}"
            yield ok(AREA, "JetStream", found)
            for name in (RAW_STREAM, EVENTS_STREAM, BUCKETS_STREAM, DEAD_STREAM):
                yield await _stream(jetstream, name)
    except (TenwatchError, BrokerError) as error:
        yield broken(
            AREA, check, str(error), f"read {instance.data}/logs/nats.log; run it as the same user"
        )


async def _stream(jetstream: JetStream, name: str) -> Finding:
    info = await jetstream.stream_info(name)
    limit = int(info.config.get("max_bytes", -1))
    found = f"{info.state.messages} messages, {info.state.bytes / MEBIBYTE:.1f} MiB"
    if limit <= 0:
        return ok(AREA, f"stream {name}", found)
    found += f" of {limit / MEBIBYTE:.0f}"
    if info.state.bytes > FULL * limit and name != DEAD_STREAM:
        return note(
            AREA, f"stream {name}", found,
            "it refuses when full, and producers spool; is a worker or sink behind (tenwatch top), "
            f"or streams.{name.lower()}_max_bytes too small?",
        )  # fmt: skip
    return ok(AREA, f"stream {name}", found)


def _store(data: Path | None) -> list[Finding]:
    check = "store"
    try:
        client = open_sql(data)
        version = client.rows("SELECT version()").data[0][0]
        producers = client.rows(
            "SELECT node, kind, alive, round(age_s), degraded FROM tenwatch.nodes "
            "WHERE age_s < 86400 ORDER BY node, kind"
        ).data
    except TenwatchError as error:
        return [broken(AREA, check, str(error), "is the sink running? See logs/sink.log")]
    findings = [ok(AREA, check, f"ClickHouse {version} at {client.url}")]
    nodes = sorted({str(row[0]) for row in producers})
    for node in nodes:
        findings += _producers(node, [row for row in producers if row[0] == node])
    return findings


def _producers(node: str, rows: list[list[Any]]) -> list[Finding]:
    """What the producers of a node said of themselves."""
    check = f"producers on {node}"
    kinds = [str(kind) for _, kind, alive, _, _ in rows if alive]
    findings = [ok(AREA, check, f"alive: {', '.join(kinds)}")] if kinds else []
    for _, kind, alive, age, _ in rows:
        if not alive:
            remedy = "if it should run, start it: tenwatch produce"
            findings.append(note(AREA, check, f"{kind} is silent for {age:.0f} s", remedy))
    # One process tells the same for each of its kinds.
    for sentence in sorted({each for *_, degraded in rows for each in degraded}):
        found, _, remedy = sentence.rpartition("; ")
        findings.append(note(AREA, check, found or sentence, remedy if found else ""))
    return findings
