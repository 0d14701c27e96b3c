"""Dead letters: found in the store, shown, and sent again under an identity of their own."""

import base64
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from stream.broker import wire
from stream.broker.errors import BrokerError
from stream.broker.publisher import AckedPublisher, PublishAck
from stream.contract.batch import MESSAGE_ID_HEADER, BatchIdentity
from stream.contract.boot import new_boot_id
from stream.contract.errors import ContractError
from stream.contract.kinds import KINDS
from stream.contract.subjects import (
    buckets_subject,
    escape_token,
    events_subject,
    raw_subject,
    unescape_token,
)
from stream.contract.timestamps import format_timestamp
from tenwatch.access import open_admin_broker, open_admin_sql
from tenwatch.embedded.instance import find_instance
from tenwatch.errors import TenwatchError, UsageError
from tenwatch.replaying.time_range import parse_moment
from tenwatch.sql_client import SqlClient
from tenwatch.tables import print_table

STORED_ALREADY: Final = frozenset({"too_late", "too_many_windows"})
"""Reasons of events that are in no bucket, but in the tables; sent again they would be twice."""
BATCH_LINES: Final = 256
BATCH_BYTES: Final = 256 * 1024
AT_MOST: Final = 10_000
"""Letters that one call sends again."""
_ID: Final = (
    "hex(cityHash64(stage, kind, node, boot, ifNull(seq, 0), reason, ifNull(log_partition, 0), "
    "ifNull(log_offset, 0), ifNull(log_line, 0), payload))"
)
_WHERE: Final = """
WHERE ts >= {since:DateTime64(6, 'UTC')}
  AND ({stage:String} = '' OR stage = {stage:String})
  AND ({kind:String} = '' OR kind = {kind:String})
  AND ({node:String} = '' OR node = {node:String})
  AND ({reason:String} = '' OR reason = {reason:String})
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters; empty fields mean every one."""

    stage: str = ""
    kind: str = ""
    node: str = ""
    reason: str = ""
    since: str = "-7d"

    def bound(self) -> dict[str, str]:
        """Parameters of :data:`_WHERE`."""
        since = format_timestamp(parse_moment(self.since, time.time_ns() // 1000))
        return asdict(self) | {"since": since[:-1].replace("T", " ")}


@dataclass(slots=True)
class Outcome:
    """What a resend did."""

    letters: int = 0
    events: int = 0
    batches: int = 0
    duplicates: int = 0
    """Batches that the broker had got a moment ago already."""
    boot: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    """Ids of what was not sent, and why."""


def print_list(store: SqlClient, chosen: Filter, limit: int, *, as_json: bool) -> None:
    """The newest letters."""
    sql = (
        f"SELECT {_ID} AS id, ts, stage, kind, node, reason, count, detail "  # noqa: S608
        f"FROM tenwatch.dead {_WHERE} ORDER BY ts DESC LIMIT {{limit:UInt32}}"
    )
    bound = chosen.bound() | {"limit": str(limit)}
    if as_json:
        for chunk in store.stream(sql, bound, "JSONEachRow"):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    else:
        print_table(store.rows(sql, bound))


def print_one(store: SqlClient, letter: str, *, raw: bool, as_json: bool) -> None:
    """One letter; raises :class:`TenwatchError` if there is none of this id."""
    (found,) = _find(store, [letter])
    payload = _payload(found)
    if raw:
        sys.stdout.buffer.write(payload)
        sys.stdout.buffer.flush()
        return
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        if name not in ("payload", "encoding") and value not in (None, ""):
            print(f"{name + ':':15} {value}")
    print()
    text = payload.decode("utf-8", "backslashreplace")
    print("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


async def resend(
    data: Path | None, ids: Sequence[str], chosen: Filter, *, dry_run: bool
) -> Outcome:
    """Publish them again; each event that was refused once, in order of the letters' times."""
    if not ids and not (chosen.reason or chosen.kind or chosen.stage or chosen.node):
        raise UsageError("name what to send again: ids, or --reason, --kind, --stage or --node")
    instance = find_instance(data)
    store = open_admin_sql(instance)
    letters = _find(store, ids) if ids else _all(store, chosen)
    outcome = Outcome(boot=new_boot_id())
    batches = _batches(letters, outcome)
    if dry_run or not batches:
        return outcome
    async with open_admin_broker(instance, "tenwatch dead resend") as connection:
        await connection.wait_connected(10)
        publisher = AckedPublisher(connection)
        failures: list[BrokerError] = []

        def done(result: PublishAck | BrokerError) -> None:
            if isinstance(result, BrokerError):
                failures.append(result)
            else:
                outcome.duplicates += result.duplicate

        for subject, payload, headers in batches:
            await publisher.publish(subject, payload, wire.encode_headers(headers), done)
        settled = await publisher.settled(30)
        await publisher.close()
    if failures or not settled:
        raise TenwatchError(
            f"not all was taken by the broker ({failures[0] if failures else 'no answer'}); send "
            "it again within two minutes, and what it has got already is left out"
        )
    return outcome


def print_outcome(outcome: Outcome, *, dry_run: bool, as_json: bool) -> int:
    """Say what was done; 1 if nothing of it could be sent."""
    if as_json:
        print(json.dumps(asdict(outcome)))
    else:
        for letter, why in list(outcome.skipped.items())[:20]:
            print(f"{letter}: {why}", file=sys.stderr)
        verb = "would send" if dry_run else "sent"
        print(
            f"{verb} {outcome.events} events of {outcome.letters} letters in {outcome.batches} "
            f"messages, boot {outcome.boot}; {len(outcome.skipped)} letters not sent, "
            f"{outcome.duplicates} messages had been sent before"
        )
    return int(bool(outcome.skipped) and not outcome.events)


def _find(store: SqlClient, ids: Sequence[str]) -> list[dict[str, Any]]:
    wanted = [each.upper() for each in ids]
    for each in wanted:
        if not (each.isalnum() and each.isascii()):
            raise UsageError(f"{each!r} is not an id; 'tenwatch dead list' shows them")
    array = "[" + ",".join(f"'{each}'" for each in wanted) + "]"
    found = _letters(
        store,
        f"SELECT {_ID} AS id, * FROM tenwatch.dead WHERE has({{ids:Array(String)}}, id) "  # noqa: S608
        "ORDER BY ts",
        {"ids": array},
    )
    missing = set(wanted) - {each["id"] for each in found}
    if missing:
        raise TenwatchError(
            f"there is no dead letter {', '.join(sorted(missing))}; 'tenwatch dead list' shows "
            "what there is"
        )
    return found


def _all(store: SqlClient, chosen: Filter) -> list[dict[str, Any]]:
    sql = f"SELECT {_ID} AS id, * FROM tenwatch.dead {_WHERE} ORDER BY ts LIMIT {AT_MOST}"  # noqa: S608
    return _letters(store, sql, chosen.bound())


def _letters(store: SqlClient, sql: str, bound: dict[str, str]) -> list[dict[str, Any]]:
    result = store.rows(sql, bound)
    return [dict(zip(result.columns, row, strict=True)) for row in result.data]


def _payload(letter: dict[str, Any]) -> bytes:
    text = str(letter["payload"])
    if letter["encoding"] == "base64":
        return base64.b64decode(text)
    return text.encode("utf-8", "surrogateescape")


def _batches(
    letters: Sequence[dict[str, Any]], outcome: Outcome
) -> list[tuple[str, bytes, dict[str, str]]]:
    """Subject, payload and headers of what is to be published."""
    events: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for letter in letters:
        try:
            place, found = _events(letter)
        except (ContractError, UnicodeError, ValueError) as error:
            outcome.skipped[str(letter["id"])] = str(error)
            continue
        events[place] += found
        outcome.letters += 1
    batches: list[tuple[str, bytes, dict[str, str]]] = []
    for (stage, kind, node), lines in events.items():
        outcome.events += len(lines)
        batches += _pack(stage, kind, node, lines, outcome.boot)
    outcome.batches = len(batches)
    return batches


def _events(letter: dict[str, Any]) -> tuple[tuple[str, str, str], list[dict[str, Any]]]:
    """Stage, kind and node to send to, and what to send; raises ValueError with the reason."""
    if letter["reason"] in STORED_ALREADY:
        raise ValueError(f"{letter['reason']}: it is stored, though in no bucket")
    stage, kind = str(letter["stage"]), str(letter["kind"])
    lines = [line for line in _payload(letter).split(b"\n") if line.strip()]
    if not lines:
        raise ValueError("it holds nothing")
    found = []
    for line in lines:
        event = orjson.loads(line)
        if not isinstance(event, dict):
            raise ValueError("it is not a JSON object")
        found.append(event)
    if kind != "buckets" and kind not in KINDS:
        raise ValueError(f"{kind!r} is not a kind of event")
    node = str(letter["node"]) or _node_of(str(letter["subject"])) or str(found[0].get("node", ""))
    if not node:
        raise ValueError("it names no node")
    escape_token(node)
    return (stage, kind, node), found


def _node_of(subject: str) -> str:
    """The node of ``….<kind>.<node>``; empty when there is none."""
    token = subject.rpartition(".")[2]
    return unescape_token(token) if token else ""


def _pack(
    stage: str, kind: str, node: str, events: list[dict[str, Any]], boot: str
) -> list[tuple[str, bytes, dict[str, str]]]:
    identified = kind != "buckets"
    lines: list[bytes] = []
    for seq, event in enumerate(events):
        digest = {"boot": boot, "seq": seq, "node": node} if identified else {}
        lines.append(orjson.dumps(event | digest) + b"\n")
    subject = (
        buckets_subject(str(events[0].get("kind", "")) or "unknown", node) if not identified
        else raw_subject(kind, node) if stage == "worker"
        else events_subject(kind, node)
    )  # fmt: skip
    found: list[tuple[str, bytes, dict[str, str]]] = []
    start = 0
    while start < len(lines):
        end, size = start, 0
        while (
            end < len(lines)
            and end - start < BATCH_LINES
            and (end == start or size + len(lines[end]) <= BATCH_BYTES)
        ):
            size += len(lines[end])
            end += 1
        payload = b"".join(lines[start:end])
        # The same for the same events, so that a repeat within the broker's memory is dropped.
        content = hashlib.sha256(orjson.dumps([stage, kind, node, events[start:end]])).hexdigest()
        headers: dict[str, str] = {}
        if identified:
            version = KINDS[kind].version
            headers = BatchIdentity(kind, version, node, boot, start, end - start).headers()
        headers[MESSAGE_ID_HEADER] = f"resent:{content}"
        found.append((subject, payload, headers))
        start = end
    return found
